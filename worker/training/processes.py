"""Several processes that train one model together, one per GPU, as each of them sees it.

Knows how rows are dealt out and how numbers come together. A process that was not started with others is alone: it
takes all rows, and nothing here costs anything. What asks the others (`summed`, `told`, `gathered`) must be called by
all processes at the same place, or they wait for each other for ever.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")


def begin() -> None:
    """Joins the processes that torchrun has started beside this one; each takes the GPU of its number, if any."""
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")


def count() -> int:
    """Processes at work on this training, 1 for one alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this is the process that writes files."""
    return rank() == 0


def at_once(size: int, rows: int) -> int:
    """Of so many rows, those that go through a model at once: `size`, or fewer if else a process would have none."""
    return max(1, min(size, -(-rows // count())))


def dealt(groups: Iterable[T]) -> Iterator[tuple[T, float]]:
    """Those of the groups that are this process's, one after the other, and the weight of what it finds there: 1.

    A process that has none left gets one that is not its own, with the weight 0: the parts of a model come together
    only if all processes go through it equally often.
    """
    left = iter(groups)
    while row := list(itertools.islice(left, count())):
        yield (row[rank()], 1.0) if rank() < len(row) else (row[0], 0.0)


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, which changes `values` in place where there are several."""
    if count() > 1:
        dist.all_reduce(values)
    return values


def told(value: T) -> T:
    """What the first process has to say, here and in all others; theirs is not looked at."""
    if count() == 1:
        return value
    said = [value]
    dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
    return said[0]


def gathered(value: T) -> list[T]:
    """What each process has, by rank."""
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, value)
    return found
