"""Too little memory on a GPU: the micro-batch is halved, and the same gradients are computed again.

Knows sizes, and when to try again. The mathematics stays: every loss is a mean over all real tokens (or pairs) of an
update, added up over micro-batches, however many there are.
"""

from collections.abc import Callable
from typing import TypeVar

import torch

from worker.training import processes
from worker.training.metrics import Sink

T = TypeVar("T")


class MicroBatch:
    """How many rows go through a model at once: as asked, or fewer since they did not fit."""

    def __init__(self, size: int, sink: Sink) -> None:
        self.size, self._asked, self._sink = size, size, sink

    def facts(self) -> list[int]:
        """The size that was asked and the one in force, as JSON."""
        return [self._asked, self.size]

    def resume(self, facts: list[int]) -> None:
        """What fitted before is in force again, unless another size is asked since."""
        asked, size = facts
        if asked == self._asked:
            self._shrink(size)

    def fitted(self, optimizer: torch.optim.Optimizer, gradients: Callable[[int], T]) -> T:
        """What `gradients` gives for a micro-batch that fits; it must only add to gradients, and is called anew.

        Raises torch.OutOfMemoryError when not even one row fits, and at once where several processes learn together:
        the others are in the middle of an update that this one cannot finish.
        """
        while True:
            try:
                return gradients(self.size)
            except torch.OutOfMemoryError:
                if self.size == 1 or processes.count() > 1:
                    raise
            # Here the error is gone, and with it the frames that held the activations.
            optimizer.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._shrink(self.size // 2)

    def _shrink(self, size: int) -> None:
        if size < self.size:
            self.size = size
            self._sink.note("micro_batch", f"{size}, because more did not fit into memory")
