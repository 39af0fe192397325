"""What a labeler does before they are given pairs, and what they learn from practice pairs.

Knows who may begin: whoever has read the guidelines, and passed the gate where there is one. Knows nothing of how a
slot is chosen (app.store.queueing, app.services.standing); never commits.
"""

from dataclasses import dataclass
from uuid import UUID

from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.preferences import turned
from app.domain.protocols import Gate
from app.domain.qualifying import Trial, agrees, decide
from app.domain.words import LabelerKind, Role
from app.services import guidelines
from app.services.people import Viewer
from app.services.projects import entrance, the_project
from app.store import people, qualifications, queueing
from app.store.guidelines import Entrance
from app.store.qualifications import Newcomer, Tried
from app.store.session import Session
from app.store.tables import Labeler, Qualification

LONGEST_REASON = 1000


@dataclass(frozen=True)
class First:
    """What has to be done first, in words; `href` is empty when there is nothing to do but wait."""

    words: str
    href: str
    label: str


@dataclass(frozen=True)
class Feedback:
    """The researchers' answer to a practice pair, in displayed order, and whether the labeler's is on the same side.

    `agrees` is None where one of the two says 5.
    """

    value: int
    reason: str
    agrees: bool | None


UNREAD = First("Please read the guidelines before you begin.", "/guidelines", "Read the guidelines")
NEW_WORDS = First(
    "The guidelines have changed. Please read what is new before you go on.", "/guidelines", "Read what is new"
)
NOT_PASSED = First(
    "Thank you for judging the practice pairs. Your answers and ours differed more than we had hoped, or took longer, "
    "and somebody will look at them before you go on. There is nothing you have to do; whoever invited you can tell "
    "you more.",
    "/guidelines",
    "Read the guidelines again",
)
NO_PAIRS = First("The practice pairs are not ready yet. This page looks again by itself.", "", "")


def what_first(session: Session, met: Entrance, viewer: Viewer) -> First | None:
    """What the labeler has to do before they are given pairs; None when they may begin, or go on."""
    if viewer.kind is not LabelerKind.HUMAN:
        return None
    if guidelines.unread(session, viewer, met) is not None:
        return NEW_WORDS if guidelines.last_read(session, viewer) else UNREAD
    return _settled(session, met, viewer) if practises(session, met, viewer) else None


def practises(session: Session, met: Entrance, viewer: Viewer) -> bool:
    """Whether the labeler is given qualification pairs and nothing else: the gate is shut, and they have not passed it.

    Researchers' judging accounts and simulated labelers are not asked to qualify.
    """
    if not Gate.of(met.gate).required or viewer.calibrates or viewer.kind is not LabelerKind.HUMAN:
        return False
    decision = qualifications.newest(session, met.project_id, viewer.id)
    return decision is None or not decision.passed


def _settled(session: Session, met: Entrance, viewer: Viewer) -> First | None:
    """Decide on a newcomer when their last practice pair is done. What they have to do first after that."""
    # Answers, skips and looks of one labeler come one at a time, so that each end is decided once.
    queueing.lock_queue_of(session, viewer.id)
    decision = qualifications.newest(session, met.project_id, viewer.id)
    if decision is not None and decision.passed:
        return None
    if decision is not None and decision.decided_by is None:
        return NOT_PASSED
    if qualifications.left(session, met.project_id, viewer.id):
        return None
    trials = _attempt(qualifications.tried(session, met.project_id, viewer.id), decision)
    skipped = qualifications.passed_on(
        session, met.project_id, viewer.id, None if decision is None else decision.created_at
    )
    if not trials and not skipped:
        return NO_PAIRS
    outcome = decide(
        Gate.of(met.gate),
        [Trial(each.value, each.verdict, each.seconds) for each in trials],
        len(trials) + skipped,
    )
    qualifications.add(
        session,
        Qualification(
            project_id=met.project_id,
            labeler_id=viewer.id,
            passed=outcome.passed,
            answers=outcome.answers,
            agreement=outcome.agreement,
            seconds=outcome.seconds,
            reason=outcome.reason,
        ),
    )
    return None if outcome.passed else NOT_PASSED


def _attempt(tried: list[Tried], decision: Qualification | None) -> list[Tried]:
    """The answers on which the next decision rests: those given since an admin let them try again, on pairs in use.

    What an admin made void is none of them.
    """
    before = 0 if decision is None else decision.answers
    return [each for each in tried[before:] if not each.retired and not each.void]


def feedback(session: Session, viewer: Viewer, showing_id: UUID) -> Feedback | None:
    """What the researchers said of a practice pair that the labeler has just answered; None for any other pair.

    With the last of them the gate decides. It looks at first answers: whoever changes one has seen the researchers'.
    """
    found = qualifications.practice(session, showing_id, viewer.id)
    if found is None:
        return None
    met = entrance(session, viewer.id)
    if practises(session, met, viewer):
        _settled(session, met, viewer)
    return Feedback(turned(found.verdict, found.swapped), found.reason, agrees(found.value, found.verdict))


# What admins see and decide


@dataclass(frozen=True)
class Onboarding:
    """The gate, how many qualification pairs there are, and how everybody stands."""

    gate: Gate
    pairs: int
    newcomers: list[Newcomer]


def overview(session: Session) -> Onboarding:
    """How everybody stands, by name."""
    project = the_project(session)
    return Onboarding(
        Gate.of(project.gate),
        qualifications.pairs(session, project.id),
        qualifications.newcomers(session, project.id),
    )


@dataclass(frozen=True)
class Record:
    """Everything about one newcomer. `left`: qualification pairs that they could still be given."""

    labeler: Labeler
    gate: Gate
    decisions: list[tuple[Qualification, str | None]]
    tried: list[Tried]
    left: int


def record(session: Session, labeler_id: int) -> Record:
    """One newcomer's answers and the decisions on them. Raises NotFound."""
    project, labeler = the_project(session), _judge(session, labeler_id)
    return Record(
        labeler,
        Gate.of(project.gate),
        qualifications.decisions(session, project.id, labeler.id),
        qualifications.tried(session, project.id, labeler.id),
        qualifications.left(session, project.id, labeler.id),
    )


def _judge(session: Session, labeler_id: int) -> Labeler:
    labeler = people.labeler(session, labeler_id)
    asked = labeler is not None and labeler.role == Role.LABELER and labeler.kind == LabelerKind.HUMAN
    if labeler is None or not asked or labeler.calibrates or labeler.name.startswith("import:"):
        raise NotFound("There is nobody to qualify under this address.", "Go back to the list.")
    return labeler


def set_gate(session: Session, viewer: Viewer, gate: Gate) -> None:
    """What newcomers must show from now on; who has passed stays passed. Raises Invalid where nobody could pass."""
    project = the_project(session)
    if gate.required and not qualifications.pairs(session, project.id):
        raise Invalid(
            "There are no qualification pairs yet, so nobody could pass.",
            "Give a verdict on some pairs and use them as qualification first.",
            "required",
        )
    qualifications.set_gate(session, project.id, gate.to_dict())
    people.audit(session, viewer.id, "set gate", "project", project.id, **gate.to_dict())


def let_pass(session: Session, viewer: Viewer, labeler_id: int, reason: str) -> str:
    """Let somebody begin, whatever the gate says. Gives the name. Raises Invalid without a reason."""
    labeler = _judge(session, labeler_id)
    _decide(session, viewer, labeler, True, reason)
    return labeler.name


def let_try_again(session: Session, viewer: Viewer, labeler_id: int, reason: str) -> str:
    """Let somebody qualify anew on the pairs that they have not met. Gives the name.

    What they answered before no longer counts. Raises Conflict when there is no such pair.
    """
    project, labeler = the_project(session), _judge(session, labeler_id)
    if not qualifications.left(session, project.id, labeler.id):
        raise Conflict(
            f"{labeler.name} has met every qualification pair.", "Put up new ones first; then they can try again."
        )
    _decide(session, viewer, labeler, False, reason)
    return labeler.name


def _decide(session: Session, viewer: Viewer, labeler: Labeler, passed: bool, reason: str) -> None:
    project = the_project(session)
    words = reason.replace("\0", "").encode("utf-8", "replace").decode().strip()[:LONGEST_REASON]
    if not words:
        raise Invalid("Say why.", "It is kept with the decision, for whoever asks later.", "reason")
    queueing.lock_queue_of(session, labeler.id)
    qualifications.add(
        session,
        Qualification(
            project_id=project.id,
            labeler_id=labeler.id,
            passed=passed,
            answers=len(qualifications.tried(session, project.id, labeler.id)),
            reason=words,
            decided_by=viewer.id,
        ),
    )
    action = "let pass" if passed else "let try again"
    people.audit(session, viewer.id, action, "labeler", labeler.id, reason=words)
