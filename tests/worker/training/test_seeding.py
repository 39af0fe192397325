import torch

from worker.training import seeding


def test_seeds_are_fixed_for_ever_and_differ_by_purpose() -> None:
    assert seeding.derive(1, "sft", 0) == 7605287233556428314
    assert (
        len({seeding.derive(1, "a", 1), seeding.derive(1, "a", 2), seeding.derive(2, "a", 1), seeding.derive(1, "a1")})
        == 4
    )
    assert all(0 <= seeding.derive(seed, "x") < 2**63 for seed in range(50))


def test_global_randomness_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    seeding.shuffled(10, 3, "x")
    assert torch.equal(before, torch.random.get_rng_state())
    assert sorted(seeding.shuffled(10, 3, "x")) == list(range(10))
    assert seeding.shuffled(10, 3, "x") == seeding.shuffled(10, 3, "x") != seeding.shuffled(10, 3, "y")
