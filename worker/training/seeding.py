"""Randomness that can be made again: one seed per purpose, derived from one seed per run.

Knows no global random state and never touches it: every draw comes from a generator made here.
"""

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2**63) for one purpose: equal arguments give equal seeds everywhere, others unrelated ones."""
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose. CPU draws do not depend on the device the model runs on."""
    made = torch.Generator(device="cpu")
    made.manual_seed(derive(seed, *purpose) if purpose else seed)
    return made


def shuffled(count: int, seed: int, *purpose: str | int) -> list[int]:
    """The numbers 0 to count - 1 in an order that depends on seed and purpose alone."""
    order: list[int] = torch.randperm(count, generator=generator(seed, *purpose)).tolist()
    return order
