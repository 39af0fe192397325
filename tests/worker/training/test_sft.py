from pathlib import Path
from typing import Any

import pytest
import torch

from app.domain.prompts import TLDR
from app.domain.recipes import SftRecipe
from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING
from worker.training import metrics, models, sft
from worker.training.batches import collate
from worker.training.devices import CPU
from worker.training.tokens import Codec

EXAMPLES = [tiny_models.demonstration(seed) for seed in range(10)]


def run(base_dir: Path, out_dir: Path, recipe: SftRecipe, sink: metrics.Sink, seed: int = 1) -> sft.SftResult:
    return sft.train(
        base_dir,
        EXAMPLES,
        EXAMPLES[:2],
        recipe,
        sampling=SAMPLING,
        precision="fp32",
        seed=seed,
        out_dir=out_dir,
        sink=sink,
    )


def weights(directory: Path) -> list[torch.Tensor]:
    return [each.detach() for each in models.load_policy(directory, CPU).parameters()]


def test_the_loss_falls_on_documents_never_seen(sft_run: sft.SftResult) -> None:
    assert sft_run.validation_loss_before is not None and sft_run.validation_loss is not None
    assert sft_run.validation_loss < sft_run.validation_loss_before - 0.5
    assert sft_run.documents == 48 and sft_run.steps == 24


@torch.inference_mode()
def test_the_loss_counts_summary_tokens_with_their_end(policy: Any, codec: Codec) -> None:
    prompt = codec.prompt(EXAMPLES[0].query, TLDR, 64).tokens
    summary = codec.summary(EXAMPLES[0].summary_text, 12)
    table = policy(input_ids=torch.tensor([[*prompt, *summary]])).logits[0].log_softmax(-1)
    expected = -sum(table[len(prompt) - 1 + place, token].item() for place, token in enumerate(summary))
    batch = collate([prompt], [summary], codec.pad, CPU)
    assert sft.negative_logprob(policy, batch, "summary").item() == pytest.approx(expected, abs=1e-3)
    whole = [*prompt, *summary]
    everything = -sum(table[place - 1, whole[place]].item() for place in range(1, len(whole)))
    assert sft.negative_logprob(policy, batch, "all").item() == pytest.approx(everything, abs=1e-2)


def test_micro_batches_change_memory_only(base_dir: Path, tmp_path: Path) -> None:
    whole = run(base_dir, tmp_path / "a", SftRecipe(batch=4, micro_batch=4, learning_rate=1e-3), metrics.NullSink())
    parts = run(base_dir, tmp_path / "b", SftRecipe(batch=4, micro_batch=1, learning_rate=1e-3), metrics.NullSink())
    assert whole.steps == parts.steps == 3, "ten documents in batches of four, the last one incomplete"
    assert whole.training_loss == pytest.approx(parts.training_loss, rel=1e-4)
    for one, other in zip(weights(whole.directory), weights(parts.directory), strict=True):
        assert torch.allclose(one, other, atol=2e-4)


def test_the_same_seed_gives_the_same_weights(base_dir: Path, tmp_path: Path) -> None:
    recipe = SftRecipe(documents=8, batch=4, micro_batch=2, learning_rate=1e-3, loss_on="all")
    sink = metrics.ListSink()
    first = run(base_dir, tmp_path / "a", recipe, sink)
    again = run(base_dir, tmp_path / "b", recipe, metrics.NullSink())
    other = run(base_dir, tmp_path / "c", recipe, metrics.NullSink(), seed=2)
    assert first.documents == 8
    assert all(torch.equal(a, b) for a, b in zip(weights(first.directory), weights(again.directory), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(first.directory), weights(other.directory), strict=True))
    assert sink.series(metrics.SFT_LEARNING_RATE) == pytest.approx([1e-3, 0.5e-3])
    assert len(sink.series(metrics.SFT_LOSS)) == 2 and sink.steps[-1][:2] == (2, 2)


def test_a_cancelled_run_leaves_nothing_behind(base_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(metrics.Cancelled):
        run(base_dir, tmp_path / "a", SftRecipe(batch=4, micro_batch=2), metrics.ListSink(cancel_at=4))
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_learn_from_is_said(base_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no document with a reference summary"):
        sft.train(
            base_dir,
            [],
            [],
            SftRecipe(),
            sampling=SAMPLING,
            precision="fp32",
            seed=1,
            out_dir=tmp_path,
            sink=metrics.NullSink(),
        )
