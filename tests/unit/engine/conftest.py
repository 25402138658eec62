"""A real engine over a real checkpoint made small, and plans for it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import modules.sampling  # noqa: F401 - registers the samplers
from modules.engine.engine import Engine
from modules.generation.events import Event, ImageDone
from modules.generation.plan import ModelRef, Plan
from modules.generation.request import GenerationRequest
from modules.jobs.control import ControlBox
from modules.models.catalog import Catalog
from modules.models.device import DevicePolicy
from modules.models.faces import FaceFiles
from modules.models.manager import ModelManager
from modules.models.places import ModelFolders
from modules.planning.planner import plan
from modules.settings.schema import Settings
from tests.support.checkpoints import write_random
from tests.unit.models.conftest import tiny_layout

IN_FLOAT32 = DevicePolicy(use_cpu=("all",), precision="full", no_half=True)


@pytest.fixture(scope="package")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with "tiny", "other", a second one of the same kind, and "inpaint", which is told of its mask."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed, name in enumerate(("tiny", "other"), start=1):
        write_random(folder / f"{name}.safetensors", tiny_layout(), seed=seed)
    write_random(folder / "inpaint.safetensors", tiny_layout(in_channels=9), seed=3)
    return folder


@pytest.fixture(scope="package")
def catalog(checkpoints: Path) -> Catalog:
    return Catalog(ModelFolders(checkpoints=(checkpoints,)))


@pytest.fixture(scope="package")
def engine(catalog: Catalog) -> Iterator[Engine]:
    manager = ModelManager(IN_FLOAT32)
    yield Engine(manager, catalog=catalog)
    manager.unload()


@pytest.fixture
def planned(catalog: Catalog) -> Callable[..., Plan]:
    """`planned(settings={…}, **request fields)`: small and quick unless told otherwise."""

    def make(*, settings: dict[str, Any] | None = None, **fields: Any) -> Plan:
        fields = {
            "prompt": "a cat",
            "seed": {"value": 1},
            "size": {"width": 64, "height": 64},
            "model": {"checkpoint": "tiny"},
            "save": False,
        } | fields
        fields["sampling"] = {"sampler": "Euler a", "steps": 3} | fields.get("sampling", {})
        known = FaceFiles({"GFPGAN": Path("g.pth"), "CodeFormer": Path("c.pth")}, detector=Path("d.pth"))
        settings = Settings(**(settings or {}))
        return plan(GenerationRequest(**fields), catalog=catalog, settings=settings, faces=known)

    return make


@pytest.fixture
def run(engine: Engine) -> Callable[..., list[Event]]:
    """All events of a plan."""

    def generate(wanted: Plan, control: ControlBox | None = None, *, engine: Engine = engine) -> list[Event]:
        return list(engine.generate(wanted, control or ControlBox()))

    return generate


@pytest.fixture
def tiny(catalog: Catalog) -> ModelRef:
    return catalog.find_checkpoint("tiny")


def pictures(events: list[Event], role: str = "sample") -> list[Image.Image]:
    """The decoded pictures of a role, in order."""
    return [opened(event) for event in events if isinstance(event, ImageDone) and event.role == role]


def opened(event: ImageDone) -> Image.Image:
    return Image.open(io.BytesIO(event.image.content))
