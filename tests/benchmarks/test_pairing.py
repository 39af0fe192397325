"""The simulation behind the figure of labels saved: its labeler, its reward model and how it counts."""

import pytest
import torch

from benchmarks.pairing import BATCH, SELF_AGREEMENT, fit, labels_for, sharpness


def test_the_labeler_agrees_with_itself_as_often_as_people_do() -> None:
    apart = torch.randn(2000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chance = (apart * sharpness(apart)).sigmoid()
    generator = torch.Generator().manual_seed(2)
    once, again = (torch.rand(2000, 100, generator=generator) < chance.unsqueeze(1) for _ in range(2))
    assert float((once == again).double().mean()) == pytest.approx(SELF_AGREEMENT, abs=0.005)


def test_a_fitted_head_is_where_answers_and_prior_balance() -> None:
    difference = torch.randn(60, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    preferred = (difference[:, 0] > 0).double()
    head = fit(difference, preferred)
    pull = difference.T @ (preferred - (difference @ head).sigmoid())
    assert torch.allclose(pull, 4 * head, atol=1e-6)
    assert head[0] > 2 * head[1:].abs().max()


def test_labels_are_counted_between_batches_and_dips_do_not_count() -> None:
    curve = [0.6, 0.7, 0.65, 0.8]
    assert labels_for(0.6, curve) == BATCH and labels_for(0.5, curve) == BATCH
    assert labels_for(0.65, curve) == pytest.approx(1.5 * BATCH)
    assert labels_for(0.75, curve) == pytest.approx(3.5 * BATCH)
    with pytest.raises(ValueError, match="not reached"):
        labels_for(0.9, curve)
