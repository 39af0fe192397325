"""One dataclass per page: exactly what its template may use. A test renders every page from its context alone.

Knows values. Knows nothing of rows or requests; routers convert once.
"""

from dataclasses import dataclass, field
from datetime import datetime


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
    """labeling/compare.html: the shell; the pair itself is fetched by the page."""

    scale: list[tuple[int, str]]
    reasons: list[tuple[str, str]]


@dataclass(frozen=True)
class PersonLine:
    """An account in the list of people. `state` is active, invited, expired (no password, no link) or deactivated."""

    id: int
    name: str
    role: str
    simulated: bool
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
    """A batch in a list. `people` is empty when it is for everybody of its kind."""

    id: int
    name: str
    comparisons: int
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


@dataclass(frozen=True)
class BatchesPage:
    """batches/batches.html"""

    batches: list[BatchLine]
    recipes: list[tuple[str, str]]
    form: SampleForm
    errors: dict[str, str]
    samples: list[SampleLine]
    live: bool
    trainable: int


@dataclass(frozen=True)
class Candidate:
    """Somebody to whom a batch may be assigned."""

    id: int
    name: str
    hint: str | None
    chosen: bool


@dataclass(frozen=True)
class BatchPage:
    """batches/batch.html"""

    batch: BatchLine
    opinions: int
    made: datetime
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
class LaunchForm:
    """What was chosen, and what will happen. `blocked` says why nothing can be launched now."""

    recipes: list[RecipeOption]
    recipe: int | None
    with_simulated: bool
    happens: list[str]
    facts: list[tuple[str, str]]
    blocked: str | None
    problem: str | None = None


@dataclass(frozen=True)
class RoundsPage:
    """rounds/rounds.html"""

    rounds: list[RoundLine]
    launch: LaunchForm | None


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
class StageLine:
    """A stage of a round. `state` is a word of the style sheet, `state_words` what people read."""

    run: int
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
    """What three writers made of one document."""

    title: str
    reference: str
    before: str
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
    started: datetime
    ended: datetime | None
    seconds: float
    going_on: bool
    cursor: int
    can_cancel: bool
    can_finish: bool
    failures: list[Failure]
    stages: list[StageLine]
    results: list[ResultLine]
    samples: list[SampleSummaries]
    curves: list[RunCurves]
    conditions: list[Conditions]


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
class OverviewPage:
    """overview/overview.html. `steps` is empty when all of them are done."""

    tiles: list[tuple[str, str, str | None]]
    steps: list[Step]
    round: RoundLine | None
    policies: list[PolicyLine]
    failures: list[Failure]


@dataclass(frozen=True)
class PoliciesPage:
    """policies/policies.html"""

    policies: list[PolicyLine]
    writers: list[PolicyLine]
    can_change: bool


@dataclass(frozen=True)
class Ancestor:
    """One checkpoint on the way from the base model to a policy."""

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
    """policies/policy.html. `details` and `lineage` are empty for a policy that has no checkpoint."""

    policy: PolicyLine
    about: str
    details: list[tuple[str, str]]
    snapshot: list[tuple[str, str]]
    lineage: list[Ancestor]
    written: list[Written]
    can_change: bool
