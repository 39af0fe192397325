"""The table of a tour: per round, what was judged, what was learned, and how long each stage took.

Knows the keys of a round's results. Every rate and mean stands with its n and 95 % interval.
"""

from typing import Any

_ROWS = (
    ("pairs judged", "label", "judged"),
    ("preferences learned from", "reward", "pairs"),
    ("reward accuracy, held out", "reward", "accuracy"),
    ("reward score, validation", "evaluate", "score"),
    ("reward score of references", "evaluate", "reference_score"),
    ("KL from SFT, nats", "evaluate", "kl"),
    ("mean length, tokens", "evaluate", "length"),
    ("ROUGE-L", "evaluate", "rouge_l"),
    ("without an end token", "evaluate", "without_eos"),
)


def figures(told: dict[str, Any]) -> dict[str, Any]:
    """The figures of one round, for machines: label to value, and seconds per stage."""
    results: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    for run in told["runs"]:
        results.setdefault(run["stage"], {}).update(run["result"] or {})
        # A stage that comes twice in a round (sample) counts with both.
        seconds[run["stage"]] = round(seconds.get(run["stage"], 0.0) + (run["seconds"] or 0.0), 1)
    return {
        "round": told["number"],
        "recipe": told["recipe"],
        **{label: results.get(stage, {}).get(key) for label, stage, key in _ROWS},
        "seconds": seconds,
    }


def lines(rounds: list[dict[str, Any]]) -> list[str]:
    """The table for people: one column per round."""
    columns = [figures(told) for told in rounds]
    stages = list(dict.fromkeys(stage for column in columns for stage in column["seconds"]))
    rows = [["", *(f"round {column['round']}" for column in columns)]]
    rows += [[label, *(_cell(column[label]) for column in columns)] for label, _, _ in _ROWS]
    rows += [[f"seconds: {stage}", *(_cell(column["seconds"].get(stage)) for column in columns)] for stage in stages]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns) + 1)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        if value["value"] is None:
            return f"- (n={value['n']})"
        span = "" if value["low"] is None else f" [{value['low']:.2f}, {value['high']:.2f}]"
        return f"{value['value']:.2f}{span} n={value['n']}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
