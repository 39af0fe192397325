"""Why training cannot go on, in sentences that a failed run shows as they are, and what errors of others mean.

Knows no torch, so that a worker can tell these from bugs before it loads anything.
"""

import errno

SMALLER = {
    "sft": "sft.micro_batch",
    "sample": "sampling.batch",
    "reward": "reward.micro_batch",
    "ppo": "ppo.micro_batch (sampling.batch, if it was writing)",
    "evaluate": "evaluation.batch",
}
"""What to lower where a stage runs out of memory. A micro-batch changes memory only."""


class CannotTrain(Exception):
    """The message says what is wrong and what to change."""


class DiskFull(OSError):
    """There is not enough room; the message says how much is missing, where, and what to do."""


def out_of_memory(error: Exception) -> bool:
    """Whether memory was missing, of a GPU or of the machine."""
    # torch.OutOfMemoryError on a GPU; a CPU's allocator raises a plain RuntimeError.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "DefaultCPUAllocator" in str(error)


def out_of_disk(error: Exception) -> bool:
    """Whether a disk was full, by the system's word or by a library that wraps it."""
    return (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left on device" in str(error)
