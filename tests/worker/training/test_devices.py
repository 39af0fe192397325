"""`auto` computes in bf16 where the device has instructions for it, and the run says which it was."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from tests.support import tiny_models
from tests.worker.training.conftest import SAMPLING
from worker.training import devices, generation, metrics


@pytest.fixture
def asked_anew() -> Iterator[None]:
    devices._has_bf16.cache_clear()
    yield
    devices._has_bf16.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(("able", "applied"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_the_processor_has_instructions_for(able: bool, applied: str, base_dir: Path) -> None:
    sink = metrics.ListSink()
    with (
        patch("platform.machine", return_value="x86_64"),
        patch.object(torch.cpu, "_is_avx512_bf16_supported", return_value=able),
    ):
        assert devices.applied("auto", devices.CPU) == applied
        generation.sample(base_dir, [tiny_models.query(1)], SAMPLING, [1], sink, precision="auto")
    assert sink.conditions["precision"] == applied


def test_what_is_asked_by_name_is_computed_in_whatever_the_device_has() -> None:
    assert [devices.applied(each, devices.CPU) for each in ("fp32", "bf16")] == ["fp32", "bf16"]
