"""What the Models and Extensions tabs are told, and what they may change."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from modules.errors import UnknownName, WorkerDied
from modules.extensions.loader import Extensions
from modules.models.catalog import Catalog
from modules.models.places import ModelFolders
from modules.ui.installation import Installation
from tests.support import layouts


class Settings:
    """A store of the one setting that is changed here."""

    def __init__(self) -> None:
        self.current = SimpleNamespace(disabled_extensions=("gone_folder",))

    def set_many(self, values: dict) -> None:
        self.current = SimpleNamespace(**values)


@pytest.fixture
def app(tmp_path: Path) -> SimpleNamespace:
    for name, text in {
        "good": '"""Does good.\n\nMore."""\nfrom modules.extensions.api import Script\n\n\n'
        'class Good(Script):\n    name = "Good one"\n\n\ndef register(to):\n    to.script(Good())\n',
        "bad": "raise ImportError('no <b>widgets</b>')\n",
    }.items():
        (tmp_path / "extensions" / name).mkdir(parents=True)
        (tmp_path / "extensions" / name / "extension.py").write_text(text)
    return SimpleNamespace(
        catalog=Catalog(ModelFolders.below(tmp_path / "models", tmp_path / "embeddings")),
        extensions=Extensions((tmp_path / "extensions",)),
        settings=Settings(),
        supervisor=SimpleNamespace(report={"state": "ready"}, call=lambda name, timeout: None),
        checkpoint=SimpleNamespace(load=lambda: None),
        data_dir=tmp_path,
    )


def write_header(path: Path, layout: dict, **metadata: str) -> Path:
    """A safetensors file of a layout whose weights are a hole in the file: true sizes, no bytes on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header: dict = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for key, shape in layout.items():
        length = 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    return path


def test_checkpoints_are_listed_from_memory_and_tell_their_architecture_when_asked(app, tmp_path):
    folder = tmp_path / "models" / "Stable-diffusion"
    write_header(folder / "real.safetensors", layouts.sd1(), **{"modelspec.title": "A <b>bold</b> title"})
    write_header(folder / "other.safetensors", {"nonsense": (4, 4)})
    installation = Installation(app)
    assert installation.checkpoints() == []
    installation.look_again()
    assert [one["name"] for one in installation.checkpoints()] == ["other.safetensors", "real.safetensors"]
    told = installation.architectures(["real.safetensors", "other.safetensors", "gone.safetensors"])
    assert told["real.safetensors"] == "Stable Diffusion 1"
    assert told["other.safetensors"].startswith("not usable: ")
    assert "gone.safetensors" not in told
    details = installation.details("real.safetensors")
    assert (details["precision"], details["native_size"]) == ("F16", 512)
    assert details["metadata"] == {"modelspec.title": "A <b>bold</b> title"}
    with pytest.raises(UnknownName):
        installation.details("gone.safetensors")


def test_a_busy_or_dead_worker_is_told_in_words(app):
    installation = Installation(app)
    assert installation.unload() is None

    def busy(name: str, timeout: float) -> None:
        raise TimeoutError

    def dead() -> None:
        raise WorkerDied("the worker is being restarted")

    app.supervisor.call, app.checkpoint.load = busy, dead
    assert "busy" in installation.unload()
    assert installation.load() == "the worker is being restarted"


def test_extensions_say_what_they_bring_and_what_went_wrong(app):
    bad, good = Installation(app).extensions()
    assert (good["name"], good["about"], good["scripts"], good["is_active"]) == (
        "good",
        "Does good.",
        ["Good one"],
        True,
    )
    assert not bad["is_active"] and bad["problem"] == "ImportError: no <b>widgets</b>"


def test_switching_keeps_the_names_of_folders_that_are_not_there_now(app):
    installation = Installation(app)
    installation.switch_extensions(["good", "never heard of"])
    assert app.settings.current.disabled_extensions == ["gone_folder", "good"]
    assert [one["is_wanted"] for one in installation.extensions()] == [True, False]
