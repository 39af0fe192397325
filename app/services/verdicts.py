"""Researchers judge comparisons themselves, blind, and use what they found as gold, as practice, and as feedback.

Knows that whoever gives a verdict sees neither the policies nor anybody's answer before. Knows nothing of when a pair
is put before a labeler (app.services.standing); never commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.preferences import HIGHEST, LOWEST, MIDDLE, turned
from app.domain.qualifying import agrees
from app.domain.words import BatchPurpose, ComparisonKind
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import people, standing, verdicts
from app.store.session import Session
from app.store.tables import Verdict
from app.store.verdicts import Copy, Line, Only, Pair, Said

PAGE = 50
LONGEST_REASON = 4000


def listed(
    session: Session, batch_id: int | None, kind: ComparisonKind | None, only: Only | None, before: int | None
) -> tuple[list[Line], bool]:
    """One page of PAGE comparisons, newest first, with ids below `before`; and whether there are older ones."""
    found = verdicts.lines(
        session,
        the_project(session).id,
        batch_id=batch_id,
        kind=kind,
        only=only,
        before=before,
        limit=PAGE + 1,
    )
    return found[:PAGE], len(found) > PAGE


def batches(session: Session) -> list[tuple[int, str]]:
    """Batches to choose from, newest first."""
    return verdicts.batches(session, the_project(session).id)


@dataclass(frozen=True)
class Given:
    """A verdict as its reader sees the sides."""

    value: int
    reason: str
    author: str
    at: datetime
    released: bool
    retired: bool


@dataclass(frozen=True)
class Answer:
    """A labeler's answer as the reader sees the sides; `agrees` with the verdict, None where one of them says 5."""

    name: str
    calibrates: bool
    value: int
    explanation: str | None
    agrees: bool | None


@dataclass(frozen=True)
class PairView:
    """A comparison as whoever gives the verdict sees it, and what is told once it is given.

    The sides are drawn for this reader, once and for all. Without a verdict the lists at the end are empty.
    """

    id: int
    title: str
    community: str
    post: str
    texts: tuple[str, str]
    given: Given | None
    kind: ComparisonKind
    batch: str
    document_id: int
    policies: Sequence[str]
    answers: list[Answer]
    copies: list[Copy]


def one(session: Session, viewer: Viewer, comparison_id: int) -> PairView:
    """A comparison, with everything about it that this reader may know. Raises NotFound."""
    pair = _pair(session, comparison_id)
    swapped = _swapped(viewer, comparison_id)
    found = verdicts.read(session, comparison_id)
    return PairView(
        id=comparison_id,
        title=pair.document.title,
        community=pair.document.community,
        post=pair.document.post,
        texts=pair.texts[::-1] if swapped else pair.texts,
        given=None if found is None else _given(*found, swapped),
        kind=ComparisonKind(pair.comparison.kind),
        batch=pair.batch.name,
        document_id=pair.document.id,
        policies=() if found is None else pair.policies[::-1] if swapped else pair.policies,
        answers=[]
        if found is None
        else [_answer(said, found[0].value, swapped) for said in verdicts.said(session, comparison_id)],
        copies=[] if found is None else verdicts.copies(session, pair.comparison),
    )


def _pair(session: Session, comparison_id: int) -> Pair:
    pair = verdicts.pair(session, the_project(session).id, comparison_id)
    if pair is None:
        raise NotFound("There is no such comparison.", "Go back to the list.")
    return pair


def _swapped(viewer: Viewer, comparison_id: int) -> bool:
    """Whether this reader is shown the second summary as A: drawn, but the same at every look."""
    return sha256(f"{viewer.id}/{comparison_id}".encode()).digest()[0] % 2 == 1


def seen(viewer: Viewer, comparison_id: int, value: int) -> int:
    """An answer in the comparison's frame, as this reader sees the sides; its own inverse."""
    return turned(value, _swapped(viewer, comparison_id))


def _given(verdict: Verdict, author: str, swapped: bool) -> Given:
    return Given(
        value=turned(verdict.value, swapped),
        reason=verdict.reason,
        author=author,
        at=verdict.created_at,
        released=verdict.released_at is not None,
        retired=verdict.retired_at is not None,
    )


def _answer(said: Said, verdict: int, swapped: bool) -> Answer:
    value = turned(said.value, swapped)
    return Answer(said.name, said.calibrates, value, said.explanation, agrees(said.value, verdict))


def give(session: Session, viewer: Viewer, comparison_id: int, value: int | None, reason: str, *, first: bool) -> None:
    """Keep a verdict; `value` as this reader sees the sides. `first`: they saw none yet, so it was a blind judgement.

    Raises Invalid, and Conflict when a first verdict came too late: somebody else has given theirs.
    """
    _pair(session, comparison_id)
    words = reason.replace("\0", "").encode("utf-8", "replace").decode().strip()
    if value is None or not LOWEST <= value <= HIGHEST:
        raise Invalid("Choose a point on the scale.", f"It goes from {LOWEST} to {HIGHEST}.", "value")
    if not words:
        raise Invalid("Say why.", "Labelers learn from the reason, not from the number.", "reason")
    if len(words) > LONGEST_REASON:
        raise Invalid(f"The reason is longer than {LONGEST_REASON:,} letters.", "Say what decided it.", "reason")
    kept = turned(value, _swapped(viewer, comparison_id))
    if first:
        if not verdicts.add(session, comparison_id, kept, words, viewer.id):
            raise Conflict("Somebody gave a verdict on this pair meanwhile.", "Look at it; you can still change it.")
        people.audit(session, viewer.id, "gave verdict", "comparison", comparison_id, value=kept)
        return
    before = _locked(session, comparison_id)
    _not_undecided(kept, BatchPurpose(_pair(session, comparison_id).batch.purpose))
    people.audit(session, viewer.id, "changed verdict", "comparison", comparison_id, value=kept, before=before.value)
    verdicts.change(session, comparison_id, kept, words, viewer.id)


def _locked(session: Session, comparison_id: int) -> Verdict:
    found = verdicts.verdict(session, comparison_id)
    if found is None:
        raise Conflict("There is no verdict on this pair yet.", "Give yours first.")
    return found


def _not_undecided(value: int, purpose: BatchPurpose) -> None:
    if value == MIDDLE and purpose is not BatchPurpose.ORDINARY:
        raise Invalid(
            "A pair on which you cannot tell does not tell anything about a labeler either.",
            "Choose a side, or leave it out.",
            "value",
        )


def use(session: Session, viewer: Viewer, comparison_id: int, purpose: BatchPurpose) -> int:
    """Put the pair before every labeler once, as gold or as practice, with this verdict. Gives the copy's id.

    A copy that was retired is put back, with the verdict as it is now. Raises Conflict when it is in use already.
    """
    pair, verdict = _pair(session, comparison_id), _locked(session, comparison_id)
    _not_undecided(verdict.value, purpose)
    batch = standing.standing_batch(session, the_project(session), purpose)
    copy_id = verdicts.add_copy(session, batch, pair.comparison)
    if copy_id is None:
        there = next(
            (each for each in verdicts.copies(session, pair.comparison) if each.purpose is purpose and each.retired),
            None,
        )
        if there is None:
            raise Conflict("This pair is in use there already.", "Nothing was changed.")
        copy_id = there.comparison_id
        copied = _pair(session, copy_id).comparison
        turn = copied.first_summary_id != pair.comparison.first_summary_id
        verdicts.change(session, copy_id, turned(verdict.value, turn), verdict.reason, verdict.author_id)
        verdicts.set_retired(session, copy_id, False)
        standing.open_again(session, copy_id)
    else:
        verdicts.add(session, copy_id, verdict.value, verdict.reason, verdict.author_id)
    people.audit(session, viewer.id, f"used as {purpose}", "comparison", comparison_id, copy=copy_id)
    return copy_id


def retire(session: Session, viewer: Viewer, comparison_id: int) -> None:
    """Put a gold or qualification pair before nobody any more; what was answered stays. Raises Conflict for others.

    The comparison is locked first: whoever is just being lent it gets a slot before that, or none.
    """
    standing.lock(session, comparison_id)
    _set_retired(session, viewer, comparison_id, True)
    standing.void_unfinished(session, comparison_id)


def put_back(session: Session, viewer: Viewer, comparison_id: int) -> None:
    """Put a retired pair before labelers again who have not answered it, nor passed it on."""
    _set_retired(session, viewer, comparison_id, False)
    standing.open_again(session, comparison_id)


def _set_retired(session: Session, viewer: Viewer, comparison_id: int, retired: bool) -> None:
    if _pair(session, comparison_id).batch.purpose == BatchPurpose.ORDINARY:
        raise Conflict("Only gold and qualification pairs are retired.", "Void the open slots of other pairs.")
    _locked(session, comparison_id)
    verdicts.set_retired(session, comparison_id, retired)
    people.audit(session, viewer.id, "retired" if retired else "put back", "comparison", comparison_id)


def release(session: Session, viewer: Viewer, comparison_id: int) -> None:
    """Let labelers who answered the pair see verdict and reason."""
    _locked(session, comparison_id)
    verdicts.set_released(session, comparison_id, True)
    people.audit(session, viewer.id, "released verdict", "comparison", comparison_id)


def withdraw(session: Session, viewer: Viewer, comparison_id: int) -> None:
    """Show the verdict to labelers no longer."""
    _locked(session, comparison_id)
    verdicts.set_released(session, comparison_id, False)
    people.audit(session, viewer.id, "withdrew verdict", "comparison", comparison_id)
