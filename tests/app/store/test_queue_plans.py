"""What the database does at a claim and at an answer: index scans, however long the queue and whatever was answered.

The plans are those of an analyzed database, both as PostgreSQL makes them for the values at hand and as it keeps them
for any values; times are measured by `python -m benchmarks.labeling`.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Cursor
from sqlalchemy import Connection, delete, event, select, text, update

from app.domain.words import SkipReason
from app.services import judging
from app.services.people import Viewer
from app.store import queueing
from app.store.session import Session, Sessions, unit_of_work
from app.store.tables import Preference, QueuePlace, Slot
from tests.support import factories as make

GROWS = "slot|showing|preference|note|skip|comparison|document|summary"
# Comparisons as add_comparisons puts them up: both slots of one stand side by side.
_PUT_UP = (
    "insert into document (project_id, source_id, post, split) "
    "select id, 'p' || n, 'A post.', 'train' from project, generate_series(1, :count) n",
    "insert into summary (document_id, policy_id, text) "
    "select d.id, p.id, n || ' of ' || d.id from document d, policy p, generate_series(1, 2) n where p.name = 'ref'",
    "insert into comparison (batch_id, document_id, first_summary_id, second_summary_id) "
    "select :batch, document_id, min(id), max(id) from summary group by document_id order by document_id",
    "insert into slot (batch_id, comparison_id, number) "
    "select :batch, c.id, n from comparison c, generate_series(1, 2) n order by c.id, n",
)
# The labeler has answered these comparisons, and nobody else has: their second slots are open.
_ANSWERED = (
    "insert into showing (slot_id, labeler_id, swapped, page_version) select id, :labeler, false, 'x' from slot "
    "where number = 1 and comparison_id in (select id from comparison order by id limit :seen)",
    "update slot set state = 'done', labeler_id = :labeler, showing_id = w.id, done_at = now() from showing w "
    "where w.slot_id = slot.id",
    "insert into preference (comparison_id, labeler_id, slot_id, showing_id, version, value, surplus, key) "
    "select comparison_id, labeler_id, id, showing_id, 1, 3, false, gen_random_uuid() from slot where state = 'done'",
)
# Others have written notes and passed pairs on.
_OTHERS = (
    "insert into showing (slot_id, labeler_id, swapped, page_version) select id, :other, false, 'x' from slot "
    "where number = 2",
    "insert into skip (slot_id, comparison_id, showing_id, labeler_id, reason) "
    "select s.id, s.comparison_id, w.id, :other, 'other' from slot s join showing w on w.slot_id = s.id "
    "where s.number = 2",
    "insert into note (comparison_id, summary_id, labeler_id, showing_id, version, text) "
    "select c.id, c.first_summary_id, :other, k.showing_id, 1, 'A note.' "
    "from comparison c join skip k on k.comparison_id = c.id",
)
_VOID = {"state": "void", "labeler_id": None, "showing_id": None, "done_at": None}
# Every tenth is in use as gold, too, and was put before the other labeler.
_COPIED = (
    "insert into batch (project_id, name, purpose) select id, 'gold', 'gold' from project",
    "insert into comparison (batch_id, document_id, first_summary_id, second_summary_id, kind) "
    "select b.id, document_id, second_summary_id, first_summary_id, 'gold' from comparison c, batch b "
    "where b.name = 'gold' and c.id % 10 = 0",
    "insert into slot (batch_id, comparison_id, number, for_labeler_id) "
    "select batch_id, id, 1, :other from comparison where kind = 'gold'",
)


def _fill(session: Session, count: int, seen: int) -> Viewer:
    """A queue of `count` comparisons with two slots each, of which the labeler has answered the first `seen`."""
    worker = make.labeler(session)
    batch = make.pairs(session, 0, opinions=2)
    for statement in _PUT_UP:
        session.execute(text(statement), {"count": count, "batch": batch.batch_id})
    for statement in (*_ANSWERED, *_OTHERS, *_COPIED):
        session.execute(text(statement), {"labeler": worker.id, "seen": seen, "other": make.labeler(session).id})
    return worker


def _analyze(sessions: Sessions) -> None:
    with sessions.kw["bind"].connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))


@contextmanager
def _written(session: Session) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are sent in the block, through SQLAlchemy or past it, with their values."""
    seen: list[tuple[str, Any]] = []
    connection = session.connection()
    driver = _driver(session)
    send = driver.execute

    def note(_connection: Connection, _cursor: object, statement: str, values: Any, *_: object) -> None:
        seen.append((statement, values))

    def note_and_send(statement: bytes, values: Any) -> Cursor:
        seen.append((statement.decode(), values))
        return send(statement, values)

    event.listen(connection, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(driver, "execute", note_and_send)
        yield seen
    event.remove(connection, "before_cursor_execute", note)


def _driver(session: Session) -> psycopg.Connection:
    driver: psycopg.Connection | None = session.connection().connection.driver_connection
    assert driver is not None
    return driver


def _plans(session: Session, statement: str, values: Any) -> list[str]:
    """The plan for these values, and the one for any."""
    driver = _driver(session)
    if not values:
        return []
    kinds = {bool: "::boolean", int: "::integer", str: "::text", timedelta: "::interval", UUID: "::uuid"}
    places = {name: f"${place}" for place, name in enumerate(values, start=1)}

    def place(found: re.Match[str]) -> str:
        return places[found[1]] + (found[2] or kinds.get(type(values[found[1]]), ""))

    general = re.sub(r"%\((\w+)\)s(::)?", place, statement)
    asked = [("explain " + statement, values), ("explain (generic_plan) " + general, None)]
    return ["\n".join(row[0] for row in driver.execute(*each).fetchall()) for each in asked]


def _turn(worker: Viewer) -> list[Callable[[Session], object]]:
    """Everything that a page asks for, once, a request each."""
    held: list[UUID] = []

    def submit(session: Session) -> None:
        make.say(session, worker, held[0])
        make.hold(session, worker, 3)
        judging.progress(session, worker)

    return [
        lambda session: held.extend(make.hold(session, worker, 3)),
        lambda session: judging.extend(session, worker, held[:2], make.LEASE),
        submit,
        lambda session: make.say(session, worker, held[0], 3),
        lambda session: judging.skip(session, worker, showing_id=held[1], reason=SkipReason.OTHER, comment=None),
        lambda session: judging.last_answer(session, worker),
    ]


@pytest.mark.parametrize("count", [1_000, 20_000])
def test_every_statement_of_a_turn_goes_by_indexes_however_long_the_queue(own_sessions: Sessions, count: int) -> None:
    with unit_of_work(own_sessions, print) as session:
        worker = _fill(session, count, seen=count // 2)
    _analyze(own_sessions)
    with own_sessions() as session:
        with _written(session) as statements:
            for request in _turn(worker):
                request(session)
        # What the planner chooses by itself.
        session.execute(text("set local enable_seqscan = on"))
        claims = 0
        for statement, values in statements:
            for plan in _plans(session, statement, values):
                assert not re.search(rf"Seq Scan on ({GROWS})\b", plan), f"{statement}\n\n{plan}"
                assert "Hash" not in plan, f"{statement}\n\n{plan}"
                if "queue_place" in statement and "INSERT INTO showing" in statement:
                    claims += 1
                    assert "using ix_slot_claim on slot" in plan
                    assert "using ix_comparison_copied on comparison" in plan
                    assert "Sort" not in plan
        assert claims >= 6


def test_a_plan_that_is_made_while_the_tables_are_empty_serves_them_when_they_are_full(own_sessions: Sessions) -> None:
    """Connections keep their plans: one that reads a whole table, since it is small, would be kept as it grows."""
    with unit_of_work(own_sessions, print) as session:
        worker = _fill(session, 10, seen=0)
    _analyze(own_sessions)
    plans: list[str] = []
    for request in _turn(worker):
        with own_sessions() as session:
            with _written(session) as statements:
                request(session)
            plans += [plan for each in statements for plan in _plans(session, *each)]
            session.commit()
    assert len(plans) > 30
    assert [plan for plan in plans if re.search(rf"Seq Scan on ({GROWS})\b", plan)] == []
    # Not the index of whatever anybody has answered, by the labeler alone.
    every = r"using uq_slot_comparison_labeler on slot[^\n]*\n *Index Cond: \(labeler_id"
    assert [plan for plan in plans if re.search(every, plan)] == []
    assert sum("using ix_slot_held on slot" in plan for plan in plans) >= 6


def _claimed(session: Session, worker: Viewer) -> int:
    [showing] = make.hold(session, worker)
    slot = make.slot_of(session, showing)
    make.say(session, worker, showing)
    return slot.id


def test_what_a_labeler_has_answered_is_passed_by_once(own_sessions: Sessions) -> None:
    """Their place in the queue stands where the last search ended: before all that they answered only once."""
    with unit_of_work(own_sessions, print) as session:
        worker = _fill(session, 300, seen=200)
        first = [Slot.number == 1, Slot.state == "open", Slot.for_labeler_id.is_(None)]
        fresh = list(session.scalars(select(Slot.id).where(*first).order_by(Slot.id)))
        assert [_claimed(session, worker) for _ in range(3)] == fresh[:3]
        assert session.scalar(select(QueuePlace.slot_id)) == fresh[2]


def test_who_has_answered_everything_is_looked_for_from_the_start_once_in_a_while(own_sessions: Sessions) -> None:
    with unit_of_work(own_sessions, print) as session:
        worker = _fill(session, 300, seen=300)
    with unit_of_work(own_sessions, print) as session:
        assert make.hold(session, worker) == []
    with unit_of_work(own_sessions, print) as session:
        place = session.scalars(select(QueuePlace)).one()
        last = session.scalar(select(Slot.id).where(Slot.for_labeler_id.is_(None)).order_by(Slot.id.desc()).limit(1))
        assert (place.slot_id, place.searched_at is not None) == (last, True)
        with _written(session) as statements:
            assert make.hold(session, worker) == []
        taking = [values for statement, values in statements if "INSERT INTO showing" in statement]
        assert [(values["after"], values["until"] > last) for values in taking] == [(last, True)]


def test_a_search_from_the_start_goes_on_where_the_last_one_stopped(
    own_sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there is that a labeler has answered, one claim looks at so many slots of it and no more."""
    monkeypatch.setattr(queueing, "MOST_SEARCHED", 100)
    with unit_of_work(own_sessions, print) as session:
        worker = _fill(session, 250, seen=250)
        made_for_all = [Slot.state == "open", Slot.for_labeler_id.is_(None)]
        free = list(session.scalars(select(Slot.id).where(*made_for_all).order_by(Slot.id)))
        assert make.hold(session, worker) == []
        make.search_again(session)
    looked: list[tuple[int, int]] = []
    for _ in range(4):
        with unit_of_work(own_sessions, print) as session, _written(session) as statements:
            assert make.hold(session, worker) == []
            taking = [values for statement, values in statements if "INSERT INTO showing" in statement]
            looked += [(values["after"], values["until"]) for values in taking if values["after"] != free[-1]]
    assert [after for after, _ in looked] == [0, free[99], free[199]]
    assert [until for _, until in looked[:2]] == [free[99], free[199]], "and then nothing for a while"
    with unit_of_work(own_sessions, print) as session:
        make.search_again(session)
        back = session.get_one(Slot, free[120])
        session.execute(text("alter table preference disable trigger all"))
        session.execute(delete(Preference).where(Preference.comparison_id == back.comparison_id))
        session.execute(update(Slot).where(Slot.comparison_id == back.comparison_id, Slot.number == 1).values(_VOID))
        assert make.hold(session, worker) == []
        [showing] = make.hold(session, worker)
        assert make.slot_of(session, showing).id == free[120]
