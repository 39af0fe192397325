"""How likely a policy finds given summaries: the reading behind losses by document and the log-probability baseline.

Knows policies and texts. Writes nothing and learns nothing.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from app.domain.prompts import TLDR
from app.domain.recipes import Precision, SamplingRecipe
from worker.training import devices, logprobs, metrics, models, tokens
from worker.training.batches import micro_batches
from worker.training.examples import Query

BATCH = 8


@torch.inference_mode()
def per_token(
    policy_dir: Path,
    rows: Sequence[tuple[Query, str]],
    sampling: SamplingRecipe,
    sink: metrics.Sink,
    *,
    precision: Precision,
    max_summary_tokens: int,
) -> list[tuple[float, int]]:
    """Summed log-probability in nats of each text with its end token, and its tokens, in the order given.

    Texts of one document share one reading of it, where the model can.
    """
    device = devices.best()
    codec, model = tokens.load(policy_dir), models.load_policy(policy_dir, device)
    prompts = [codec.prompt(query, TLDR, sampling.max_query_tokens).tokens for query, _ in rows]
    texts = [codec.summary(text, max_summary_tokens) for _, text in rows]
    found = [0.0] * len(rows)
    read = 0
    with devices.autocast(device, precision):
        for indices, batch in micro_batches(prompts, texts, BATCH, codec.pad, device, reach=logprobs.reach(model)):
            sums = logprobs.of_summaries(model, batch, 1.0).sum(1).tolist()
            for index, total in zip(indices, sums, strict=True):
                found[index] = total
            read += len(indices)
            sink.progress(read, len(rows), f"read {read} of {len(rows)} summaries")
    return [(total, len(text)) for total, text in zip(found, texts, strict=True)]
