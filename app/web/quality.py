"""How labelers and researchers agree, for those who look after them; as pages, or as JSON for who asks for that.

Knows routes, words and how a figure is written. Knows nothing of how it is computed (app.services.quality).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from app.domain.intervals import Estimate
from app.domain.preferences import HIGHEST, LOWEST
from app.domain.preferences import WORDS as SCALE
from app.domain.words import LabelerKind
from app.quality import drift
from app.quality.agreement import Agreement
from app.quality.drift import Alarm
from app.quality.labelers import LEAST_ANSWERS, WANTED, Day, Step
from app.quality.skill import LEAST_SHARED
from app.services import quality
from app.services.quality import LabelerDetail, LabelerLine, Overall, Part, Watched
from app.web import plots
from app.web.contexts import (
    AgreementLine,
    AlarmLine,
    Cell,
    LabelerQualityPage,
    LabelerRow,
    PartLine,
    Plot,
    QualityPage,
)
from app.web.door import STAFF, DoorDep, Id
from app.web.errors import for_programs
from app.web.rendering import page

router = APIRouter()

NONE = "–"
DAYS_SHOWN = 30
# An alarm stands on top for so long; after that the plot still has it.
NEWS = timedelta(days=30)
# What the study found (P 3.3 and App. C.2), as context and not as a target: its texts and its people were others.
STUDY = {"labelers": (0.72, "72 %"), "researcher": (0.77, "77 % ± 2"), "researchers": (0.73, "73 % ± 4")}
STUDY_MODE = (0.77, "77 %")

Simulated = Annotated[bool, Query()]


def _kinds(simulated: bool) -> tuple[LabelerKind, ...]:
    return (LabelerKind.HUMAN, LabelerKind.SIMULATED) if simulated else (LabelerKind.HUMAN,)


@router.get("/quality")
def quality_page(door: DoorDep, simulated: Simulated = False) -> Response:
    """Agreement in all, by kind and by policies, and every labeler."""
    with door.enter(*STAFF) as desk:
        found = quality.overall(desk.session, _kinds(simulated))
    if for_programs(door.request):
        return JSONResponse(jsonable_encoder(found))
    return page(door.request, "quality/quality.html", _overall(found, simulated, datetime.now(UTC)))


@router.get("/quality/labelers/{labeler_id}")
def labeler_page(door: DoorDep, labeler_id: Id, simulated: Simulated = False) -> Response:
    """One labeler."""
    with door.enter(*STAFF) as desk:
        found = quality.of_labeler(desk.session, labeler_id, _kinds(simulated))
    if for_programs(door.request):
        return JSONResponse(jsonable_encoder(found))
    return page(door.request, "quality/labeler.html", _detail(found, simulated, datetime.now(UTC)))


# Figures


def percent(value: float, digits: int = 0) -> str:
    """A share as people write it."""
    return f"{value * 100:.{digits}f} %"


def share(found: Estimate, *, signed: bool = False) -> Cell:
    """A share, its interval and n; `signed` ones are differences of shares, in points."""
    if found.value is None:
        return Cell(NONE, f"n {found.n:,}")
    if signed:
        return Cell(f"{found.value * 100:+.0f}", _detail_of(found, lambda value: f"{value * 100:+.0f}"))
    return Cell(percent(found.value), _detail_of(found, lambda value: f"{value * 100:.0f}"))


def coefficient(found: Estimate) -> Cell:
    """A kappa or an alpha."""
    if found.value is None:
        return Cell(NONE, f"n {found.n:,}")
    return Cell(f"{found.value:.2f}", _detail_of(found, lambda value: f"{value:.2f}"))


def _detail_of(found: Estimate, write: Callable[[float], str]) -> str:
    if found.low is None or found.high is None:
        return f"n {found.n:,}"
    return f"{write(found.low)} to {write(found.high)}, n {found.n:,}"


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f} s"


def _row(line: LabelerLine, now: datetime) -> LabelerRow:
    pace, scale = line.pace, line.scale
    return LabelerRow(
        id=line.id,
        name=line.name,
        simulated=line.simulated,
        answers=f"{line.answers:,}",
        others=share(line.others),
        mode=share(line.mode),
        researchers=share(line.researchers),
        gold=share(line.gold),
        threshold=_threshold(line),
        skill=share(line.skill.skill),
        drift=_drift(line.watched),
        alarm=bool(_news(line.watched, now)),
        seconds=Cell(_seconds(pace.seconds), f"n {pace.answers:,}"),
        per_hour=NONE if pace.per_hour is None else f"{pace.per_hour:.0f}",
        per_day=Cell(NONE, "") if pace.per_day is None else Cell(f"{pace.per_day:.0f}", _many(pace.days, "day")),
        first_shown=share(scale.first_shown),
        bias=share(line.skill.bias, signed=True),
        middle=share(scale.middle),
        extremes=share(scale.extremes),
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _threshold(line: LabelerLine) -> Cell:
    step, compared = line.threshold, line.researchers.n + line.gold.n
    if step is None or step.agreement.value is None:
        return Cell("never" if compared >= LEAST_ANSWERS else NONE, f"n {compared:,}")
    return Cell(f"{step.confidence} from 5", f"{percent(step.agreement.value)}, n {step.agreement.n:,}")


def _drift(watched: Watched | None) -> Cell:
    if watched is None:
        return Cell(NONE, "")
    if not watched.drift.alarms:
        return Cell("steady", f"n {watched.since.n:,}")
    last = watched.drift.alarms[-1]
    return Cell("rose" if last.risen else "fell", f"{watched.at[last.at]:%Y-%m-%d}, n {watched.since.n:,}")


def _news(watched: Watched | None, now: datetime) -> list[Alarm]:
    """Alarms that are no older than NEWS, the newest first."""
    if watched is None:
        return []
    return [alarm for alarm in reversed(watched.drift.alarms) if watched.at[alarm.at] >= now - NEWS]


def drift_alarms(watched: Watched | None, now: datetime) -> list[str]:
    """Each alarm of late in a sentence, the newest first."""
    if watched is None or watched.reference.value is None:
        return []
    return [
        f"The share of sentinel pairs on which the baseline is preferred {'rose' if alarm.risen else 'fell'}: noticed "
        f"on {watched.at[alarm.at]:%Y-%m-%d} at sentinel answer {alarm.at + 1:,} of {len(watched.at):,}, against a "
        f"reference of {percent(watched.reference.value)}."
        for alarm in _news(watched, now)
    ]


# All of them


def _overall(found: Overall, simulated: bool, now: datetime) -> QualityPage:
    lines = _agreement(found)
    return QualityPage(
        answers=found.answers,
        simulated=simulated,
        alarms=[
            *(AlarmLine(None, "All labelers", words) for words in drift_alarms(found.watched, now)),
            *(
                AlarmLine(line.id, line.name, words)
                for line in found.labelers
                for words in drift_alarms(line.watched, now)[:1]
            ),
        ],
        agreement=lines,
        forest=_forest(found),
        kinds=[_part(part) for part in found.kinds],
        policies=[_part(part) for part in found.policies],
        labelers=[_row(line, now) for line in found.labelers],
        drift=_drift_plot(found.watched),
        drift_words=_drift_words(found.watched, found.sentinels),
    )


def _part(part: Part) -> PartLine:
    return PartLine(part.name, share(part.labelers), share(part.researchers))


def _line(who: str, about: str, study: str, found: Agreement, missing: str) -> AgreementLine:
    return AgreementLine(
        who=who,
        about=about,
        study=study,
        pairings=f"{found.pairings:,}",
        raw=share(found.raw),
        kappa=coefficient(found.kappa),
        nominal=coefficient(found.nominal),
        interval=coefficient(found.interval),
        missing="" if found.raw.n else missing,
    )


def _mode_line(who: str, about: str, study: str, found: Estimate, missing: str) -> AgreementLine:
    nothing = Cell(NONE, "")
    return AgreementLine(who, about, study, NONE, share(found), nothing, nothing, nothing, "" if found.n else missing)


def _agreement(found: Overall) -> list[AgreementLine]:
    return [
        _line(
            "Labelers with each other",
            "every two of them on the same pair",
            STUDY["labelers"][1],
            found.among_labelers,
            "Give a batch a shared pool, so that several labelers judge the same pair.",
        ),
        _line(
            "Labelers with researchers",
            "on ordinary batches",
            STUDY["researcher"][1],
            found.with_researchers,
            "Give a batch a share for researchers and judge it with their accounts, or give verdicts.",
        ),
        _line(
            "Researchers with each other",
            "every two of their judging accounts on the same pair",
            STUDY["researchers"][1],
            found.among_researchers,
            "Two researchers must judge the same pair.",
        ),
        _mode_line(
            "A labeler with the mode of others",
            "of three or more others who prefer a side",
            NONE,
            found.mode,
            "Give a shared pool four opinions or more: nobody is part of the mode they are held against.",
        ),
        _mode_line(
            "A researcher with the mode of labelers",
            "of three or more labelers who prefer a side",
            STUDY_MODE[1],
            found.researcher_mode,
            "Researchers must judge some pairs of a shared pool.",
        ),
        _line(
            "Labelers on gold pairs",
            "with the verdict; gold pairs are chosen for being clear",
            NONE,
            found.gold,
            "Make pairs with a clear verdict gold, and give a batch a gold share.",
        ),
    ]


def _forest(found: Overall) -> Plot | None:
    rows = [
        (name, figure, beside)
        for name, figure, beside in (
            ("Labelers", found.among_labelers.raw, STUDY["labelers"][0]),
            ("With researchers", found.with_researchers.raw, STUDY["researcher"][0]),
            ("Researchers", found.among_researchers.raw, STUDY["researchers"][0]),
            ("With the mode", found.mode, None),
            ("Researcher, mode", found.researcher_mode, STUDY_MODE[0]),
            ("Gold", found.gold.raw, None),
        )
        if figure.value is not None
    ]
    if not rows:
        return None
    said = "; ".join(f"{name} {percent(figure.value or 0)}" for name, figure, _ in rows)
    return plots.forest(
        "agreement-plot",
        "Agreement beside the study",
        "Raw agreement on the preferred side; chance is 50 %.",
        f"{said}.",
        [(name, figure.value or 0.0, figure.low, figure.high, beside) for name, figure, beside in rows],
        ["Who", "Raw agreement", "95 % interval", "n", "The study"],
        [
            [
                percent(figure.value or 0, 1),
                NONE
                if figure.low is None or figure.high is None
                else f"{figure.low * 100:.1f} to {figure.high * 100:.1f}",
                f"{figure.n:,}",
                NONE if beside is None else percent(beside),
            ]
            for _, figure, beside in rows
        ],
    )


def _drift_words(watched: Watched | None, sentinels: int) -> str:
    if watched is None or watched.reference.value is None:
        return (
            "Sentinel pairs set a fixed baseline against the human reference, to see whether anybody's judgement "
            f"moves. The first {drift.REFERENCE} answers on them that prefer a side set the reference share; there are "
            f"{sentinels:,} so far. Choose a baseline and a share of sentinel pairs for new batches."
        )
    since = NONE if watched.since.value is None else percent(watched.since.value)
    return (
        f"On the first {watched.reference.n} sentinel answers the baseline was preferred in "
        f"{percent(watched.reference.value)}; since then in {since} of {watched.since.n:,}. An alarm is given where a "
        f"sum passes {drift.LIMIT:g}; both sums then start again. By simulation there is at most one false alarm in "
        "1,000 answers, and a change of 25 points is noticed within 60 answers at least four times in five; one of "
        "10 points takes about 150."
    )


def _drift_plot(watched: Watched | None) -> Plot | None:
    if watched is None or not watched.at:
        return None
    alarms = watched.drift.alarms
    said = "No alarm." if not alarms else f"Alarms at answers {', '.join(f'{alarm.at + 1:,}' for alarm in alarms)}."
    return plots.lines(
        "drift",
        "Sentinel drift",
        "Evidence that the baseline is preferred more often, or less often, than in the reference.",
        said,
        [("more often", watched.drift.rising), ("less often", watched.drift.falling)],
        [f"{index + 1} · {moment:%Y-%m-%d}" for index, moment in enumerate(watched.at)],
        ["Sentinel answer", "More often", "Less often"],
        limit=(drift.LIMIT, "alarm"),
    )


# One of them


def _detail(found: LabelerDetail, simulated: bool, now: datetime) -> LabelerQualityPage:
    line = found.line
    drawn = [_scale_plot(line), _steps_plot(found.steps), *pace_plots(found.days), _drift_plot(line.watched)]
    return LabelerQualityPage(
        row=_row(line, now),
        counted_simulated=simulated,
        threshold_words=_threshold_words(line.threshold),
        skill_words=_skill_words(line),
        drift_words=_own_drift_words(line.watched),
        alarms=drift_alarms(line.watched, now),
        plots=[plot for plot in drawn if plot is not None],
    )


def _threshold_words(step: Step | None) -> str:
    if step is None or step.agreement.value is None:
        return (
            f"At no confidence do answers agree with researchers {percent(WANTED)} of the time, or there are fewer "
            f"than {LEAST_ANSWERS} answers to tell from."
        )
    return (
        f"Answers at least {_many(step.confidence, 'point')} away from 5 agree with researchers "
        f"{percent(step.agreement.value)} of the time (n {step.agreement.n:,})."
    )


def _skill_words(line: LabelerLine) -> str:
    found = line.skill.skill
    if found.value is None:
        return (
            f"Skill needs {LEAST_SHARED} answers on pairs that others judged too; there are {found.n:,}. "
            "Give a batch a shared pool."
        )
    return (
        f"By the fit, the summaries decide {percent(found.value)} of the answers. Compare it between labelers only: "
        "its scale is that of this project's pairs."
    )


def _own_drift_words(watched: Watched | None) -> str:
    if watched is None or watched.reference.value is None:
        return "There are not enough sentinel answers in the project yet to set a reference."
    if watched.since.value is None:
        return "No sentinel answers yet since the reference was set."
    return (
        f"The baseline is preferred in {percent(watched.since.value)} of {watched.since.n:,} sentinel answers, against "
        f"a reference of {percent(watched.reference.value)}."
    )


def _scale_plot(line: LabelerLine) -> Plot:
    counts, total = line.scale.counts, max(1, line.answers)
    most = max(range(len(counts)), key=lambda place: counts[place]) + LOWEST
    return plots.bars(
        "scale",
        "Use of the scale",
        "As displayed: 1 is much better for the summary shown first.",
        f"Most often {most}; {counts[4]:,} of {line.answers:,} answers are 5.",
        [float(count) for count in counts],
        [str(value) for value in range(LOWEST, HIGHEST + 1)],
        ["Value", "Meaning", "Answers", "Share"],
        [[SCALE[value], f"{count:,}", percent(count / total, 1)] for value, count in enumerate(counts, LOWEST)],
    )


def _steps_plot(steps: Sequence[Step]) -> Plot | None:
    if not any(step.agreement.n for step in steps):
        return None
    said = "; ".join(
        f"{step.confidence} or more from 5: {percent(step.agreement.value)}"
        for step in steps
        if step.agreement.value is not None
    )
    return plots.bars(
        "confidence",
        "Agreement with researchers by confidence",
        "Answers at least so many points away from 5; gold pairs are in it.",
        f"{said}.",
        [step.agreement.value or 0.0 for step in steps],
        [str(step.confidence) for step in steps],
        ["From", "Agreement", "n"],
        [[share(step.agreement).value, share(step.agreement).detail] for step in steps],
        top=1.0,
        rule=(WANTED, percent(WANTED)),
        percent=True,
    )


def pace_plots(days: Sequence[Day]) -> list[Plot]:
    """Answers and median seconds by day, for the last DAYS_SHOWN days with any."""
    shown = days[-DAYS_SHOWN:]
    if not shown:
        return []
    names = [f"{each.day:%m-%d}" for each in shown]
    span = f"{shown[0].day:%Y-%m-%d} to {shown[-1].day:%Y-%m-%d}, days with answers only, by UTC."
    answers, seconds = [float(each.answers) for each in shown], [each.seconds for each in shown]
    return [
        plots.bars(
            "days",
            "Answers per day",
            span,
            f"{sum(each.answers for each in shown):,} answers on {_many(len(shown), 'day')}.",
            answers,
            names,
            ["Day", "Answers"],
            [[f"{each.answers:,}"] for each in shown],
        ),
        plots.lines(
            "seconds",
            "Seconds per pair",
            f"Median of active time by day, {span}",
            f"From {seconds[0]:.0f} to {seconds[-1]:.0f} seconds.",
            [("seconds", seconds)],
            [f"{each.day:%Y-%m-%d}" for each in shown],
            ["Day", "Seconds"],
        ),
    ]
