"""One call from its arguments to its exit status: read everything, do what is left, say in words what went wrong."""

import argparse
import json
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from app.domain.prompts import TLDR, PromptTemplate, PromptTooLong
from worker.cli import files, place
from worker.cli.arguments import STAGES, parser
from worker.cli.calls import Call
from worker.cli.refusal import Wrong
from worker.cli.saving import write_whole
from worker.cli.terminal import FileSink, say, stoppable
from worker.training.errors import SMALLER, CannotTrain, DiskFull, out_of_disk, out_of_memory
from worker.training.metrics import Cancelled, Sink

REFUSED = 2
STOPPED = 130
"""What a shell says of a command that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; gives its exit status: 0 done, 2 refused in words, 130 stopped by Ctrl-C."""
    options = parser().parse_args(arguments)
    try:
        _run(options)
    except Wrong as wrong:
        say(str(wrong))
        return REFUSED
    except Cancelled as stop:
        left = "" if stop.left is None else f" The model as it is now is in {stop.left}."
        say(f"Stopped.{left} Call the same command again to go on where it stands.")
        return STOPPED
    except KeyboardInterrupt:
        say("Stopped before anything was begun.")
        return STOPPED
    except (CannotTrain, PromptTooLong, SafetensorError, OSError, MemoryError, RuntimeError) as error:
        words = _in_words(error, options)
        if words is None:
            raise
        say(words)
        return REFUSED
    return 0


def _run(options: argparse.Namespace) -> None:
    """Read everything, then do the work that is left. Raises Wrong, Cancelled, or what training raises."""
    recipe = files.recipe(options.recipe)
    call = Call(options, recipe, PromptTemplate(files.template(options.template, TLDR.text)), Path(options.out))
    work = STAGES[options.stage][1](call)
    if place.begin(call.out, told := place.identity(options, recipe)):
        with stoppable() as stopping:
            sink = FileSink(call.out / place.METRICS, stopping)
            try:
                _note_conditions(sink)
                result = work(sink)
                sink.flush()
            finally:
                sink.close()
        write_whole(call.out / place.RESULT, json.dumps({"result": result, "asked": told}, indent=1, default=str))
    else:
        say("this was finished before; nothing was done again")
    shutil.rmtree(call.states, ignore_errors=True)
    say(f"done: {call.out / place.RESULT}")


def _note_conditions(sink: Sink) -> None:
    import torch
    import transformers

    from worker.training import devices

    device = devices.best()
    sink.note("python", platform.python_version())
    sink.note("machine", platform.machine())
    sink.note("torch", torch.__version__)
    sink.note("transformers", transformers.__version__)
    sink.note("device", torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu")


def _in_words(error: Exception, options: argparse.Namespace) -> str | None:
    """What happened and what to do, of an error that a person can act on."""
    if out_of_memory(error):
        return (
            f"Out of memory. What was reached is kept in {options.out}: lower {SMALLER[options.stage]} in the recipe "
            "and call again. If that is not enough, lower sampling.max_query_tokens and give another --out."
        )
    if isinstance(error, DiskFull):
        return str(error)
    if out_of_disk(error):
        return f"The disk is full. What was reached is kept in {options.out}: make room and call again."
    if isinstance(error, PromptTooLong):
        return f"{_sentence(error)} Raise sampling.max_query_tokens in the recipe, or leave the document out."
    if isinstance(error, CannotTrain):
        return _sentence(error)
    if isinstance(error, SafetensorError):
        return f"The weights of a model cannot be read: {error}."
    if isinstance(error, OSError):
        return f"{str(error).splitlines()[0]}." if str(error) else None
    return None


def _sentence(error: Exception) -> str:
    words = str(error)
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
