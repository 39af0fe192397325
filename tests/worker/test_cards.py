"""What a model card says of loading a checkpoint works, word by word, on what training writes."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain.prompts import TLDR
from app.domain.words import CheckpointKind, Stage
from app.services.policies import Card, CheckpointView
from app.web import cards
from tests.support import tiny_models
from worker.training import checkpoints, models, tokens
from worker.training.devices import CPU


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Path]:
    """The directory in which a reader of the card stands."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def card(kind: CheckpointKind, path: str) -> Card:
    """The card of a checkpoint at this path."""
    made = CheckpointView(1, kind, "0" * 64, 1, path, {}, "", {}, None, datetime(2026, 1, 1, tzinfo=UTC))
    return Card(made, None, None, None, None, {}, {}, {}, TLDR.text)


def run(code: str) -> str:
    """What the program prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "card", "exec"), {})
    return printed.getvalue().strip()


def test_a_policy_is_loaded_as_its_card_says(beside: Path) -> None:
    tiny_models.build(beside / "policy")
    run(cards.loading(card(CheckpointKind.POLICY, "policy")))


def test_a_reward_model_is_loaded_as_its_card_says(beside: Path) -> None:
    base = tiny_models.build(beside / "base")
    made, codec = models.new_reward(base, 1, CPU), tokens.load(base)
    scores = []
    for name, offset in (("raw", 0.0), ("shifted", 2.5)):
        made.set_offset(offset)
        checkpoints.save(made.stock, codec.tokenizer, beside / name)
        scores.append(float(run(cards.loading(card(CheckpointKind.REWARD, name)))))
    assert scores[0] - scores[1] == pytest.approx(2.5, abs=1e-4)


def test_an_adapter_beside_its_weights_is_told(beside: Path) -> None:
    apart = replace(card(CheckpointKind.POLICY, "policy"), stage=Stage.PPO)
    held = replace(apart.checkpoint, recipe={"ppo": {"lora_rank": 4, "lora_merge": False}})
    assert "peft" in cards.markdown(replace(apart, checkpoint=held))
    merged = replace(held, recipe={"ppo": {"lora_rank": 4, "lora_merge": True}})
    for other in (apart.checkpoint, merged):
        assert "peft" not in cards.markdown(replace(apart, checkpoint=other))
