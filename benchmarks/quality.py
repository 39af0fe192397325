"""What the quality pages cost and what their statistics can see: `python -m benchmarks.quality [case ...]`.

`drift`: false alarms and what is caught, by simulation, with the reference share estimated
as in the product. `skill`: planted skill and bias found again. `page`: seconds for each page at 65,000 answers by 40
labelers, over an embedded PostgreSQL that is thrown away. One JSON line for each setting or page.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

from app.domain.words import LabelerKind, Role
from app.local import postgres
from app.quality import drift, skill
from app.services import quality
from app.services.install import furnish
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import schema
from app.store.session import Session, connect, unit_of_work
from benchmarks.lines import Line
from benchmarks.planted import planted

ANSWERS, LABELERS, RESEARCHERS, GOLD, LOOKS = 65_000, 40, 2, 60, 5
# What the figures are held to.
FALSE_ALARMS, SKILL_ERROR, PAGE_SECONDS = 1.0, 0.05, 1.0


def drift_case() -> None:
    """In-control answers give the false alarms; a fall after 60 of them gives what is caught within 60 more."""
    rng = np.random.default_rng(9)
    for share in (0.5, 0.74, 0.9):
        alarms, answers = 0, 0
        for _ in range(400):
            reference = rng.binomial(drift.REFERENCE, share) / drift.REFERENCE
            found = drift.cusum((rng.random(2000) < share).tolist(), reference)
            alarms, answers = alarms + len(found.alarms), answers + 2000
        caught: dict[str, float] = {}
        for points in (10, 15, 20, 25, 30):
            seen = tried = 0
            for _ in range(1500):
                reference = rng.binomial(drift.REFERENCE, share) / drift.REFERENCE
                said = np.concatenate([rng.random(60) < share, rng.random(60) < share - points / 100])
                found = drift.cusum(said.tolist(), reference)
                if all(alarm.at >= 60 for alarm in found.alarms):
                    tried, seen = tried + 1, seen + bool(found.alarms)
            caught[str(points)] = round(seen / tried, 2)
        print(
            Line(
                f"quality.drift.{share:.0%}".rstrip("%"),
                round(alarms / answers * 1000, 2),
                "false alarms per 1000 answers",
                "target",
                FALSE_ALARMS,
                {"reference_share": share, "caught_within_60_by_points": caught},
            )
        )


def skill_case() -> None:
    """20 labelers with 300 answers each; errors are means over labelers, and over 10 simulations."""
    for opinions in (2, 5, 10):
        for spread in (2.2, 3.0):
            errors = []
            for seed in range(10):
                said = planted(np.random.default_rng(seed), opinions=opinions, spread=spread)
                fit = skill.fit(said.items, said.labelers, said.swapped, said.first_shown, 20)
                found = np.array([(one.skill.value, one.bias.value) for one in fit.labelers], dtype=np.float64)
                off = found - np.stack([said.skill, said.bias], axis=1)
                errors.append([*off.mean(axis=0), *np.abs(off).mean(axis=0)])
            mean = [round(float(error), 3) for error in np.mean(errors, axis=0)]
            print(
                Line(
                    f"quality.skill.{opinions}.{spread:g}",
                    mean[2],
                    "mean absolute error of skill",
                    "target",
                    SKILL_ERROR,
                    {
                        "opinions": opinions,
                        "spread": spread,
                        "mean_error": {"skill": mean[0], "bias": mean[1]},
                        "mean_absolute_error_of_bias": mean[3],
                    },
                )
            )


def seed(session: Session, rng: np.random.Generator) -> list[int]:
    """Most comparisons with one answer, a shared pool, sentinels, calibration and gold. Gives the labelers."""
    project = the_project(session).id

    def rows(statement: str, **values: Any) -> list[int]:
        return [row[0] for row in session.execute(text(statement), {"project": project, **values})]

    who = rows(
        "insert into labeler (name, calibrates) select 'labeler ' || n, n > :people "
        "from generate_series(1, :people + :researchers) n returning id",
        people=LABELERS,
        researchers=RESEARCHERS,
    )
    [boss] = rows("insert into labeler (name, role) values ('a researcher', 'researcher') returning id")
    ref, sup = rows(
        "insert into policy (project_id, name, kind) values (:project, 'ref', 'ref'), (:project, 'sup', 'imported') "
        "on conflict (project_id, name) do update set name = excluded.name returning id"
    )
    ordinary, gold = rows(
        "insert into batch (project_id, name, purpose) values (:project, 'ordinary', 'ordinary'), "
        "(:project, 'gold', 'gold') returning id"
    )
    # kind, share of all answers, labelers on each comparison, researchers on each
    pools = [("ordinary", 0.77, 1, 0), ("shared", 0.15, 3, 0), ("sentinel", 0.05, 1, 0), ("calibration", 0.03, 1, 2)]
    kinds, labelers, odds, comparisons = [], [], [], []
    count = 0
    for kind, share, people, researchers in pools:
        pairs = int(ANSWERS * share / (people + researchers))
        of = rng.normal(0, 2.5, pairs)
        for at in range(pairs):
            asked = rng.choice(LABELERS, people, replace=False).tolist()
            asked += list(range(LABELERS, LABELERS + researchers))
            labelers += asked
            odds += [of[at]] * len(asked)
            comparisons += [count + at] * len(asked)
        kinds += [kind] * pairs
        count += pairs
    of = rng.normal(0, 3.5, GOLD)
    for at in range(GOLD):
        labelers += list(range(LABELERS))
        odds += [of[at]] * LABELERS
        comparisons += [count + at] * LABELERS
    kinds += ["gold"] * GOLD
    total = count + GOLD
    documents = rows(
        "insert into document (project_id, source_id, post, split) "
        "select :project, 'd' || n, 'A post.', 'train' from generate_series(1, :n) n returning id",
        n=total,
    )
    written = {
        policy: rows(
            "insert into summary (document_id, policy_id, text) select d, :policy, 'A text.' "
            "from unnest(cast(:documents as bigint[])) with ordinality as t(d, n) order by n returning id",
            policy=policy,
            documents=documents,
        )
        for policy in (ref, sup)
    }
    pairs_made = rows(
        "insert into comparison (batch_id, document_id, first_summary_id, second_summary_id, kind) "
        "select case when kind = 'gold' then :gold else :ordinary end, d, one, other, kind "
        "from unnest(cast(:documents as bigint[]), cast(:ones as bigint[]), cast(:others as bigint[]), "
        "cast(:kinds as text[])) with ordinality as t(d, one, other, kind, n) order by n returning id",
        gold=gold,
        ordinary=ordinary,
        documents=documents,
        ones=written[ref],
        others=written[sup],
        kinds=kinds,
    )
    n = len(labelers)
    about = np.array(pairs_made)[comparisons]
    value = np.clip(np.rint(5 + 1.2 * np.array(odds) + rng.logistic(0, 1.5, n)), 1, 9).astype(int)
    numbers = [0] * n
    seen: dict[int, int] = {}
    for at, comparison in enumerate(comparisons):
        seen[comparison] = numbers[at] = seen.get(comparison, 0) + 1
    values = {
        "comparisons": about.tolist(),
        "labelers": [who[one] for one in labelers],
        "numbers": numbers,
        "values": value.tolist(),
        "seconds": rng.lognormal(3.6, 0.5, n).tolist(),
        "ages": np.sort(rng.uniform(0, 60 * 86_400, n))[::-1].tolist(),
    }
    session.execute(
        text(
            "create temporary table said as select * from unnest(cast(:comparisons as bigint[]), "
            "cast(:labelers as bigint[]), cast(:numbers as int[]), cast(:values as int[]), "
            "cast(:seconds as float8[]), cast(:ages as float8[])) "
            "as t(comparison_id, labeler_id, number, value, seconds, age), gen_random_uuid() as showing_id"
        ),
        values,
    )
    for statement in (
        "update said set showing_id = gen_random_uuid()",
        "alter table slot disable trigger all",
        "insert into slot (batch_id, comparison_id, number, state, labeler_id, showing_id, done_at) "
        "select c.batch_id, comparison_id, number, 'done', labeler_id, showing_id, now() "
        "from said join comparison c on c.id = comparison_id",
        "insert into showing (id, slot_id, labeler_id, swapped, page_version) "
        "select said.showing_id, slot.id, said.labeler_id, random() < 0.5, 'a page' "
        "from said join slot on slot.showing_id = said.showing_id",
        "alter table slot enable trigger all",
        "insert into preference (comparison_id, labeler_id, slot_id, showing_id, version, value, surplus, seconds, "
        "key, created_at) select said.comparison_id, said.labeler_id, slot.id, said.showing_id, 1, said.value, false, "
        "said.seconds, gen_random_uuid(), now() - make_interval(secs => said.age) "
        "from said join slot on slot.showing_id = said.showing_id order by said.age desc",
    ):
        session.execute(text(statement))
    session.execute(
        text(
            "insert into verdict (comparison_id, value, reason, author_id, released_at, first_released_at) "
            "select id, case when random() < 0.5 then 2 else 8 end, 'It keeps the question.', :boss, now(), now() "
            "from comparison where kind = 'gold'"
        ),
        {"boss": boss},
    )
    return who


def _timed(session_of: Callable[[], Any], work: Callable[[Session], object]) -> float:
    times = []
    for _ in range(LOOKS):
        with session_of() as session:
            began = time.perf_counter()
            work(session)
            times.append(time.perf_counter() - began)
    return round(sorted(times)[LOOKS // 2], 3)


def page_case() -> None:
    """The median of five computations of each page's figures, database included, rendering left out."""
    with (
        tempfile.TemporaryDirectory(prefix="hone-benchmark-") as directory,
        postgres.running(Path(directory), durable=False) as url,
    ):
        schema.upgrade(url)
        sessions = connect(url)

        def work() -> Any:
            return unit_of_work(sessions, lambda job: None)

        with work() as session:
            furnish(session)
            who = seed(session, np.random.default_rng(7))
        with sessions.kw["bind"].connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("vacuum analyze"))
        viewer = Viewer(who[0], "labeler 1", Role.LABELER, LabelerKind.HUMAN)
        people = (LabelerKind.HUMAN,)
        computed: dict[str, Callable[[Session], object]] = {
            "quality": lambda session: quality.overall(session, people),
            "labeler": lambda session: quality.of_labeler(session, who[0], people),
            "me": lambda session: quality.own(session, viewer),
        }
        for name, figures in computed.items():
            conditions = {"answers": ANSWERS, "labelers": LABELERS, "median_of": LOOKS, "rendering": "left out"}
            print(
                Line(f"quality.page.{name}", _timed(work, figures), "seconds", "target", PAGE_SECONDS, conditions),
                flush=True,
            )
        sessions.kw["bind"].dispose()


CASES = {"drift": drift_case, "skill": skill_case, "page": page_case}


def main() -> None:
    """The cases named on the command line, or all."""
    for name in sys.argv[1:] or CASES:
        CASES[name]()


if __name__ == "__main__":
    main()
