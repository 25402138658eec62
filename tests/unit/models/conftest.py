"""Small checkpoints in the real file layout: real classes made small, random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from modules.generation.plan import ModelRef
from modules.models.device import DevicePolicy
from modules.models.manager import ModelManager
from tests.support.checkpoints import write_random
from tests.support.tiny import tiny_layout, tiny_sd2_layout, tiny_sdxl_layout


@pytest.fixture(scope="session")
def tiny_sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("models") / "tiny.safetensors", tiny_layout(), seed=1)


@pytest.fixture(scope="session")
def tiny_sd2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("models") / "tiny2.safetensors", tiny_sd2_layout(), seed=2)


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("models") / "tinyxl.safetensors", tiny_sdxl_layout(), seed=3)


@pytest.fixture
def manager() -> ModelManager:
    return ModelManager(DevicePolicy(use_cpu=("all",), no_half=True))


@pytest.fixture
def edited(tmp_path: Path, tiny_sd1: Path) -> Callable[..., Path]:
    """A copy of the tiny checkpoint with tensors changed: `edited(lambda tensors: …, name="x.safetensors")`."""

    def edit(change: Callable[[dict], object], name: str = "edited.safetensors", metadata: dict | None = None) -> Path:
        tensors = load_file(tiny_sd1)
        change(tensors)
        save_file(tensors, tmp_path / name, metadata=metadata)
        return tmp_path / name

    return edit


def ref_to(path: Path) -> ModelRef:
    return ModelRef(path=str(path), title=path.name, name=path.stem)
