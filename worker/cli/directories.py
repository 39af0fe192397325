"""The model directories that a call names: what they hold, and the form that training starts from."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from worker.cli.calls import Call
from worker.cli.refusal import Wrong
from worker.cli.terminal import say
from worker.training.errors import out_of_disk

TINY, SMOLLM2 = "tiny", "smollm2-135m"


def _config(option: str, given: str) -> dict[str, Any]:
    """The config.json of a model directory. Raises Wrong when it is none that can be read here."""
    place = Path(given)
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as trouble:
        raise Wrong(
            f"--{option} {given} is not a model directory: it has no config.json that can be read."
        ) from trouble
    if not any(place.glob("*.safetensors")):
        raise Wrong(f"--{option} {given} has no weights in safetensors, the only form that is read.")
    if not any(place.glob("tokenizer*.json")):
        raise Wrong(f"--{option} {given} has no tokenizer.")
    if not isinstance(config, dict):
        raise Wrong(f"--{option} {given} is not a model directory: its config.json is no object.")
    return config


def _is_scalar(config: Mapping[str, Any]) -> bool:
    return "hone_prompt" in config or any(
        str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or []
    )


def policy(option: str, given: str) -> Path:
    """A directory that holds a causal language model. Raises Wrong."""
    if _is_scalar(_config(option, given)):
        raise Wrong(f"--{option} {given} is a reward or value model; a policy is needed here.")
    return Path(given)


def reward_model(given: str) -> Path:
    """A directory that the stage `reward` wrote. Raises Wrong."""
    if "hone_prompt" not in _config("reward", given):
        raise Wrong(f"--reward {given} is not a reward model that `reward` has written.")
    return Path(given)


def prepared(call: Call, texts: Callable[[], list[str]]) -> Path:
    """The model to start from, in the form that training needs: fp32, with padding that is not the end token.

    A directory that has it is taken as it is; everything else is prepared once, in `base` under --out.
    """
    from worker.training import models

    given, place = call.options.model, call.out / "base"
    if Path(given).is_dir():
        config = _config("model", given)
        pad = config.get("pad_token_id")
        if pad is not None and pad != config.get("eos_token_id"):
            return Path(given)
    if place.exists():
        return place
    say(f"preparing {given}, once")
    if given == TINY:
        return models.build_tiny(place, texts(), seed=1)
    if given == SMOLLM2:
        return models.convert_smollm2(place)
    try:
        return models.prepare_base(given, place)
    except (OSError, ValueError) as trouble:
        if out_of_disk(trouble):
            raise
        raise Wrong(f"--model {given} cannot be loaded: {str(trouble).splitlines()[0]}") from trouble
