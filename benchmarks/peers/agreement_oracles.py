"""The statistics of app.quality beside those of krippendorff, scikit-learn, SciPy and Crowd-Kit, on the same answers.

They stand in an environment of their own: krippendorff is GPL, and Crowd-Kit brings transformers and pandas along.

    python3.11 -m venv ORACLES
    ORACLES/bin/pip install krippendorff==0.9.0 crowd-kit==1.4.2 scipy==1.17.1 scikit-learn==1.9.1
    ORACLES/bin/python -m benchmarks.peers.agreement_oracles

One JSON line for each comparison: the largest difference found, or, for the noisy Bradley-Terry fits, how far each is
from what was planted.
"""

import json
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
from crowdkit.aggregation import MajorityVote, NoisyBradleyTerry
from crowdkit.metrics.data import alpha_krippendorff
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from app.domain import intervals
from app.quality import agreement, resampling, skill
from app.quality.resampling import Counts, Figure
from benchmarks.planted import Planted, planted


def _say(case: str, **figures: Any) -> None:
    print(json.dumps({"case": case, **figures}))


def _value(figure: Figure) -> float:
    return float(figure.of(figure.parts.sum(axis=0)))


def _answers(rng: np.random.Generator, comparisons: int, people: int) -> Counts:
    """People by comparisons on the 9-point scale, 0 where somebody did not answer; people agree somewhat."""
    true = rng.normal(5, 2.5, comparisons)
    said = np.clip(np.rint(true + rng.normal(0, 2, (people, comparisons))), 1, 9).astype(np.int64)
    return np.where(rng.random((people, comparisons)) < 0.4, 0, said)


def _tally(said: Counts) -> Counts:
    person, item = np.nonzero(said)
    return agreement.tally(item, said[person, item], said.shape[1])


def alphas(rng: np.random.Generator) -> None:
    """Krippendorff's alpha, nominal and interval, with missing answers."""
    nominal, interval, other = [], [], []
    for _ in range(200):
        said = _answers(rng, int(rng.integers(5, 60)), int(rng.integers(2, 7)))
        rows = _tally(said)
        data = np.where(said == 0, np.nan, said)
        theirs = {
            level: krippendorff.alpha(reliability_data=data, level_of_measurement=level)
            for level in ("nominal", "interval")
        }
        nominal.append(abs(_value(agreement.alpha_nominal(rows)) - theirs["nominal"]))
        interval.append(abs(_value(agreement.alpha_interval(rows, agreement.VALUES)) - theirs["interval"]))
        person, item = np.nonzero(said)
        table = pd.DataFrame({"task": item, "worker": person, "label": said[person, item]})
        other.append(abs(_value(agreement.alpha_nominal(rows)) - alpha_krippendorff(table)))
    _say("alpha nominal", peer="krippendorff", largest_difference=max(nominal), data_sets=200)
    _say("alpha interval", peer="krippendorff", largest_difference=max(interval), data_sets=200)
    _say("alpha nominal", peer="crowd-kit", largest_difference=max(other), data_sets=200)


def kappas(rng: np.random.Generator) -> None:
    """Cohen's kappa of two people on the preferred side."""
    differences = []
    for _ in range(200):
        said = _answers(rng, int(rng.integers(8, 200)), 2)
        both = ((said != 0) & (said != 5)).all(axis=0)
        first, second = (said[row, both] for row in (0, 1))
        theirs = cohen_kappa_score(first > 5, second > 5, labels=[False, True])
        if np.isnan(theirs):
            continue
        items = np.arange(both.sum())
        tables = agreement.crossed(
            *(agreement.sides(agreement.tally(items, one, len(items))) for one in (first, second))
        )
        differences.append(abs(_value(agreement.cohen(tables)) - theirs))
    _say("cohen", peer="scikit-learn", largest_difference=max(differences), data_sets=len(differences))


def modes(rng: np.random.Generator) -> None:
    """The mode of three or more answers."""
    said = _answers(rng, 500, 7)
    rows = agreement.sides(_tally(said))
    ours = agreement.mode(rows)
    person, item = np.nonzero((said != 0) & (said != 5))
    table = pd.DataFrame({"task": item, "worker": person, "label": (said[person, item] > 5).astype(int)})
    theirs = MajorityVote().fit_predict(table)
    decided = np.flatnonzero(ours.sum(axis=1))
    different = sum(int(theirs[index]) != int(ours[index].argmax()) for index in decided)
    _say("mode", peer="crowd-kit", different=different, comparisons=len(decided))


def interval_ends(rng: np.random.Generator) -> None:
    """Wilson's interval, and the percentile bootstrap of raw agreement over comparisons."""
    wilson = max(
        abs(ours - theirs)
        for n in range(1, 200)
        for ours, theirs in zip(
            (intervals.rate(n // 3, n).low, intervals.rate(n // 3, n).high),
            stats.binomtest(n // 3, n).proportion_ci(method="wilson"),
            strict=True,
        )
        if ours is not None
    )
    _say("wilson", peer="scipy", largest_difference=wilson)
    said = _answers(rng, 400, 5)
    rows = _tally(said)
    figure = agreement.raw(agreement.sides(rows))
    theirs = stats.bootstrap(
        (figure.parts[:, 0], figure.parts[:, 1]),
        lambda same, all_, axis: same.sum(axis=axis) / all_.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=rng,
    ).confidence_interval
    counts, weights = resampling.patterns(rows)
    [ours] = resampling.estimates([agreement.raw(agreement.sides(counts))], weights, rng, resamples=20_000)
    assert ours.low is not None and ours.high is not None
    _say(
        "bootstrap of raw agreement",
        peer="scipy",
        largest_difference=max(abs(ours.low - theirs.low), abs(ours.high - theirs.high)),
        width=ours.high - ours.low,
    )


def _crowd_kit(answers: Planted) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Skill and bias as Crowd-Kit fits them: its bias is a share of the answers that skill leaves, ours of all."""
    left = np.where(answers.swapped, 2 * answers.items + 1, 2 * answers.items)
    right = np.where(answers.swapped, 2 * answers.items, 2 * answers.items + 1)
    table = pd.DataFrame(
        {
            "worker": answers.labelers,
            "left": left,
            "right": right,
            "label": np.where(answers.first_shown, left, right),
        }
    )
    model = NoisyBradleyTerry(n_iter=300, random_state=0).fit(table)
    skills = model.skills_.sort_index().to_numpy()
    return skills, (1 - skills) * (2 * model.biases_.sort_index().to_numpy() - 1)


def bradley_terry() -> None:
    """Both fits on planted skill and bias: 20 labelers, 300 answers each."""
    for opinions in (2, 5, 10):
        for spread in (2.2, 3.0):
            errors: dict[str, list[float]] = {"skill": [], "bias": [], "peer_skill": [], "peer_bias": []}
            for seed in range(5):
                answers = planted(np.random.default_rng(seed), opinions=opinions, spread=spread)
                fit = skill.fit(answers.items, answers.labelers, answers.swapped, answers.first_shown, 20)
                ours = np.array([(one.skill.value, one.bias.value) for one in fit.labelers], dtype=np.float64)
                theirs = _crowd_kit(answers)
                for name, found, true in (
                    ("skill", ours[:, 0], answers.skill),
                    ("bias", ours[:, 1], answers.bias),
                    ("peer_skill", theirs[0], answers.skill),
                    ("peer_bias", theirs[1], answers.bias),
                ):
                    errors[name].append(float(np.abs(found - true).mean()))
            means = {name: round(float(np.mean(found)), 3) for name, found in errors.items()}
            _say("noisy Bradley-Terry", peer="crowd-kit", opinions=opinions, spread=spread, mean_absolute_error=means)


def main() -> None:
    """Every comparison."""
    rng = np.random.default_rng(2020)
    alphas(rng)
    kappas(rng)
    modes(rng)
    interval_ends(rng)
    bradley_terry()


if __name__ == "__main__":
    main()
