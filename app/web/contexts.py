"""One dataclass per page: exactly what its template may use. A test renders every page from its context alone.

Knows values. Knows nothing of rows or requests; routers convert once.
"""

from dataclasses import dataclass, field
from datetime import datetime

from markupsafe import Markup

from app.domain.ratings import Axis


@dataclass(frozen=True)
class ErrorPage:
    """errors/error.html"""

    title: str
    what: str
    what_to_do: str
    home: str


@dataclass(frozen=True)
class SignInPage:
    """accounts/sign_in.html"""

    name: str
    problem: str | None
    what_to_do: str
    next: str


@dataclass(frozen=True)
class LinkPage:
    """accounts/link.html: a one-time link on which a password is set."""

    name: str
    first: bool
    problem: str | None
    what_to_do: str
    shortest: int


@dataclass(frozen=True)
class TokenLine:
    """An API token in a list."""

    id: int
    name: str
    prefix: str
    created: str
    used: str


@dataclass(frozen=True)
class AccountPage:
    """accounts/account.html"""

    name: str
    role: str
    tokens: list[TokenLine]
    shortest: int
    new_token: str | None = None
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparePage:
    """labeling/compare.html: the shell; what is judged is fetched by the page, which holds `ahead` of it."""

    ahead: int
    scale: list[tuple[int, str]]
    axes: list[Axis]
    reasons: list[tuple[str, str]]
    concerns: list[tuple[str, str]]


@dataclass(frozen=True)
class PersonLine:
    """An account in the list of people. `state` is active, invited, expired (no password, no link) or deactivated."""

    id: int
    name: str
    role: str
    simulated: bool
    calibrates: bool
    state: str
    answers: int
    seen: datetime | None
    link_until: datetime | None
    oneself: bool


@dataclass(frozen=True)
class PeoplePage:
    """people/people.html"""

    people: list[PersonLine]
    labelers: int


@dataclass(frozen=True)
class InvitePage:
    """people/invite.html"""

    name: str
    role: str
    kind: str
    calibrates: bool
    errors: dict[str, str]


@dataclass(frozen=True)
class NewLinkPage:
    """people/link.html: a one-time link, shown this once."""

    name: str
    link: str
    days: int
    invited: bool


@dataclass(frozen=True)
class DocumentLine:
    """A document in a list."""

    id: int
    title: str
    opening: str
    community: str
    split: str
    referenced: bool


@dataclass(frozen=True)
class DocumentsPage:
    """documents/documents.html"""

    documents: list[DocumentLine]
    words: str
    split: str
    splits: list[tuple[str, int]]
    everything: int
    found: str
    newer: str | None
    older: str | None


@dataclass(frozen=True)
class WrittenText:
    """A summary, who wrote it and how."""

    policy: str
    kind: str
    text: str
    how: list[tuple[str, str]]


@dataclass(frozen=True)
class DocumentPage:
    """documents/document.html"""

    title: str
    community: str
    text: str
    facts: list[tuple[str, str]]
    written: list[WrittenText]


@dataclass(frozen=True)
class ImportLine:
    """An import in a list."""

    id: int
    name: str
    holds: str
    state: str
    words: str
    asked: datetime


@dataclass(frozen=True)
class ImportPage:
    """documents/import.html: the form, and what was imported lately."""

    holds: str
    stop: bool
    megabytes: int
    errors: dict[str, str]
    imports: list[ImportLine]
    live: bool


@dataclass(frozen=True)
class ImportRunPage:
    """documents/import_run.html: one import, while it goes on and afterwards."""

    id: int
    name: str
    holds: str
    stop: bool
    state: str
    words: str
    done: int
    total: int
    live: bool
    can_cancel: bool
    problem: str | None
    counts: list[tuple[str, int, str | None]]
    problems: list[str]
    more_problems: int
    asked: datetime
    seconds: float | None


@dataclass(frozen=True)
class BatchLine:
    """A batch in a list. `subjects` are pairs, or summaries to rate; `about` says which, and what they are for.

    `people` is empty when it is for everybody of its kind. `standing`: put before each labeler once.
    """

    id: int
    name: str
    about: str
    rating: bool
    standing: bool
    subjects: int
    given: int
    open: int
    priority: int
    whom: str
    people: list[str]
    paused: bool
    round: int | None


@dataclass(frozen=True)
class SampleLine:
    """Pairs that were asked for outside of rounds."""

    id: int
    pairs: int
    recipe: str
    simulated: bool
    notes_first: bool
    state: str
    words: str
    done: int
    total: int
    problem: str | None
    asked: datetime
    can_cancel: bool


@dataclass(frozen=True)
class SampleForm:
    """What was typed to sample pairs."""

    recipe: str
    pairs: str
    simulated: bool
    notes_first: bool


@dataclass(frozen=True)
class RateForm:
    """What was typed to put summaries up for rating."""

    policy: str
    documents: str
    opinions: str
    simulated: bool


@dataclass(frozen=True)
class BatchesPage:
    """batches/batches.html"""

    batches: list[BatchLine]
    newer: str | None
    older: str | None
    recipes: list[tuple[str, str]]
    form: SampleForm
    policies: list[tuple[str, str]]
    rate: RateForm
    errors: dict[str, str]
    samples: list[SampleLine]
    live: bool
    trainable: int
    adds: list[str]


@dataclass(frozen=True)
class ProtocolForm:
    """What was typed as the protocol of new batches; shares in percent."""

    notes_first: bool
    shared: str
    shared_opinions: str
    sentinel: str
    sentinel_share: str
    calibration: str
    gold: str


@dataclass(frozen=True)
class ProtocolPage:
    """batches/protocol.html"""

    form: ProtocolForm
    policies: list[tuple[str, str]]
    proposed: str | None
    warnings: list[str]
    most: int
    errors: dict[str, str]


@dataclass(frozen=True)
class Candidate:
    """Somebody to whom a batch may be assigned."""

    id: int
    name: str
    hint: str | None
    chosen: bool


@dataclass(frozen=True)
class BatchPage:
    """batches/batch.html. `lent`: opinions of researchers' accounts, on top of those given."""

    batch: BatchLine
    lent: int
    kinds: list[tuple[str, int, str]]
    made: datetime
    opinions: str
    most_opinions: int
    notes_first: bool
    gold: str
    priority: str
    highest: int
    candidates: list[Candidate]
    errors: dict[str, str]


@dataclass(frozen=True)
class ExportLine:
    """An export that was asked for. `export_id` is None until the file is there."""

    id: int
    export_id: int | None
    holds: str
    asked: datetime
    asked_by: str
    state: str
    words: str
    done: int
    total: int
    problem: str | None
    rows: int
    bytes: int
    digest: str
    can_cancel: bool


@dataclass(frozen=True)
class ExportsPage:
    """exports/exports.html"""

    exports: list[ExportLine]
    splits: list[tuple[str, str, bool]]
    ties: bool
    simulated: bool
    errors: dict[str, str]
    live: bool


@dataclass(frozen=True)
class RoundLine:
    """A round in a list. `done` of `total` of the stage in progress; total 0 when nobody knows."""

    number: int
    recipe: str
    state: str
    state_words: str
    stage: str | None
    words: str
    done: int
    total: int
    judged: str
    accuracy: str
    started: datetime
    seconds: float
    going_on: bool


@dataclass(frozen=True)
class RecipeOption:
    """A recipe that can be launched, with what it does in one line."""

    id: int
    name: str
    version: int
    summary: str


@dataclass(frozen=True)
class ForecastLine:
    """What a stage would do, in words: rows, tokens, and time as earlier runs measured it."""

    stage: str
    rows: str
    tokens: str
    time: str
    measured: str


@dataclass(frozen=True)
class ForecastPart:
    """What a round with the chosen recipe would do; `refusal` says why it cannot work."""

    recipe: str
    lines: list[ForecastLine]
    facts: list[tuple[str, str]]
    refusal: str | None


@dataclass(frozen=True)
class LaunchForm:
    """What was chosen, and what will happen. `blocked` says why nothing can be launched now."""

    recipes: list[RecipeOption]
    recipe: int | None
    with_simulated: bool
    happens: list[str]
    facts: list[tuple[str, str]]
    forecast: ForecastPart | None
    blocked: str | None
    problem: str | None = None


@dataclass(frozen=True)
class Meter:
    """How much of something there is: `words` say what the bar shows."""

    label: str
    value: int
    total: int
    words: str


@dataclass(frozen=True)
class KeepGoingForm:
    """The form that turns continuous mode on, with what was chosen."""

    recipes: list[tuple[str, str, str]]
    recipe: str
    with_simulated: bool
    problem: str | None = None


@dataclass(frozen=True)
class ContinuousBox:
    """Continuous mode: `does` says what it does now and next. `form` turns it on; `ended` says why it is off."""

    on: bool
    state: str
    state_words: str
    facts: list[tuple[str, str]]
    since: datetime | None
    does: list[str]
    meters: list[Meter]
    ended: str | None
    ended_at: datetime | None
    can_turn_off: bool
    form: KeepGoingForm | None


@dataclass(frozen=True)
class RoundsPage:
    """rounds/rounds.html"""

    rounds: list[RoundLine]
    launch: LaunchForm | None
    continuous: ContinuousBox


@dataclass(frozen=True)
class RecipeField:
    """One hyperparameter: its path, value, meaning, source and limits."""

    name: str
    value: str
    doc: str
    source: str
    allowed: str


@dataclass(frozen=True)
class RecipePart:
    """A section of a recipe."""

    title: str
    fields: list[RecipeField]


@dataclass(frozen=True)
class RecipePage:
    """rounds/recipe.html"""

    id: int
    name: str
    version: int
    digest: str
    made: datetime
    summary: list[str]
    parts: list[RecipePart]
    can_launch: bool


@dataclass(frozen=True)
class RecipeSetting:
    """A field of a recipe in a form. `values` as typed: one text, or those of `options` that are ticked."""

    path: str
    label: str
    values: list[str]
    options: list[str]
    several: bool
    optional: bool
    doc: str
    source: str
    allowed: str


@dataclass(frozen=True)
class RecipeFormPart:
    """A section of a recipe in a form."""

    title: str
    settings: list[RecipeSetting]


@dataclass(frozen=True)
class RecipeFormPage:
    """rounds/recipe_form.html: a copy of the version of `base` with this id. Errors by path."""

    id: int
    base: str
    version: int
    name: str
    parts: list[RecipeFormPart]
    errors: dict[str, str]


@dataclass(frozen=True)
class StageLine:
    """A stage of a round. `state` is a word of the style sheet, `state_words` what people read.

    `traceback` is that of an attempt after which another comes; `can_again`: the round may run again from here.
    """

    run: int
    position: int
    title: str
    about: str
    state: str
    state_words: str
    words: str
    done: int
    total: int
    seconds: float | None
    ticking: bool
    judging: bool
    given: int
    attempt: str | None
    traceback: str | None
    can_again: bool


@dataclass(frozen=True)
class EarlierTry:
    """A stage that was run again since: how it ended, when, and what came of it."""

    title: str
    state: str
    state_words: str
    words: str
    traceback: str | None
    ended: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class ResultLine:
    """A figure with the n behind it and its 95 % interval, in words; a dash where there is none."""

    measure: str
    meaning: str
    value: str
    n: str
    interval: str


@dataclass(frozen=True)
class SampleSummaries:
    """What the writers made of one document; `previous` was current before, where that is not the fine-tuned one."""

    title: str
    reference: str
    before: str
    previous: str
    after: str


@dataclass(frozen=True)
class Curve:
    """A plot: its columns (metric, words) and its rows (step, one figure per column, empty where there is none)."""

    title: str
    about: str
    columns: list[tuple[str, str]]
    rows: list[tuple[int, list[str]]]
    thinned: bool


@dataclass(frozen=True)
class RunCurves:
    """The plots of one run."""

    run: int
    title: str
    curves: list[Curve]


@dataclass(frozen=True)
class Conditions:
    """What was in force while runs were executed; `title` names them."""

    title: str
    rows: list[tuple[str, str]]


@dataclass(frozen=True)
class Failure:
    """A run that failed: why, in words, and where."""

    stage: str
    problem: str
    traceback: str | None
    round: int | None
    ended: datetime | None


@dataclass(frozen=True)
class RoundPage:
    """rounds/round.html"""

    number: int
    state: str
    state_words: str
    recipe_id: int
    recipe: str
    with_simulated: bool
    by_itself: bool
    started: datetime
    ended: datetime | None
    seconds: float
    going_on: bool
    cursor: int
    can_cancel: bool
    can_finish: bool
    can_pause: bool
    can_resume: bool
    pause_words: str | None
    missing: list[str]
    failures: list[Failure]
    stages: list[StageLine]
    earlier: list[EarlierTry]
    results: list[ResultLine]
    samples: list[SampleSummaries]
    monitor: "MonitorBox | None"
    decision: "PromotionLine | None"
    curves: list[RunCurves]
    conditions: list[Conditions]


@dataclass(frozen=True)
class DoingLine:
    """What a worker is at: the stage, its round, since when, and in words with how far it is."""

    title: str
    round: int | None
    since: datetime | None
    words: str


@dataclass(frozen=True)
class WorkerLine:
    """A worker: who it is, what it has, in words, and what it does."""

    host: str
    process: int
    state: str
    state_words: str
    queues: str
    device: str
    memory: str
    versions: list[str]
    started: datetime
    heard: str
    doing: list[DoingLine]


@dataclass(frozen=True)
class WorkersPage:
    """workers/workers.html"""

    workers: list[WorkerLine]
    missing: list[str]


@dataclass(frozen=True)
class Step:
    """One thing to do on a new install; `href` is None for accounts that may not."""

    title: str
    about: str
    href: str | None
    action: str
    done: bool


@dataclass(frozen=True)
class PolicyLine:
    """A policy in a list."""

    id: int
    name: str
    kind: str
    current: bool
    round: int | None
    digest: str | None
    parent: str | None
    parent_id: int | None
    summaries: int
    made: datetime
    can_become_current: bool


@dataclass(frozen=True)
class Concern:
    """Something to look at: what, in a sentence, and where."""

    title: str
    words: str
    href: str
    action: str


@dataclass(frozen=True)
class AtWorkLine:
    """Somebody who is labeling now."""

    name: str
    simulated: bool
    today: str
    last: datetime | None
    holding: int


@dataclass(frozen=True)
class OverviewPage:
    """overview/overview.html. `steps` is empty when all of them are done; `missing`: runs that wait in vain."""

    concerns: list[Concern]
    at_work: list[AtWorkLine]
    missing: list[str]
    tiles: list[tuple[str, str, str | None]]
    steps: list[Step]
    continuous: str | None
    round: RoundLine | None
    policies: list[PolicyLine]
    failures: list[Failure]


@dataclass(frozen=True)
class Cell:
    """A figure, and beneath it its interval and n."""

    value: str
    detail: str


@dataclass(frozen=True)
class PromotionLine:
    """A decision on a policy and what was known then; `state` is a word of the style sheet. `before` was current."""

    policy_id: int
    policy: str
    before: str | None
    state: str
    words: str
    reason: str
    by: str
    at: datetime
    round: int | None
    alarms: list[str]
    evidence: list[ResultLine]


@dataclass(frozen=True)
class RollBack:
    """What a roll back brings back, and what it takes away."""

    policy_id: int
    policy: str
    instead_of: str


@dataclass(frozen=True)
class FamilyMember:
    """A policy in the picture of lineage: where its dot and its words stand."""

    x: float
    y: float
    name: str
    detail: str
    current: bool


@dataclass(frozen=True)
class FamilyPicture:
    """Which policy was trained from which, in pixels; `lines` are points "x,y x,y"; `said` is the picture in words."""

    width: int
    height: int
    members: list[FamilyMember]
    lines: list[str]
    said: str
    shown: str


@dataclass(frozen=True)
class WinRateLine:
    """How often one policy's summaries are preferred to another's; `length` says how much longer they are."""

    first_id: int
    first: str
    second_id: int
    second: str
    raw: Cell
    controlled: Cell
    length: str
    answers: str


@dataclass(frozen=True)
class CheckpointLine:
    """A checkpoint in a list."""

    id: int
    name: str
    kind: str
    round: int | None
    parent_id: int | None
    parent: str | None
    digest: str
    bytes: int
    made: datetime


@dataclass(frozen=True)
class PoliciesPage:
    """policies/policies.html"""

    policies: list[PolicyLine]
    writers: list[PolicyLine]
    family: FamilyPicture | None
    waiting: list[PromotionLine]
    decisions: list[PromotionLine]
    roll_back: RollBack | None
    win_rates: list[WinRateLine]
    more_win_rates: int
    length_words: str
    simulated: bool
    checkpoints: list[CheckpointLine]
    can_change: bool


@dataclass(frozen=True)
class PolicyTexts:
    """What one policy wrote about a document."""

    policy_id: int
    policy: str
    texts: list[str]


@dataclass(frozen=True)
class ChosenPolicies:
    """Two or three policies, as typed; the third may be empty."""

    a: str
    b: str
    c: str


@dataclass(frozen=True)
class SideBySidePage:
    """policies/compare.html"""

    policies: list[tuple[str, str]]
    chosen: ChosenPolicies
    document: str
    title: str
    community: str
    text: str
    there: bool
    sides: list[PolicyTexts]
    position: str
    earlier: str | None
    later: str | None
    errors: dict[str, str]


@dataclass(frozen=True)
class CardPart:
    """A part of a model card: terms and values."""

    title: str
    rows: list[tuple[str, str]]


@dataclass(frozen=True)
class CardPage:
    """policies/card.html: a model card."""

    id: int
    name: str
    about: str
    policy: tuple[int, str] | None
    parent: tuple[int, str] | None
    round: int | None
    parts: list[CardPart]
    measures: list[ResultLine]
    loading: str
    template: str
    recipe: str


@dataclass(frozen=True)
class Ancestor:
    """One checkpoint on the way from the base model to a policy."""

    id: int
    name: str
    policy_id: int | None
    digest: str
    made: datetime


@dataclass(frozen=True)
class Written:
    """A summary that a policy wrote, with the document it is about."""

    document_id: int
    title: str
    text: str
    finished: bool | None


@dataclass(frozen=True)
class PolicyPage:
    """policies/policy.html. `details` and `lineage` are empty for a policy that has no checkpoint.

    `known`: what is known of it now, as a decision would keep it.
    """

    policy: PolicyLine
    about: str
    checkpoint: int | None
    details: list[tuple[str, str]]
    snapshot: list[tuple[str, str]]
    lineage: list[Ancestor]
    known: list[ResultLine]
    alarms: list[str]
    win_rates: list[WinRateLine]
    decisions: list[PromotionLine]
    written: list[Written]
    can_change: bool
    longest: int


@dataclass(frozen=True)
class ChangedLine:
    """A line that a version of the guidelines removed or added; `kind` gap stands for lines that stayed."""

    kind: str
    text: str


@dataclass(frozen=True)
class VersionLine:
    """A version of the guidelines in a list."""

    version: int
    author: str
    made: datetime
    confirmed: int


@dataclass(frozen=True)
class GuidelinesPage:
    """guidelines/guidelines.html. `to_confirm`: the reader has to; `changes` since the version they last confirmed."""

    version: int | None
    made: datetime | None
    html: Markup
    contents: list[tuple[str, str]]
    to_confirm: bool
    changes: list[ChangedLine]
    versions: list[VersionLine]
    can_edit: bool


@dataclass(frozen=True)
class EditGuidelinesPage:
    """guidelines/edit.html. With `previewed`: how the text would look, and what it changes."""

    text: str
    after: int
    longest: int
    previewed: bool
    html: Markup
    changes: list[ChangedLine]
    readers: int
    errors: dict[str, str]


@dataclass(frozen=True)
class GuidelineVersionPage:
    """guidelines/version.html"""

    line: VersionLine
    html: Markup
    changes: list[ChangedLine]


@dataclass(frozen=True)
class NewcomerLine:
    """How somebody who judges stands. `state` is passed, failed, practising, new, or asked_again; `reason` says why."""

    id: int
    name: str
    state: str
    words: str
    calibrates: bool
    answered: int
    agreement: str
    pace: float | None
    reason: str
    decided: datetime | None


@dataclass(frozen=True)
class GateForm:
    """The gate as typed; agreement in percent."""

    required: bool
    agreement: str
    seconds: str


@dataclass(frozen=True)
class QualificationPage:
    """qualification/qualification.html"""

    form: GateForm
    errors: dict[str, str]
    required: bool
    pairs: int
    people: list[NewcomerLine]
    longest: int


@dataclass(frozen=True)
class DecisionLine:
    """A decision on a newcomer."""

    state: str
    words: str
    by: str
    at: datetime
    answers: int
    reason: str


@dataclass(frozen=True)
class TriedLine:
    """A practice pair and what a newcomer said; `same` side as the researchers, None where one of them says 5."""

    comparison_id: int
    title: str
    said: str
    verdict: str
    same: bool | None
    seconds: float | None
    retired: bool
    void: bool


@dataclass(frozen=True)
class NewcomerPage:
    """qualification/newcomer.html"""

    id: int
    name: str
    required: bool
    state: str
    words: str
    left: int
    decisions: list[DecisionLine]
    tried: list[TriedLine]
    reason: str
    errors: dict[str, str]


@dataclass(frozen=True)
class ComparedLine:
    """A comparison in a list. `agreeing` of `sided` answers are on the verdict's side.

    Without a verdict `kind` is empty and `disagreed` None: they are not told before it is given.
    """

    id: int
    title: str
    opening: str
    batch: str
    kind: str
    answers: int
    disagreed: bool | None
    verdict: str
    released: bool
    agreeing: int
    sided: int


@dataclass(frozen=True)
class VerdictsPage:
    """verdicts/verdicts.html"""

    comparisons: list[ComparedLine]
    batches: list[tuple[str, str]]
    batch: str
    kinds: list[tuple[str, str]]
    kind: str
    choices: list[tuple[str, str]]
    only: str
    filtered: bool
    newest: str | None
    older: str | None


@dataclass(frozen=True)
class SideText:
    """A summary beside another. `policy` is None until the reader may know it."""

    name: str
    text: str
    policy: str | None


@dataclass(frozen=True)
class GivenVerdict:
    """A verdict, in words."""

    words: str
    reason: str
    author: str
    at: datetime
    released: bool
    retired: bool


@dataclass(frozen=True)
class AnswerLine:
    """A labeler's answer beside a verdict."""

    name: str
    calibrates: bool
    words: str
    explanation: str | None
    same: bool | None


@dataclass(frozen=True)
class UseLine:
    """Where else a pair is used: `purpose` gold or qualification."""

    comparison_id: int
    purpose: str
    words: str
    retired: bool


@dataclass(frozen=True)
class VerdictPage:
    """verdicts/verdict.html. Before a verdict is given, nothing of where the texts are from and what others said."""

    id: int
    title: str
    community: str
    text: str
    sides: list[SideText]
    verdict: GivenVerdict | None
    kind: str
    batch: str
    standing: bool
    answers: list[AnswerLine]
    uses: list[UseLine]
    can_use: list[tuple[str, str]]
    changing: bool
    scale: list[tuple[str, str]]
    value: str
    reason: str
    longest: int
    errors: dict[str, str]


@dataclass(frozen=True)
class FlagLine:
    """A flag in a list."""

    id: int
    reason: str
    comment: str | None
    labeler: str
    title: str
    raised: datetime
    reply: str | None


@dataclass(frozen=True)
class FlagsPage:
    """flags/flags.html"""

    flags: list[FlagLine]
    closed: bool
    waiting: int
    older: str | None


@dataclass(frozen=True)
class FlagPage:
    """flags/flag.html: the texts in the order in which the labeler saw them. `slots`: where they can be voided."""

    flag: FlagLine
    closed_by: str | None
    closed_at: datetime | None
    document_title: str
    community: str
    text: str
    sides: list[SideText]
    comparison_id: int | None
    slots: str | None
    reply: str
    longest: int
    errors: dict[str, str]


@dataclass(frozen=True)
class PairLine:
    """A comparison in the list of its batch. `slots`: how many opinions are in each state, in words."""

    id: int
    title: str
    kind: str
    policies: str
    slots: list[tuple[str, str]]


@dataclass(frozen=True)
class ComparisonsPage:
    """comparisons/comparisons.html"""

    batch: int
    name: str
    comparisons: list[PairLine]
    words: str
    kind: str
    kinds: list[tuple[str, str]]
    state: str
    states: list[tuple[str, str]]
    filtered: bool
    newer: str | None
    older: str | None


@dataclass(frozen=True)
class OpinionLine:
    """One opinion on a comparison: a slot."""

    id: int
    number: int
    state: str
    words: str
    labeler: str | None
    addressed: str | None
    since: datetime | None


@dataclass(frozen=True)
class SaidLine:
    """One version of an answer. `counted`: the newest version of an answer that counts."""

    labeler: str
    researcher: bool
    opinion: int
    version: int
    counted: bool
    status: str
    value: str
    shown: str
    explanation: str | None
    time: str
    at: datetime


@dataclass(frozen=True)
class RemarkLine:
    """A note, a skip or a flag on a comparison."""

    labeler: str
    about: str
    text: str | None
    at: datetime
    href: str | None


@dataclass(frozen=True)
class ChangeForm:
    """What was typed to change opinions: which of the four forms, the opinion, and why."""

    action: str
    slot: str
    reason: str


@dataclass(frozen=True)
class ComparisonPage:
    """comparisons/comparison.html: what admins see of a comparison, and may change."""

    id: int
    title: str
    community: str
    document: int
    text: str
    sides: list[SideText]
    facts: list[tuple[str, str]]
    batch: int
    batch_name: str
    opinions: list[OpinionLine]
    answers: list[SaidLine]
    notes: list[RemarkLine]
    skips: list[RemarkLine]
    flags: list[RemarkLine]
    verdict: str | None
    standing: bool
    asks: str
    open: int
    voidable: list[tuple[str, str]]
    void: list[tuple[str, str]]
    form: ChangeForm
    longest: int
    errors: dict[str, str]


@dataclass(frozen=True)
class PlotBar:
    """A rectangle of a plot. `tone` is a class of quality.css, as in all parts of a plot."""

    x: float
    y: float
    width: float
    height: float
    tone: str


@dataclass(frozen=True)
class PlotLine:
    """A line of a plot through points, "x,y x,y"."""

    points: str
    tone: str


@dataclass(frozen=True)
class PlotDot:
    """A point of a plot."""

    x: float
    y: float
    tone: str


@dataclass(frozen=True)
class PlotLabel:
    """Words in a plot; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Plot:
    """A plot drawn on the server in a box of `width` by `height`, and its numbers. `said` is the plot in a sentence."""

    id: str
    title: str
    about: str
    said: str
    width: int
    height: int
    bars: list[PlotBar]
    lines: list[PlotLine]
    dots: list[PlotDot]
    labels: list[PlotLabel]
    legend: list[tuple[str, str]]
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    thinned: bool


@dataclass(frozen=True)
class MeasuredLine:
    """A round's policy: how often it is preferred to the references, as its reward model predicts and by people."""

    round: int
    policy: str
    kl: str
    predicted: Cell
    people: Cell


@dataclass(frozen=True)
class MonitorBox:
    """What there is to see of over-optimisation; `words` say how far the reward model follows people."""

    alarms: list[str]
    words: str
    plots: list[Plot]
    measured: list[MeasuredLine]
    agreement: list[ResultLine]


@dataclass(frozen=True)
class AlarmLine:
    """A sentinel alarm in words; `labeler` is None for the whole project."""

    labeler: int | None
    name: str
    words: str


@dataclass(frozen=True)
class AgreementLine:
    """Who is compared with whom. `missing` says what to do while nothing can be compared."""

    who: str
    about: str
    study: str
    pairings: str
    raw: Cell
    kappa: Cell
    nominal: Cell
    interval: Cell
    missing: str


@dataclass(frozen=True)
class PartLine:
    """Raw agreement on some of the comparisons."""

    name: str
    labelers: Cell
    researchers: Cell


@dataclass(frozen=True)
class LabelerRow:
    """A labeler in the tables of quality."""

    id: int
    name: str
    simulated: bool
    answers: str
    others: Cell
    mode: Cell
    researchers: Cell
    gold: Cell
    threshold: Cell
    skill: Cell
    drift: Cell
    alarm: bool
    seconds: Cell
    per_hour: str
    per_day: Cell
    first_shown: Cell
    bias: Cell
    middle: Cell
    extremes: Cell


@dataclass(frozen=True)
class QualityPage:
    """quality/quality.html"""

    answers: int
    simulated: bool
    alarms: list[AlarmLine]
    agreement: list[AgreementLine]
    forest: Plot | None
    kinds: list[PartLine]
    policies: list[PartLine]
    labelers: list[LabelerRow]
    drift: Plot | None
    drift_words: str


@dataclass(frozen=True)
class LabelerQualityPage:
    """quality/labeler.html"""

    row: LabelerRow
    counted_simulated: bool
    threshold_words: str
    skill_words: str
    drift_words: str
    alarms: list[str]
    plots: list[Plot]


@dataclass(frozen=True)
class ApartLine:
    """A released pair on which a labeler and the researchers differ, as the labeler saw it."""

    showing: str
    key: str
    title: str
    community: str
    text: str
    first: str
    second: str
    said: str
    explanation: str | None
    verdict: str
    reason: str
    released: datetime
    asked: bool


@dataclass(frozen=True)
class AskedLine:
    """What a labeler flagged, and the reply."""

    title: str
    words: str
    comment: str | None
    raised: datetime
    reply: str | None
    closed: bool


@dataclass(frozen=True)
class MePage:
    """me/me.html: a labeler's own work."""

    tiles: list[tuple[str, str, str]]
    plots: list[Plot]
    released: int
    differ: int
    apart: list[ApartLine]
    shown: str
    newer: str | None
    older: str | None
    asked: list[AskedLine]
    longest: int
