"""A comparison as an admin sees it: everything that was said of it; opinions made void, and asked for again.

Knows what each of that does to the queue, the statistics and a round that waits. Knows nothing of pages; never commits.
"""

from dataclasses import dataclass

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.protocols import Protocol
from app.domain.words import BatchPurpose, ComparisonKind, SlotState
from app.services import judging, rounds
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import batches, comparisons, people
from app.store.comparisons import Found, Line, Said, SlotLine, Standing
from app.store.session import Session
from app.store.tables import Batch, Flag, Note, Skip, Slot

PAGE = 50
LONGEST_REASON = 500


@dataclass(frozen=True)
class Listed:
    """One page of a batch's comparisons. `earlier` and `later` say whether there are more before and after it."""

    batch: Batch
    lines: list[Line]
    earlier: bool
    later: bool


def listed(
    session: Session,
    batch_id: int,
    *,
    kind: ComparisonKind | None,
    standing: Standing | None,
    words: str,
    after: int | None,
    before: int | None,
) -> Listed:
    """PAGE comparisons of a batch by number, above `after` or below `before`. Raises NotFound."""
    batch = batches.found(session, the_project(session).id, batch_id)
    if batch is None:
        raise NotFound("There is no such batch.", "Go back to the list of batches.")
    visible = "".join(sign for sign in words if sign.isprintable()).strip()
    found = comparisons.lines(
        session,
        batch_id,
        kind=kind,
        standing=standing,
        words=visible,
        after=after,
        before=before,
        limit=PAGE + 1,
    )
    more = len(found) > PAGE
    backwards = before is not None and after is None
    shown = (found[1:] if backwards else found[:-1]) if more else found
    return Listed(batch, shown, earlier=more if backwards else after is not None, later=backwards or more)


@dataclass(frozen=True)
class ComparisonView:
    """A comparison and all that was said of it. `asked`: opinions wanted; `live`: slots that count, or may yet."""

    found: Found
    asked: int
    live: int
    slots: list[SlotLine]
    answers: list[Said]
    notes: list[tuple[Note, str]]
    skips: list[tuple[Skip, str]]
    flags: list[tuple[Flag, str]]

    @property
    def standing(self) -> bool:
        """Whether it is put before each labeler once, so that nothing is asked of the queue."""
        return BatchPurpose(self.found.batch.purpose) is not BatchPurpose.ORDINARY


def one(session: Session, comparison_id: int) -> ComparisonView:
    """The comparison with this id. Raises NotFound."""
    found = comparisons.comparison(session, the_project(session).id, comparison_id)
    if found is None:
        raise NotFound("There is no such comparison.", "Go back to the list of batches.")
    lines = comparisons.slots(session, comparison_id)
    return ComparisonView(
        found=found,
        asked=Protocol.of(found.batch.protocol).opinions_on(
            ComparisonKind(found.comparison.kind), found.batch.opinions
        ),
        live=sum(line.slot.state != SlotState.VOID and line.slot.for_labeler_id is None for line in lines),
        slots=lines,
        answers=comparisons.answers(session, comparison_id),
        notes=comparisons.notes(session, comparison_id),
        skips=comparisons.skips(session, comparison_id),
        flags=comparisons.flags(session, comparison_id),
    )


def void(session: Session, viewer: Viewer, comparison_id: int, slot_id: int, reason: str) -> str:
    """Make an opinion void: asked of nobody, and not counted if it was given. Gives what became of it, in words.

    An answer stays stored. One that its labeler is giving right now fills another open opinion, or becomes surplus.
    """
    why = _reason(reason)
    found = _locked(session, comparison_id)
    slot, _ = _slot(session, comparison_id, slot_id)
    before = SlotState(slot.state)
    if before is SlotState.VOID:
        raise Conflict(f"Opinion {slot.number} is void already.", "Nothing was changed.")
    comparisons.void_slot(session, slot)
    _audit(session, viewer, "made opinion void", slot, why, before=before.value)
    rounds.opinion_given(session, found.batch.id)
    words = {
        SlotState.OPEN: "is asked of nobody any more",
        SlotState.LEASED: "was taken back; what its labeler still sends fills another open one, or is kept as surplus",
        SlotState.DONE: "does not count any more; what was answered stays stored",
    }
    return f"Opinion {slot.number} {words[before]}."


def take_back(session: Session, viewer: Viewer, comparison_id: int, slot_id: int, reason: str) -> str:
    """Undo `void`: an answered opinion counts again, any other is open again. Gives which, in words.

    Raises Conflict for one that is not void, and for one made for somebody who has passed the pair on.
    """
    why = _reason(reason)
    _locked(session, comparison_id)
    slot, answered = _slot(session, comparison_id, slot_id)
    if slot.state != SlotState.VOID:
        raise Conflict(f"Opinion {slot.number} is not void.", "Nothing was changed.")
    if answered:
        comparisons.count_again(session, slot)
    elif slot.for_labeler_id is not None and comparisons.passed_on(session, comparison_id, slot.for_labeler_id):
        raise Conflict(f"Opinion {slot.number} was made for somebody who passed the pair on.", "Nobody can be asked.")
    else:
        comparisons.open_slot(session, slot)
        judging.count_surplus(session, [slot.id])
    _audit(session, viewer, "took opinion back", slot, why, state=SlotState(slot.state).value)
    return f"Opinion {slot.number} {'counts again' if answered else 'is asked for again'}."


def ask_again(session: Session, viewer: Viewer, comparison_id: int, reason: str) -> int:
    """Ask for one more opinion on the comparison, whatever its batch asks for. Gives the slot's number.

    An answer that was kept as surplus fills it at once. Raises Conflict for gold and qualification pairs.
    """
    why = _reason(reason)
    found = _locked(session, comparison_id)
    if found.batch.purpose != BatchPurpose.ORDINARY:
        raise Conflict("This pair is put before each labeler once.", "Nobody can be asked again.")
    slot_id = comparisons.add_slot(session, found.comparison)
    judging.count_surplus(session, [slot_id])
    slot, _ = _slot(session, comparison_id, slot_id)
    _audit(session, viewer, "asked again", slot, why)
    return slot.number


def void_open(session: Session, viewer: Viewer, comparison_id: int, reason: str) -> int:
    """Ask nobody for the opinions on this comparison that are open. Gives how many they were."""
    why = _reason(reason)
    found = _locked(session, comparison_id)
    voided = comparisons.void_open(session, comparison_id)
    people.audit(session, viewer.id, "made open opinions void", "comparison", comparison_id, reason=why, voided=voided)
    rounds.opinion_given(session, found.batch.id)
    return voided


def _locked(session: Session, comparison_id: int) -> Found:
    """The comparison, its batch locked: one change of its slots by an admin at a time."""
    project_id = the_project(session).id
    found = comparisons.comparison(session, project_id, comparison_id)
    if found is None:
        raise NotFound("There is no such comparison.", "Go back to the list of batches.")
    batches.batch(session, project_id, found.batch.id)
    return found


def _slot(session: Session, comparison_id: int, slot_id: int) -> tuple[Slot, bool]:
    found = comparisons.lock_slot(session, comparison_id, slot_id)
    if found is None:
        raise Invalid("This pair has no such opinion.", "Choose one from the list.", "slot")
    return found


def _reason(text: str) -> str:
    words = "".join(sign if sign.isprintable() else " " for sign in text).strip()
    if not words or len(words) > LONGEST_REASON:
        raise Invalid("Say why.", f"In up to {LONGEST_REASON} letters, for whoever looks at this later.", "reason")
    return words


def _audit(session: Session, viewer: Viewer, action: str, slot: Slot, reason: str, **details: str) -> None:
    people.audit(
        session,
        viewer.id,
        action,
        "comparison",
        slot.comparison_id,
        opinion=slot.number,
        slot=slot.id,
        reason=reason,
        **details,
    )
