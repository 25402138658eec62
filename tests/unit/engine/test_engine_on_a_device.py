"""Whole jobs on a stand-in for a device (tests/support/pretended_device.py): nothing is left behind on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modules.engine.engine import Engine
from modules.generation.events import Notice
from modules.images.data import ImageData
from modules.models.catalog import Catalog
from modules.models.device import DeviceChoice, DevicePolicy
from modules.models.manager import ModelManager
from tests.support.pretended_device import DEVICE, pretended_device
from tests.unit.engine.conftest import pictures


@pytest.fixture
def on_device(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Engine]]:
    """An engine with the device, in float32, with flags."""
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 2**34)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 0)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 0)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: None)
    choice = DeviceChoice(DEVICE, torch.float32, torch.float32, torch.float32)
    with pretended_device():
        yield lambda **flags: Engine(ModelManager(DevicePolicy(**flags), choice=choice), catalog=catalog)


def picture() -> ImageData:
    return ImageData.from_image(Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)))


def mask() -> ImageData:
    return ImageData.from_image(Image.fromarray(np.tile(np.arange(64) > 32, (64, 1)).astype(np.uint8) * 255))


HIRES: dict[str, Any] = {
    "hires": {"steps": 1, "upscaler": "Latent (bicubic antialiased)"},
    "sampling": {"sampler": "DPM++ 2M SDE", "schedule": "Karras", "steps": 2},
    "settings": {"s_min_uncond": 3.0},
    "seed": {"value": 1, "variation_strength": 0.2},
}
INPAINT: dict[str, Any] = {
    "model": {"checkpoint": "inpaint"},
    "source": {"images": [picture()], "inpaint": {"mask": mask(), "content": "latent noise"}},
    "scripts": {"Soft Inpainting": {"args": [True, 1, 0.5, 4, 0, 0.5, 2]}},
    "negative_prompt": "blurry " * 80,
}


@pytest.mark.parametrize("flags, wanted", [({}, HIRES), ({"medvram": True}, INPAINT), ({"lowvram": True}, {})])
def test_a_job_on_a_device_makes_the_picture_of_the_processor(
    on_device: Callable[..., Engine],
    planned: Callable,
    run: Callable,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, bool],
    wanted: dict[str, Any],
) -> None:
    plan = planned(**wanted)
    expected = pictures(run(plan))
    monkeypatch.setattr(DeviceChoice, "has_own_memory", bool(flags))  # then it stands for a card
    engine = on_device(**flags)
    made = pictures(run(plan, engine=engine))
    assert len(made) == len(expected) > 0
    for one, other in zip(made, expected, strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1  # of 255: attention goes in chunks here
    kept = engine.manager.report()[-1]
    assert (kept.device, kept.attention) == (str(DEVICE), "sub-quadratic")


def test_fp8_weights_are_not_for_apples_gpus_and_the_job_says_so(
    on_device: Callable[..., Engine], planned: Callable, run: Callable
) -> None:
    events = run(planned(settings={"fp8_storage": "Enable"}), engine=on_device())
    assert [event.message for event in events if isinstance(event, Notice)] == [
        "FP8 weights are asked for, which Apple's GPUs do not know: they stay float32"
    ]
    (made,) = pictures(events)
    assert "FP8" not in made.info["parameters"]


def test_a_forgotten_move_fails_on_the_stand_in_as_it_would_on_a_device(on_device: Callable[..., Engine]) -> None:
    there = torch.ones(2, device=DEVICE)
    assert torch.equal((there + torch.tensor(1.0)).cpu(), torch.tensor([2.0, 2.0]))  # single numbers may mix
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(2)
    with pytest.raises(TypeError, match="float64"):
        there.double()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
