"""Our reward loss and gradients beside those of TRL's RewardTrainer on the same batch, in fp32.

By hand, in the environment of requirements-trl-1.16.txt:

    ORACLE/bin/python -m benchmarks.peers.reward_oracle [--data FILE] [--model DIR]

Ours reads both summaries behind one reading of their document; TRL's reads two padded sequences. One JSON line for each
batch: relative errors of the loss and of the gradients (of all of them as one vector, and of the worst single weight
matrix), at most 1e-4 or it exits with 1.
"""

import argparse
import copy
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch
from datasets import Dataset
from torch import Tensor
from trl import RewardConfig, RewardTrainer

from app.domain.prompts import TLDR
from benchmarks import training
from worker.training import models, reward, tokens
from worker.training.devices import CPU
from worker.training.reward_loss import pairwise_loss

ALLOWED = 1e-4
PAIRS = 4


def theirs(model: Any, tokenizer: Any, rows: list[reward.Example]) -> Tensor:
    """TRL's loss of the batch: its own collator and its own loss."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            model=model,
            args=RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=len(rows),
                bf16=False,
                use_cpu=True,
                max_length=None,
                gradient_checkpointing=False,
                report_to="none",
            ),
            train_dataset=Dataset.from_dict(
                {
                    "chosen_ids": [[*row.prompt, *row.preferred] for row in rows],
                    "rejected_ids": [[*row.prompt, *row.other] for row in rows],
                }
            ),
            processing_class=tokenizer,
        )
        batch = trainer.data_collator([trainer.train_dataset[index] for index in range(len(rows))])
        loss: Tensor = trainer.compute_loss(model, batch)
    return loss


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    """By name, of all weights."""
    names, weights = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def main() -> None:
    """Compare a few batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="6m", help="6m, or the directory of a causal LM")
    parser.add_argument("--data", type=Path, help="comparisons in OpenAI's format; without it texts are made up")
    parser.add_argument("--batches", type=int, default=3)
    asked = parser.parse_args()
    pairs = training.pairs(asked.data, PAIRS * asked.batches)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        place = training.model(asked.model, [pair.query.post for pair in pairs], Path(folder))
        model, codec = models.new_reward(place, 1, CPU), tokens.load(place)
        scorer = reward.Scorer(model, tokens.Reader(codec, TLDR, 512, 128), CPU, "fp32")
        assert model.reach, (
            "this model cannot share a document, and the comparison would not show that sharing is exact"
        )
        for start in range(0, len(pairs), PAIRS):
            rows = [
                reward.Example(
                    scorer.prompt(each.query), scorer.summary(each.preferred_text), scorer.summary(each.other_text)
                )
                for each in pairs[start : start + PAIRS]
            ]
            loss = pairwise_loss(*scorer.pairs(rows)).mean()
            twin = copy.deepcopy(model.stock)
            peer = theirs(twin, codec.tokenizer, rows)
            own, other = gradients(model.stock, loss), gradients(twin, peer)
            loss, peer = loss.detach(), peer.detach()
            errors = {
                "loss": float((loss - peer).abs() / peer.abs()),
                "gradients": float(_norm([own[name] - other[name] for name in own]) / _norm(list(other.values()))),
                "worst_matrix": max(float((own[name] - other[name]).norm() / other[name].norm()) for name in own),
            }
            worst = max(worst, *errors.values())
            print(json.dumps({"pairs": len(rows), "loss": float(loss), "peer_loss": float(peer), "relative": errors}))
    if worst > ALLOWED:
        raise SystemExit(f"the largest relative error is {worst:.2g}: allowed is {ALLOWED:g}")


def _norm(parts: list[Tensor]) -> Tensor:
    norm: Tensor = torch.stack([part.norm() for part in parts]).norm()
    return norm


if __name__ == "__main__":
    main()
