"""How the install stands: what is there and missing, who labels, what went wrong, what a launch would start from.

Knows counts. Knows nothing of pages; never commits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.words import CheckpointKind, LabelerKind, Split, Stage
from app.services.projects import the_project
from app.store import answers, batches, corpus, people, rounds, runs
from app.store.answers import AtWork
from app.store.session import Session

FAILURES_SHOWN = 5
NOW_MEANS = timedelta(minutes=15)
"""Who answered within this time is labeling now."""
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True)
class Outlook:
    """What a round launched now would start from."""

    documents: dict[Split, int]
    pairs_waiting: int
    opinions_open: int
    opinions_given: int
    has_sft: bool
    active: int | None


def outlook(session: Session) -> Outlook:
    """Documents by split, pairs that wait for a round, and whether a policy was fine-tuned already."""
    project = the_project(session)
    waiting = batches.unadopted(session, project.id)
    active = next((found.round for found in rounds.rounds(session, project.id) if found.round.ended_at is None), None)
    return Outlook(
        documents=corpus.counts_by_split(session, project.id),
        pairs_waiting=waiting.pairs,
        opinions_open=waiting.unfinished,
        opinions_given=waiting.done,
        has_sft=rounds.newest_checkpoint(session, project.id, Stage.SFT, CheckpointKind.POLICY) is not None,
        active=None if active is None else active.number,
    )


@dataclass(frozen=True)
class Steps:
    """What a new install needs, in order; the first that is missing is the next thing to do."""

    documents: bool
    labeler: bool
    pairs: bool
    judged: bool
    launched: bool

    @property
    def all_done(self) -> bool:
        """Whether nothing of it is left."""
        return self.documents and self.labeler and self.pairs and self.judged and self.launched


@dataclass(frozen=True)
class FailedRun:
    """A run that failed, in words."""

    stage: Stage
    problem: str
    traceback: str | None
    round_number: int | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Overview:
    """Figures of the first page of those who look after the install. Answers of an hour and a day are people's."""

    documents: dict[Split, int]
    answers_today: int
    simulated_today: int
    last_hour: int
    last_day: int
    at_work: list[AtWork]
    open_slots: int
    current_policy: str | None
    steps: Steps
    failures: list[FailedRun]

    @property
    def runs_dry(self) -> bool:
        """Whether at the pace of the last day less than a day of work is open."""
        return self.last_day > 0 and self.open_slots < self.last_day


def overview(session: Session) -> Overview:
    """How the install stands now."""
    project = the_project(session)
    documents = corpus.counts_by_split(session, project.id)
    current = None if project.current_policy_id is None else corpus.policy(session, project.current_policy_id)
    return Overview(
        documents=documents,
        answers_today=answers.answers_today(session),
        simulated_today=answers.answers_today(session, LabelerKind.SIMULATED),
        last_hour=answers.answers_within(session, HOUR),
        last_day=answers.answers_within(session, DAY),
        at_work=answers.at_work(session, NOW_MEANS),
        open_slots=batches.open_slots(session, project.id),
        current_policy=None if current is None else current.name,
        steps=Steps(
            documents=sum(documents.values()) > 0,
            labeler=people.has_labelers(session),
            pairs=batches.has_sampled_pairs(session, project.id),
            judged=answers.has_answers(session, project.id),
            launched=bool(rounds.rounds(session, project.id)),
        ),
        failures=[
            FailedRun(
                Stage(failed.run.stage),
                failed.run.problem or "",
                failed.run.traceback,
                failed.round_number,
                failed.run.ended_at,
            )
            for failed in runs.failed(session, project.id, FAILURES_SHOWN)
        ],
    )
