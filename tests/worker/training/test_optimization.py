import pytest
import torch

from worker.training import optimization


def test_learning_rates_start_whole_and_fall() -> None:
    assert optimization.share("cosine", 0, 10) == 1
    assert optimization.share("cosine", 5, 10) == pytest.approx(0.5)
    assert optimization.share("linear", 3, 4) == pytest.approx(0.25)
    assert optimization.share("constant", 9, 10) == 1


def test_the_first_step_is_adam_without_decay() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    frozen = torch.nn.Parameter(torch.tensor([3.0]), requires_grad=False)
    optimizer = optimization.adam([weight, frozen], 0.1, 1e-5)
    optimization.set_learning_rate(optimizer, 0.01)
    weight.grad = torch.tensor([0.5, 0.0])
    optimizer.step()
    assert weight.tolist() == pytest.approx([1.0 - 0.01 * 0.5 / (0.5 + 1e-5), -2.0])
    assert frozen.item() == 3


def test_a_loss_that_is_no_number_stops_the_run_in_words() -> None:
    assert optimization.finite(torch.tensor(2.5), "step 3") == 2.5
    with pytest.raises(optimization.Diverged, match="step 3: the loss is nan"):
        optimization.finite(torch.tensor(float("nan")), "step 3")
