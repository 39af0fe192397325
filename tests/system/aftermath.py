"""What must be true of the rows after any trouble: each acknowledged answer once, no opinion too many, none missing.

Knows the tables, and what labelers wrote down of what they sent and were told. Knows nothing of what went wrong.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from app.domain.preferences import turned
from app.store.session import Session
from app.store.tables import Flag, Note, Preference, Rating, Showing, Skip

SHOWN = 5


@dataclass
class Said:
    """Something that a labeler sent, perhaps many times, and every answer to it."""

    path: str
    key: UUID
    showing: UUID
    body: dict[str, Any]
    replies: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.path} {self.key} on {self.showing}"


@dataclass
class Diary:
    """What one labeler sent, by key; and showings: shown without a document, notes sent for it, notes acknowledged."""

    labeler_id: int
    said: dict[UUID, Said] = field(default_factory=dict)
    kept_back: set[str] = field(default_factory=set)
    noting: set[str] = field(default_factory=set)
    noted: set[str] = field(default_factory=set)


# Each gives one row for everything that is wrong. Purpose `ordinary` leaves out gold, which everybody is asked once.
_WRONG = {
    "a labeler has two slots of one subject": """
        select batch_id, comparison_id, summary_id, labeler_id from slot
        where state <> 'void' and labeler_id is not null group by 1, 2, 3, 4 having count(*) > 1
    """,
    "a slot waits although everybody was asked": """
        select s.id, s.state, s.labeler_id from slot s join batch b on b.id = s.batch_id
        where b.purpose = 'ordinary' and b.paused_at is null and s.state in ('open', 'leased')
        and s.for_labeler_id is null
    """,
    "a done slot is not filled by one labeler's counted answer": """
        with said as (
            select slot_id, labeler_id from preference where not surplus
            union all select slot_id, labeler_id from rating where not surplus
        )
        select s.id, s.labeler_id, count(distinct w.labeler_id), min(w.labeler_id)
        from slot s left join said w on w.slot_id = s.id where s.state = 'done'
        group by s.id having count(distinct w.labeler_id) <> 1 or min(w.labeler_id) <> s.labeler_id
    """,
    "an answer counts in a slot that is not done": """
        select p.id, s.state from preference p join slot s on s.id = p.slot_id where not p.surplus and s.state <> 'done'
        union all
        select r.id, s.state from rating r join slot s on s.id = r.slot_id where not r.surplus and s.state <> 'done'
    """,
    "a version is missing": """
        select comparison_id, labeler_id, count(*), max(version) from preference group by 1, 2
        having count(*) <> max(version) or min(version) <> 1
        union all
        select summary_id, labeler_id, count(*), max(version) from rating group by 1, 2
        having count(*) <> max(version) or min(version) <> 1
    """,
    "a document was revealed without notes": """
        select w.id from showing w where w.revealed_at is not null and not exists (
            select from note n join slot s on s.id = w.slot_id
            where n.labeler_id = w.labeler_id and n.comparison_id = s.comparison_id
        )
    """,
    "an answer to a pair that asks for notes came without them": """
        select p.id from preference p join showing w on w.id = p.showing_id
        where w.notes_first and w.revealed_at is null
    """,
}
_OPINIONS = """
    select s.batch_id, coalesce(s.comparison_id, s.summary_id), b.opinions, count(*) filter (where s.state = 'done')
    from slot s join batch b on b.id = s.batch_id where b.purpose = 'ordinary' and b.paused_at is null
    group by s.batch_id, s.comparison_id, s.summary_id, b.opinions
"""
_ANSWERED = """
    select labeler_id, count(*) from (
        select labeler_id from preference where version = 1 union all select labeler_id from rating where version = 1
    ) said group by labeler_id
"""


def findings(session: Session, diaries: Sequence[Diary], told: Sequence[int], asked: dict[int, int]) -> list[str]:
    """Everything that is wrong, in sentences.

    `told`: how many answers the server counted for each diary's labeler at the end. `asked`: the most opinions that
    were ever asked for the subjects of a batch.
    """
    found = []
    for wrong, query in _WRONG.items():
        rows = session.execute(text(query)).all()
        found += [f"{wrong}: {tuple(row)}" for row in rows[:SHOWN]]
    for batch_id, subject, opinions, done in session.execute(text(_OPINIONS)):
        if not opinions <= done <= asked[batch_id]:
            found.append(
                f"subject {subject} of batch {batch_id} has {done} opinions; {opinions} are asked, and never more "
                f"than {asked[batch_id]} were"
            )
    answered = {row[0]: row[1] for row in session.execute(text(_ANSWERED))}
    for diary, count in zip(diaries, told, strict=True):
        if count != answered.get(diary.labeler_id, 0):
            there = answered.get(diary.labeler_id, 0)
            found.append(f"labeler {diary.labeler_id} was told of {count} answers and gave {there}")
    kept = _Rows(session)
    for diary in diaries:
        found += kept.of(diary)
    return found + kept.unsent({key for diary in diaries for key in diary.said})


def counted(session: Session) -> dict[str, int]:
    """What there is, for the story."""
    names = {"preference": "preferences", "rating": "ratings", "note": "notes", "skip": "skips", "flag": "flags"}
    found = {words: session.scalar(text(f"select count(*) from {table}")) or 0 for table, words in names.items()}  # noqa: S608
    found["surplus"] = session.scalar(text("select count(*) from preference where surplus")) or 0
    return found


class _Rows:
    """What labelers said, as the database has it, by key."""

    def __init__(self, session: Session) -> None:
        self.preferences = {
            preference.key: (preference, swapped)
            for preference, swapped in session.execute(
                select(Preference, Showing.swapped).join(Showing, Showing.id == Preference.showing_id)
            )
        }
        self.ratings = {rating.key: rating for rating in session.scalars(select(Rating))}
        self.notes: Counter[tuple[UUID | None, UUID, int]] = Counter(
            session.execute(select(Note.key, Note.showing_id, Note.labeler_id)).all()
        )
        self.flags = {flag.key: flag for flag in session.scalars(select(Flag))}
        self.skips = set(session.execute(select(Skip.showing_id, Skip.labeler_id)).all())

    def of(self, diary: Diary) -> list[str]:
        """What is wrong with what one labeler sent."""
        found = []
        for said in diary.said.values():
            if len({(reply.get("status"), reply.get("version")) for reply in said.replies}) > 1:
                found.append(f"{said} was answered in different ways: {said.replies}")
            elif said.replies and not self._is_there(said, diary.labeler_id):
                found.append(f"{said} was acknowledged and is not there as it was sent: {said.replies[0]}")
        return found

    def _is_there(self, said: Said, labeler_id: int) -> bool:
        who = said.showing, labeler_id
        match said.path:
            case "/api/preferences":
                row, swapped = self.preferences.get(said.key, (None, False))
                same = row is not None and row.value == turned(said.body["value"], swapped)
                return same and _acknowledged(row, said, labeler_id)
            case "/api/ratings":
                rating = self.ratings.get(said.key)
                same = rating is not None and rating.overall == said.body["overall"]
                return same and _acknowledged(rating, said, labeler_id)
            case "/api/notes":
                return self.notes[said.key, *who] == len(said.body["notes"])
            case "/api/flags":
                flag = self.flags.get(said.key)
                return flag is not None and (flag.showing_id, flag.labeler_id) == who
            case _:
                return who in self.skips

    def unsent(self, keys: set[UUID]) -> list[str]:
        """Answers that nobody sent. One by the server itself repeats a surplus answer in a slot that came free."""
        newest: dict[tuple[int, int], Preference] = {}
        found = []
        for row in sorted((row for row, _ in self.preferences.values()), key=lambda row: row.version):
            before = newest.get((row.comparison_id, row.labeler_id))
            newest[row.comparison_id, row.labeler_id] = row
            repeats = before is not None and before.surplus and not row.surplus and before.value == row.value
            if row.key not in keys and not repeats:
                found.append(f"nobody sent preference {row.id}")
        return found


def _acknowledged(row: Preference | Rating | None, said: Said, labeler_id: int) -> bool:
    reply = said.replies[0]
    return row is not None and (row.labeler_id, row.showing_id, row.version, row.surplus) == (
        labeler_id,
        said.showing,
        reply["version"],
        reply["status"] == "surplus",
    )
