"""When each step of a TRL trainer ended, and who used the cores from the first to the last. Knows no trainer."""

import os
import time
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback

from benchmarks.machine import Shares, shares


class Clock(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """A callback that is given to the trainer. The first step warms up and is not counted."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.marks: list[float] = []
        self.used = Shares()
        self._held = ExitStack()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Starts the meter after the first step and stops it after the last."""
        self.marks.append(time.perf_counter())
        if len(self.marks) == 1:
            self.used = self._held.enter_context(shares({"own": [os.getpid()]}))
        if len(self.marks) == self.last:
            self._held.close()

    @property
    def seconds(self) -> float:
        """From the end of the first step to the end of the last."""
        return self.marks[-1] - self.marks[0]
