"""What the answers of a project say about those who gave them: for those who look after labelers, and for themselves.

Knows whose answers are compared with whose, and what a labeler may see of it (invariant 3). The statistics are in
app.quality. Knows nothing of pages; never commits.

Labelers are accounts that judge; researchers are the accounts with which they judge (`calibrates`) and the authors of
verdicts. A verdict on a pair that such an account judged is left out: it may be the same person's. Qualification pairs
are left out everywhere: whoever meets one is told the answer at once. Agreement is about ordinary batches; gold pairs,
chosen for being clear, have rows of their own and count where it says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import numpy as np
import numpy.typing as npt

from app.domain import intervals
from app.domain.errors import NotFound
from app.domain.intervals import Estimate
from app.domain.preferences import HIGHEST, LOWEST, MIDDLE, choice, turned
from app.domain.words import BatchPurpose, ComparisonKind, LabelerKind, PolicyKind
from app.quality import agreement, drift, labelers, skill
from app.quality.agreement import Agreement
from app.quality.drift import Drift
from app.quality.labelers import Day, Pace, Scale, Step
from app.quality.resampling import Counts, Floats
from app.quality.skill import Skill
from app.services import flags, judging
from app.services.flags import OwnFlag
from app.services.judging import Progress
from app.services.people import Viewer
from app.services.projects import the_project
from app.store import quality
from app.store.quality import KINDS, Judgement, Opinions, Released
from app.store.session import Session
from app.store.tables import Labeler

PURPOSES = (BatchPurpose.ORDINARY, BatchPurpose.GOLD)
LEAST_OF_POLICIES = 30
MOST_POLICIES = 20
DISAGREEMENTS_SHOWN = 10
# The same rows give the same intervals.
_SEED = 2020


@dataclass(frozen=True)
class Part:
    """Raw agreement on some of the comparisons: of labelers with each other, and with researchers."""

    name: str
    labelers: Estimate
    researchers: Estimate


@dataclass(frozen=True)
class Watched:
    """Sentinel answers in the order in which they came, after those that set the reference.

    Shares are of the baseline being preferred to the human reference. `at`: when each watched answer was given.
    """

    reference: Estimate
    since: Estimate
    at: Sequence[datetime]
    drift: Drift


@dataclass(frozen=True)
class LabelerLine:
    """One labeler in figures. `researchers` is on ordinary batches, `gold` on gold pairs; `threshold` uses both."""

    id: int
    name: str
    simulated: bool
    answers: int
    pace: Pace
    scale: Scale
    others: Estimate
    mode: Estimate
    researchers: Estimate
    gold: Estimate
    threshold: Step | None
    skill: Skill
    watched: Watched | None


@dataclass(frozen=True)
class Overall:
    """How a project's labelers and researchers agree, and each labeler. `mode` is a labeler's answer against that of
    three or more others, `researcher_mode` a researcher's against that of three or more labelers."""

    answers: int
    among_labelers: Agreement
    with_researchers: Agreement
    among_researchers: Agreement
    mode: Estimate
    researcher_mode: Estimate
    gold: Agreement
    kinds: list[Part]
    policies: list[Part]
    labelers: list[LabelerLine]
    watched: Watched | None
    sentinels: int


@dataclass(frozen=True)
class LabelerDetail:
    """One labeler at length."""

    line: LabelerLine
    steps: list[Step]
    days: list[Day]


@dataclass(frozen=True)
class Disagreement:
    """A released pair as its labeler saw it, with both answers in that order of sides, and the researchers' reason."""

    showing_id: str
    title: str
    community: str
    post: str
    texts: tuple[str, str]
    said: int
    explanation: str | None
    verdict: int
    reason: str
    released_at: datetime
    asked: bool


@dataclass(frozen=True)
class Own:
    """What labelers are told of their own work: of `released` pairs, on how many they and researchers are `apart`.

    `disagreements` are one page of those, the newest release first.
    """

    progress: Progress
    pace: Pace
    days: list[Day]
    agreement: Estimate
    released: int
    apart: int
    disagreements: list[Disagreement]
    flags: list[OwnFlag]


def overall(session: Session, kinds: Sequence[LabelerKind]) -> Overall:
    """Everything at once; simulated labelers only when their kind is asked for."""
    table = _Table.read(session, kinds)
    rng = np.random.default_rng(_SEED)
    skills = table.skills()
    return Overall(
        answers=len(table.value),
        among_labelers=agreement.among(table.labelers_said, rng),
        with_researchers=agreement.between(table.labelers_untold, table.researchers_said, rng),
        among_researchers=agreement.among(table.researchers_said, rng),
        mode=agreement.with_mode(agreement.sides(table.labelers_said), rng),
        researcher_mode=agreement.sides_between(
            agreement.sides(table.researchers_said), agreement.mode(agreement.sides(table.labelers_untold)), rng
        ),
        gold=agreement.between(table.gold_said, table.gold_verdicts, rng),
        kinds=table.by_kind(rng),
        policies=table.by_policies(rng),
        labelers=sorted(
            (table.line(labeler_id, skills[labeler_id], rng) for labeler_id in table.who()),
            key=lambda line: (-line.answers, line.name),
        ),
        watched=table.watched(None),
        sentinels=int(table.sentinel.sum()),
    )


def of_labeler(session: Session, labeler_id: int, kinds: Sequence[LabelerKind]) -> LabelerDetail:
    """One labeler at length, whatever their kind; `kinds`: whose answers theirs are compared with. Raises NotFound."""
    account = quality.accounts(session).get(labeler_id)
    if account is None or account.calibrates:
        raise NotFound("There is no such labeler.", "Go back to Quality; it lists everybody who judges.")
    table = _Table.read(session, sorted({*kinds, LabelerKind(account.kind)}))
    found = table.skills().get(labeler_id, _NO_SKILL)
    line = table.line(labeler_id, found, np.random.default_rng(_SEED))
    own = table.labeler == labeler_id
    return LabelerDetail(line, table.steps(own), labelers.by_day(table.seconds[own], table.day[own]))


def drifting(session: Session) -> list[tuple[int | None, str, Watched]]:
    """Whose sentinel answers gave an alarm: None and a name for everybody together, then labelers; people only."""
    if quality.count_sentinels(session, the_project(session).id) < drift.REFERENCE:
        return []
    table = _Table.read(session, (LabelerKind.HUMAN,))
    each = [(None, "All labelers"), *((labeler_id, table.accounts[labeler_id].name) for labeler_id in table.who())]
    found = [(labeler_id, name, table.watched(labeler_id)) for labeler_id, name in each]
    return [(labeler_id, name, seen) for labeler_id, name, seen in found if seen is not None and seen.drift.alarms]


def own(session: Session, viewer: Viewer, page: int = 1) -> Own:
    """A labeler's own pace, and how they stand with researchers on pairs that were released. Raises NotAllowed.

    `page`: which DISAGREEMENTS_SHOWN of them, from 1.
    """
    progress = judging.progress(session, viewer)
    project = the_project(session)
    said = quality.opinions(session, project.id, kinds=[viewer.kind], purposes=PURPOSES, labeler_id=viewer.id)
    seconds, days = _floats(said.seconds), _days(said.given_at)
    released = quality.released(session, project.id, viewer.id)
    sided = [each for each in released if choice(each.value) is not None and choice(each.verdict) is not None]
    agreeing = [choice(each.value) == choice(each.verdict) for each in sided if not each.told]
    apart = [each for each in sided if choice(each.value) != choice(each.verdict)]
    return Own(
        progress=progress,
        pace=labelers.pace(seconds, days),
        days=labelers.by_day(seconds, days),
        agreement=intervals.rate(sum(agreeing), len(agreeing)),
        released=len(released),
        apart=len(apart),
        disagreements=[
            _disagreement(each) for each in apart[(page - 1) * DISAGREEMENTS_SHOWN : page * DISAGREEMENTS_SHOWN]
        ],
        flags=flags.of_labeler(session, viewer),
    )


def _disagreement(found: Released) -> Disagreement:
    return Disagreement(
        showing_id=str(found.showing_id),
        title=found.title,
        community=found.community,
        post=found.post,
        texts=found.texts[::-1] if found.swapped else found.texts,
        said=turned(found.value, found.swapped),
        explanation=found.explanation,
        verdict=turned(found.verdict, found.swapped),
        reason=found.reason,
        released_at=found.released_at,
        asked=found.asked,
    )


_NOTHING = Estimate(None, 0, None, None)
_NO_SKILL = Skill(_NOTHING, _NOTHING)


def _floats(values: Sequence[float | None]) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _days(moments: Sequence[float]) -> npt.NDArray[np.datetime64]:
    return np.asarray(moments, dtype=np.float64).astype("datetime64[s]").astype("datetime64[D]")


@dataclass(frozen=True)
class _Table:
    """Counted answers and verdicts as arrays: an entry for each answer, a row of a tally for each comparison."""

    accounts: dict[int, Labeler]
    policy_names: dict[int, tuple[str, PolicyKind]]
    row: Counts
    labeler: Counts
    value: Counts
    swapped: npt.NDArray[np.bool_]
    seconds: Floats
    given_at: Floats
    gold: npt.NDArray[np.bool_]
    told: npt.NDArray[np.bool_]
    by_researcher: npt.NDArray[np.bool_]
    sentinel: npt.NDArray[np.bool_]
    baseline_won: npt.NDArray[np.bool_]
    kind_of_row: Counts
    policies_of_row: Counts
    labelers_said: Counts
    labelers_untold: Counts
    researchers_said: Counts
    gold_said: Counts
    gold_verdicts: Counts

    @classmethod
    def read(cls, session: Session, kinds: Sequence[LabelerKind]) -> Self:
        """Everything that counts in the project."""
        project = the_project(session)
        said = quality.opinions(session, project.id, kinds=kinds, purposes=PURPOSES)
        verdicts = quality.judgements(session, project.id, purposes=PURPOSES)
        return cls._of(said, verdicts, quality.accounts(session), quality.policies(session, project.id))

    @classmethod
    def _of(
        cls,
        said: Opinions,
        verdicts: Sequence[Judgement],
        accounts: dict[int, Labeler],
        policies: dict[int, tuple[str, PolicyKind]],
    ) -> Self:
        comparison = np.asarray([*said.comparison, *(one.comparison_id for one in verdicts)], dtype=np.int64)
        rows, size = agreement.rows_of(comparison)
        answers = len(said.comparison)
        row, verdict_row = rows[:answers], rows[answers:]
        value = np.asarray(said.value, dtype=np.int64)
        labeler = np.asarray(said.labeler, dtype=np.int64)
        gold, told = np.asarray(said.gold, dtype=np.bool_), np.asarray(said.told, dtype=np.bool_)
        by_researcher = np.isin(labeler, [each.id for each in accounts.values() if each.calibrates])
        verdict_value = np.asarray([one.value for one in verdicts], dtype=np.int64)
        verdict_gold = np.asarray([one.gold for one in verdicts], dtype=np.bool_)
        kind = np.asarray([*said.kind, *(KINDS.index(one.kind) for one in verdicts)], dtype=np.int64)
        first = np.asarray([*said.first_policy, *(one.first_policy_id for one in verdicts)], dtype=np.int64)
        second = np.asarray([*said.second_policy, *(one.second_policy_id for one in verdicts)], dtype=np.int64)
        kind_of_row, policies_of_row = np.zeros(size, dtype=np.int64), np.zeros((size, 2), dtype=np.int64)
        kind_of_row[rows] = kind
        policies_of_row[rows] = np.sort(np.stack([first, second], axis=1), axis=1)
        references = [policy_id for policy_id, (_, of) in policies.items() if of is PolicyKind.REF]
        first_is_reference, second_is_reference = np.isin(first, references), np.isin(second, references)

        def tally(chosen: npt.NDArray[np.bool_]) -> Counts:
            return agreement.tally(row[chosen], value[chosen], size)

        def tally_verdicts(chosen: npt.NDArray[np.bool_]) -> Counts:
            return agreement.tally(verdict_row[chosen], verdict_value[chosen], size)

        judged_by_researcher = np.isin(verdict_row, row[by_researcher])
        return cls(
            accounts=accounts,
            policy_names=policies,
            row=row,
            labeler=labeler,
            value=value,
            swapped=np.asarray(said.swapped, dtype=np.bool_),
            seconds=_floats(said.seconds),
            given_at=_floats(said.given_at),
            gold=gold,
            told=told,
            by_researcher=by_researcher,
            sentinel=(kind[:answers] == KINDS.index(ComparisonKind.SENTINEL))
            & (value != MIDDLE)
            & ~by_researcher
            & (first_is_reference != second_is_reference)[:answers],
            baseline_won=(value > MIDDLE) == first_is_reference[:answers],
            kind_of_row=kind_of_row,
            policies_of_row=policies_of_row,
            labelers_said=tally(~by_researcher & ~gold),
            labelers_untold=tally(~by_researcher & ~gold & ~told),
            researchers_said=tally(by_researcher & ~gold) + tally_verdicts(~verdict_gold & ~judged_by_researcher),
            gold_said=tally(~by_researcher & gold & ~told),
            gold_verdicts=tally_verdicts(verdict_gold),
        )

    @property
    def day(self) -> npt.NDArray[np.datetime64]:
        """The day of each answer, UTC."""
        return self.given_at.astype("datetime64[s]").astype("datetime64[D]")

    @property
    def displayed(self) -> Counts:
        """Each answer in the order of sides in which it was given."""
        return np.where(self.swapped, LOWEST + HIGHEST - self.value, self.value)

    def who(self) -> list[int]:
        """Labelers with an answer; researchers' own accounts are what others are held to."""
        return [int(labeler_id) for labeler_id in np.unique(self.labeler[~self.by_researcher])]

    def skills(self) -> dict[int, Skill]:
        """The noisy Bradley-Terry fit over every answer that prefers a side, gold pairs and researchers among them."""
        sided = self.value != MIDDLE
        known, codes = np.unique(self.labeler[sided], return_inverse=True)
        fit = skill.fit(
            self.row[sided],
            codes.astype(np.int64),
            self.swapped[sided],
            self.displayed[sided] < MIDDLE,
            len(known),
        )
        found = {int(labeler_id): one for labeler_id, one in zip(known, fit.labelers, strict=True)}
        return {labeler_id: found.get(labeler_id, _NO_SKILL) for labeler_id in self.who()}

    def by_kind(self, rng: np.random.Generator) -> list[Part]:
        """Raw agreement by the kind of comparison, for kinds that two people judged."""
        parts = [self._part(kind.value, self.kind_of_row == place, rng) for place, kind in enumerate(KINDS)]
        return [part for part in parts if part.labelers.n or part.researchers.n]

    def by_policies(self, rng: np.random.Generator) -> list[Part]:
        """Raw agreement by the pair of policies, where at least LEAST_OF_POLICIES comparisons can be compared."""
        several = self.labelers_said.sum(axis=1) > 1
        both = (self.labelers_untold.sum(axis=1) > 0) & (self.researchers_said.sum(axis=1) > 0)
        usable = several | both
        pairs, rows, counts = np.unique(self.policies_of_row[usable], axis=0, return_inverse=True, return_counts=True)
        found = []
        for place in np.argsort(-counts, kind="stable")[:MOST_POLICIES]:
            if counts[place] < LEAST_OF_POLICIES:
                break
            chosen = np.zeros(len(self.policies_of_row), dtype=np.bool_)
            chosen[np.flatnonzero(usable)[rows == place]] = True
            names = " × ".join(sorted(self.policy_names[int(policy_id)][0] for policy_id in pairs[place]))
            found.append(self._part(names, chosen, rng))
        return found

    def _part(self, name: str, chosen: npt.NDArray[np.bool_], rng: np.random.Generator) -> Part:
        return Part(
            name,
            agreement.sides_among(agreement.sides(self.labelers_said[chosen]), rng),
            agreement.sides_between(
                agreement.sides(self.labelers_untold[chosen]), agreement.sides(self.researchers_said[chosen]), rng
            ),
        )

    def line(self, labeler_id: int, fitted: Skill, rng: np.random.Generator) -> LabelerLine:
        """One labeler in figures."""
        own = self.labeler == labeler_id
        rows, ordinary = self.row[own], ~self.gold[own]
        said = agreement.sides(agreement.tally(np.arange(len(rows)), self.value[own], len(rows)))
        others = np.maximum(agreement.sides(self.labelers_said[rows]) - said, 0)
        researchers, verdicts = agreement.sides(self.researchers_said[rows]), agreement.sides(self.gold_verdicts[rows])
        untold = ~self.told[own]
        account = self.accounts[labeler_id]
        return LabelerLine(
            id=labeler_id,
            name=account.name,
            simulated=account.kind == LabelerKind.SIMULATED,
            answers=len(rows),
            pace=labelers.pace(self.seconds[own], self.day[own]),
            scale=labelers.scale(self.displayed[own]),
            others=agreement.sides_between(said[ordinary], others[ordinary], rng),
            mode=agreement.sides_between(said[ordinary], agreement.mode(others[ordinary]), rng),
            researchers=agreement.sides_between(said[untold], researchers[untold], rng),
            gold=agreement.sides_between(said[untold], verdicts[untold], rng),
            threshold=labelers.threshold(self.steps(own)),
            skill=fitted,
            watched=self.watched(labeler_id),
        )

    def steps(self, own: npt.NDArray[np.bool_]) -> list[Step]:
        """How often these answers are on the researchers' side, from each confidence on; gold pairs among them."""
        chosen = own & ~self.told & (self.value != MIDDLE)
        value = self.value[chosen]
        sides = agreement.sides((self.researchers_said + self.gold_verdicts)[self.row[chosen]])
        preferred = (value > MIDDLE).astype(np.int64)
        agreeing = np.take_along_axis(sides, preferred[:, None], axis=1)[:, 0]
        return labelers.steps(np.abs(value - MIDDLE), agreeing, sides.sum(axis=1))

    def watched(self, labeler_id: int | None) -> Watched | None:
        """The sentinel answers of one labeler, or of all, after those that set the reference; None before it is set."""
        places = np.flatnonzero(self.sentinel)
        first, later = places[: drift.REFERENCE], places[drift.REFERENCE :]
        if len(first) < drift.REFERENCE:
            return None
        if labeler_id is not None:
            later = later[self.labeler[later] == labeler_id]
        wins = self.baseline_won[later]
        reference = intervals.rate(int(self.baseline_won[first].sum()), len(first))
        assert reference.value is not None
        return Watched(
            reference=reference,
            since=intervals.rate(int(wins.sum()), len(wins)),
            at=[datetime.fromtimestamp(moment, UTC) for moment in self.given_at[later]],
            drift=drift.cusum([bool(won) for won in wins], reference.value),
        )
