"""Low-rank adapters (LoRA, Hu et al. 2021) by peft: small weights that learn beside a model whose own are frozen.

Knows models, where their weights came from, and how an adapter is saved. Knows nothing of losses. A model with its
adapter switched off is what it was before, to the bit: so the policy is its own reference and the value network its own
reward model, without a second copy in memory.

Saved merged, a checkpoint is a plain one. Saved apart, it is a directory as peft writes it, with the weights it stands
on in `base` (hard links, where the file system has them), so that the directory needs nothing outside itself.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from app.domain.recipes import LoraTargets
from worker.training import checkpoints, seeding
from worker.training.errors import CannotTrain
from worker.training.quiet import quiet

BASE: Final = "base"
_ABOUT, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class CannotAdapt(CannotTrain, ValueError):
    """An adapter was asked for that this model cannot have."""


class Adapted:
    """A model with an adapter that learns. `model` is the one that was given, changed in place and used as before."""

    def __init__(
        self,
        model: Any,
        base_dir: Path,
        *,
        rank: int,
        alpha: int,
        targets: LoraTargets,
        seed: int,
        head: bool = False,
    ) -> None:
        """`base_dir` is where the model was loaded from. With a `head`, its scalar head learns too, whole.

        The adapter begins as nothing: one of its two factors is 0. Raises CannotAdapt.
        """
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            task_type="SEQ_CLS" if head else "CAUSAL_LM",
            r=rank,
            lora_alpha=alpha,
            target_modules="all-linear" if targets == "linear" else None,
        )
        with torch.random.fork_rng(devices=[]), _as_peft_is():
            torch.manual_seed(seeding.derive(seed, "adapter"))
            try:
                self._peft: Any = get_peft_model(model, config)
            except ValueError as trouble:
                raise CannotAdapt(f"no adapter fits {type(model).__name__}: {trouble}") from trouble
        held = self._peft.active_peft_config
        # Its weights are found in the same directory, wherever that is taken; layers in one order, for one digest.
        held.base_model_name_or_path, held.target_modules = BASE, sorted(held.target_modules)
        self.model, self._base_dir = model, base_dir

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it the model computes what it did without its adapter, and with its old head."""
        with self._peft.disable_adapter():
            yield

    def save(self, tokenizer: Any, out_dir: Path, *, merge: bool) -> Path:
        """Writes the model to `out_dir`, merged into plain weights or apart, and gives `out_dir` back.

        The last thing that is done with it: the adapter is no longer there afterwards.
        """
        if merge:
            return checkpoints.save(self._peft.merge_and_unload(), tokenizer, out_dir)
        with quiet(), checkpoints.written_aside(out_dir) as fresh:
            # Told what it would else ask the hub: embeddings do not learn.
            self._peft.save_pretrained(str(fresh), save_embedding_layers=False)
            # An empty form that names the place where the model was loaded from.
            (fresh / "README.md").unlink()
            self.model.config.save_pretrained(str(fresh))
            tokenizer.save_pretrained(str(fresh))
            if is_apart(self._base_dir):
                checkpoints.save(self._peft.unload(), tokenizer, fresh / BASE)
            else:
                checkpoints.linked(self._base_dir, fresh / BASE)
        return out_dir


class Unadapted:
    """A policy as it is with its adapter switched off, called as the model itself is."""

    def __init__(self, adapted: Adapted) -> None:
        self._adapted = adapted
        self.config, self.device = adapted.model.config, adapted.model.device

    def __call__(self, **inputs: Any) -> Any:
        with self._adapted.off():
            return self._adapted.model(**inputs)


def is_apart(model_dir: Path) -> bool:
    """Whether a directory holds an adapter beside the weights it stands on."""
    return (model_dir / _ABOUT).exists()


def base_of(model_dir: Path) -> Path:
    """Where the whole weights of a checkpoint lie: the directory itself, or what its adapter stands on."""
    return model_dir / BASE if is_apart(model_dir) else model_dir


def merged(model: Any, model_dir: Path) -> Any:
    """The model, loaded from `base_of(model_dir)`, with the adapter in `model_dir` merged in, if there is one."""
    if not is_apart(model_dir):
        return model
    if not (model_dir / _WEIGHTS).exists():
        raise CannotAdapt(f"{model_dir} has no {_WEIGHTS}; weights are read from safetensors only")
    from peft import PeftModel

    with quiet(), _as_peft_is():
        return PeftModel.from_pretrained(model, str(model_dir)).merge_and_unload()


@contextmanager
def _as_peft_is() -> Iterator[None]:
    """peft asks models by names that transformers has replaced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield
