"""The Extras form's values → ExtrasRequest."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from modules.errors import WebuiError
from modules.generation.extras import FlipPart
from modules.images.data import ImageData
from modules.ui.tabs.extras import to_request


def stored(digest: str) -> ImageData:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), digest).save(content, "PNG")
    return ImageData(content.getvalue())


def test_values_become_a_request_with_the_stored_pictures_and_their_names():
    values = {
        "pictures": [{"sha256": "red", "name": "a.png"}, {"sha256": "blue"}],
        "upscale": {"upscaler": "Lanczos", "mode": "to", "width": 640, "height": 480, "crop": False},
        "is_batch": True,
    }
    request = to_request(values, stored)
    assert [(one.name, one.image.open().getpixel((0, 0))) for one in request.pictures] == [
        ("a.png", (255, 0, 0)),
        ("", (0, 0, 255)),
    ]
    assert (request.upscale.mode, request.upscale.width, request.upscale.crop) == ("to", 640, False)
    assert request.is_batch and request.save


def test_no_picture_and_impossible_values_are_refused():
    with pytest.raises(WebuiError, match="no picture yet"):
        to_request({"pictures": []}, stored)
    with pytest.raises(ValidationError, match="factor"):
        to_request({"pictures": [{"sha256": "red"}], "upscale": {"factor": 99}}, stored)


def test_what_is_switched_on_goes_into_the_request_and_the_rest_stays_off():
    values = {"pictures": [{"sha256": "red"}], "flips": {"vertical": True}, "split": None}
    request = to_request(values, stored)
    assert request.flips == FlipPart(vertical=True) and request.split is None and request.auto_size is None


def test_a_folder_becomes_its_picture_files_by_name(tmp_path):
    for name in ("b.png", "a.jpg", ".hidden.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    asked = []

    def folder(named: str, *, must_exist: bool = True):
        asked.append((named, must_exist))
        return tmp_path / named

    values = {"folder": {"input": "", "output": "out", "shows": False}}
    request = to_request(values, stored, folder)
    assert [Path(one.path).name for one in request.pictures] == ["a.jpg", "b.png"]
    assert request.is_batch and not request.shows and request.output_folder == str(tmp_path / "out")
    assert asked == [("", True), ("out", False)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(WebuiError, match='no picture in "empty"'):
        to_request({"folder": {"input": "empty"}}, stored, folder)
