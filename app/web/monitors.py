"""The over-optimisation monitor of a round, in words and plots.

Knows sentences and which figures stand together. The rules are in app.quality.overoptimisation.
"""

from collections.abc import Sequence
from dataclasses import asdict

from app.domain.intervals import Estimate
from app.services.monitor import Measured, Monitor, Rollout
from app.web import plots, telling
from app.web.contexts import MeasuredLine, MonitorBox, Plot
from app.web.plots import MOST_POINTS
from app.web.quality import percent, share


def box(found: Monitor) -> MonitorBox | None:
    """The monitor; None before there is anything to see."""
    compared = [each for each in found.measured if each.kl.value is not None]
    if not found.rollouts and not compared and not found.accuracy.n:
        return None
    drawn = [_rollouts(found.rollouts, found.limit)] if found.rollouts else []
    if compared:
        drawn.append(_rounds(compared))
    return MonitorBox(
        alarms=found.alarms,
        words=_words(found),
        plots=drawn,
        measured=[
            MeasuredLine(
                round=each.round_number,
                policy=each.policy,
                kl=telling.NONE if each.kl.value is None else f"{each.kl.value:.2f}",
                predicted=share(each.predicted),
                people=share(each.people),
            )
            for each in compared
        ],
        agreement=[
            telling.share(f"Agrees with labelers, {name}", "held-out pairs of these policies", asdict(held))
            for name, held in [("all pairs", found.accuracy), *found.by_policies]
            if held.n
        ],
    )


def _words(found: Monitor) -> str:
    accuracy = found.accuracy
    if accuracy.value is None:
        return "Nothing says yet how often the reward model agrees with labelers: that takes held-out pairs."
    said = (
        f"The reward model of this round agrees with labelers on {percent(accuracy.value)} of {accuracy.n:,} held-out "
        "pairs."
    )
    if accuracy.low is not None and accuracy.high is not None and accuracy.low <= 0.5 <= accuracy.high:
        return f"{said} So few pairs do not show that it follows people at all: the 95 % interval includes one half."
    return said


def _rollouts(rollouts: Sequence[Rollout], limit: float) -> Plot:
    every = -(-len(rollouts) // MOST_POINTS)
    kept = [each for place, each in enumerate(rollouts) if place % every == 0 or each is rollouts[-1]]
    held = [(each.kl, each.at_first_length) for each in kept if each.at_first_length is not None]
    last = rollouts[-1]
    return plots.against(
        "monitor-rollouts",
        "Score against KL",
        "Each rollout: what the reward model gives, and how far the policy is from the fine-tuned one, in nats.",
        f"The last of {len(rollouts)} rollouts has a score of {last.score:.2f} at a KL of {last.kl:.2f} nats.",
        [
            ("score", [(each.kl, each.score) for each in kept]),
            *([("at the length of the first rollout", [(kl, value or 0.0) for kl, value in held])] if held else []),
        ],
        ["Rollout", "KL", "Score", "At the first length"],
        [
            (
                str(each.step),
                [
                    f"{each.kl:.2f}",
                    f"{each.score:.2f}",
                    telling.NONE if each.at_first_length is None else f"{each.at_first_length:.2f}",
                ],
            )
            for each in kept
        ],
        limit=(limit, f"limit of the recipe, {limit:g} nats"),
        thinned=len(kept) < len(rollouts),
    )


def _rounds(measured: Sequence[Measured]) -> Plot:
    ordered = sorted(measured, key=lambda each: each.kl.value or 0.0)

    def line(figures: Sequence[Estimate]) -> list[tuple[float, float]]:
        return [
            (each.kl.value or 0.0, held.value)
            for each, held in zip(ordered, figures, strict=True)
            if held.value is not None
        ]

    predicted, people = line([each.predicted for each in ordered]), line([each.people for each in ordered])
    policies = "1 policy" if len(ordered) == 1 else f"{len(ordered)} policies"
    judged = f"{len(people)} judged by people" if people else "none judged by people yet"
    return plots.against(
        "monitor-rounds",
        "Preferred to the references, by policy",
        "What each round's reward model predicts and what people say, against KL in nats. Where the lines part, the "
        "policy pleases the model and not people.",
        f"{policies}, {judged}.",
        [("predicted", predicted), ("people, with 95 % interval", people)],
        ["Policy", "KL", "Predicted", "People", "n"],
        [
            (
                each.policy,
                [
                    f"{each.kl.value:.2f}",
                    *(
                        telling.NONE if held.value is None else percent(held.value)
                        for held in (each.predicted, each.people)
                    ),
                    f"{each.people.n:,}",
                ],
            )
            for each in ordered
        ],
        spans=[
            (each.kl.value or 0.0, each.people.low, each.people.high)
            for each in ordered
            if each.people.low is not None and each.people.high is not None
        ],
        share=True,
    )
