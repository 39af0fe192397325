"""The first page of those who look after the install: figures, what to do next, what went wrong.

Knows routes and words. Knows nothing of how anything is counted (app.services.overview).
"""

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from app.domain.words import LabelerKind, Role, RoundState
from app.services import continuous, monitor, overview, policies, promotions, quality, rounds, workers
from app.services.overview import Overview, Steps
from app.services.rounds import RoundView
from app.web import continuous as keeping_on
from app.web import telling
from app.web.contexts import AtWorkLine, Concern, OverviewPage, Step
from app.web.door import STAFF, Desk, DoorDep
from app.web.policies import line
from app.web.quality import drift_alarms
from app.web.rendering import page

router = APIRouter()

POLICIES_SHOWN = 5


def _steps(steps: Steps, admin: bool) -> list[Step]:
    if steps.all_done:
        return []

    def step(title: str, about: str, href: str, action: str, done: bool, *, admins: bool = True) -> Step:
        return Step(title, about, href if admin or not admins else None, action, done)

    return [
        step(
            "Import documents",
            "Texts to summarize, with reference summaries for the fine-tuning.",
            "/documents",
            "Go to Documents",
            steps.documents,
            admins=False,
        ),
        step(
            "Invite a labeler",
            "Judging needs a labeler's account, because accounts that see policies are never given pairs. "
            "To judge yourself, invite a second account and open its link in a private window.",
            "/people",
            "Go to People",
            steps.labeler,
        ),
        step(
            "Sample pairs",
            "A model writes summaries, put up in pairs. Launching a round does it too.",
            "/batches",
            "Go to Batches",
            steps.pairs,
        ),
        step(
            "Judge a pair",
            "Signed in as a labeler, in another browser or a private window.",
            "/people",
            "See who may judge",
            steps.judged,
        ),
        step(
            "Launch a round",
            "It learns from what was judged and makes the next policy.",
            "/rounds#launch",
            "Go to Rounds",
            steps.launched,
        ),
    ]


def _concerns(desk: Desk, told: Overview, newest: RoundView | None, now: datetime) -> list[Concern]:
    """What somebody should look at, the most pressing first."""
    admin, found = desk.viewer.role is Role.ADMIN, []
    if newest is not None and newest.state is RoundState.ACTIVE:
        where = f"/rounds/{newest.number}#monitor"
        alarms = monitor.look(desk.session, newest).alarms
        found += [Concern(f"Round {newest.number}", words, where, "See the monitor") for words in alarms]
    found += [
        Concern(f"{each.policy} waits for a decision", each.reason, f"/policies/{each.policy_id}", "Look at it")
        for each in promotions.waiting(desk.session)
    ]
    for labeler_id, name, watched in quality.drifting(desk.session):
        where = "/quality" if labeler_id is None else f"/quality/labelers/{labeler_id}"
        found += [Concern(f"Drift: {name}", words, where, "See Quality") for words in drift_alarms(watched, now)[:1]]
    if told.runs_dry:
        words = (
            f"People gave {told.last_day:,} answers in the last 24 hours, and {told.open_slots:,} slots are open: at "
            "this pace the queue is empty within a day."
        )
        where, action = ("/batches", "Sample pairs") if admin else ("/rounds", "See the rounds")
        found.append(Concern("The queue runs dry", words, where, action))
    return found


def _tiles(told: Overview, newest: RoundView | None) -> list[tuple[str, str, str | None]]:
    documents = sum(told.documents.values())
    if newest is None:
        round_tile = ("Round in progress", "none", "none was launched yet")
    elif newest.state is RoundState.ACTIVE:
        at = telling.in_progress(newest)
        round_tile = ("Round in progress", str(newest.number), telling.titles(newest)[at.id] if at else "")
    else:
        round_tile = ("Round in progress", "none", f"round {newest.number} is {telling.round_state(newest)[1]}")
    return [
        ("Documents", f"{documents:,}", ", ".join(f"{count:,} {split}" for split, count in told.documents.items())),
        (
            "Answers today",
            f"{told.answers_today:,}",
            f"and {told.simulated_today:,} by simulated labelers" if told.simulated_today else "since midnight UTC",
        ),
        ("Pace", f"{told.last_hour:,} an hour", f"{told.last_day:,} in the last 24 hours, by people"),
        ("Open slots", f"{told.open_slots:,}", "opinions still needed"),
        ("Current policy", told.current_policy or "none", "writes the next pairs" if told.current_policy else None),
        round_tile,
    ]


@router.get("/overview")
def overview_page(door: DoorDep) -> Response:
    """How the install stands."""
    with door.enter(*STAFF) as desk:
        told = overview.overview(desk.session)
        newest = next(iter(rounds.views(desk.session)), None)
        going_on = newest is not None and newest.state is RoundState.ACTIVE
        now = datetime.now(UTC)
        context = OverviewPage(
            concerns=_concerns(desk, told, newest, now),
            at_work=[
                AtWorkLine(each.name, each.kind is LabelerKind.SIMULATED, f"{each.today:,}", each.last, each.holding)
                for each in told.at_work
            ],
            missing=[telling.missing(each, now) for each in workers.missing(desk.session)],
            tiles=_tiles(told, newest),
            continuous=keeping_on.line(continuous.view(desk.session)),
            steps=_steps(told.steps, desk.viewer.role is Role.ADMIN),
            round=telling.round_line(newest, now) if newest is not None and going_on else None,
            policies=[line(view) for view in policies.policies(desk.session) if view.can_write][:POLICIES_SHOWN],
            failures=[telling.failure(failed) for failed in told.failures],
        )
    return page(door.request, "overview/overview.html", context)
