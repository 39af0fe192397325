"""How often two simulated labelers agree on real pairs, beside people: `python -m benchmarks.taste FILE`.

FILE holds comparisons in the form that OpenAI released. Two labelers with the same taste judge every pair LOOKS times;
they agree where both prefer one side and it is the same. The peer is what the study found of its labelers (P C.2).
"""

import argparse
import gzip
from pathlib import Path
from random import Random

from app.domain.preferences import MIDDLE
from app.domain.records import read_comparison
from app.simulation import gold
from benchmarks.lines import Line, short

PEOPLE = 0.72
LOOKS = 40


def agreement(pairs: list[tuple[str, str, str]], random: Random) -> tuple[float, float]:
    """Of (document, first, second): the share on which two agree, and the share of answers that are "cannot tell"."""
    same = both = unsure = 0
    for document, first, second in pairs:
        for _ in range(LOOKS):
            one, two = (gold.judge(document, first, second, random) - MIDDLE for _ in range(2))
            unsure += (one == 0) + (two == 0)
            both += bool(one and two)
            same += one * two > 0
    return same / both, unsure / (2 * LOOKS * len(pairs))


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    opened = gzip.open if asked.file.suffix == ".gz" else open
    with opened(asked.file, "rt", encoding="utf-8") as lines:
        told = [read_comparison(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    pairs = [
        (f"{one.document.title}\n{one.document.post}", one.summaries[0].text, one.summaries[1].text) for one in told
    ]
    found, unsure = agreement(pairs, Random(asked.seed))
    conditions = {
        "pairs": len(pairs),
        "looks": LOOKS,
        "noise": gold.NOISE,
        "cannot_tell": short(unsure),
        "seed": asked.seed,
        "source": "P C.2",
    }
    print(Line("simulated.agreement", short(found), "share", "the study's labelers", PEOPLE, conditions))


if __name__ == "__main__":
    main()
