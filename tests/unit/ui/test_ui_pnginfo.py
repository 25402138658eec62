"""What the PNG Info tab is told about a picture."""

from __future__ import annotations

import base64
import io

from PIL import Image, PngImagePlugin

from modules.ui.tabs.pnginfo import read_info

TEXT = "a cat\nNegative prompt: blurry\nSteps: 5, Sampler: Euler, Size: 64x96, Hires resize: 128x192, Model: tiny"


def read(**texts: str) -> dict:
    notes = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        notes.add_text(key, text)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 96)).save(buffer, "PNG", pnginfo=notes)
    return read_info({"data": base64.b64encode(buffer.getvalue()).decode()})


def test_values_stand_as_they_are_written_sizes_too():
    assert read(parameters=TEXT)["parameters"] == {
        "Steps": "5", "Sampler": "Euler", "Size": "64x96", "Hires resize": "128x192", "Model": "tiny",
    }  # fmt: skip


def test_a_text_without_values_is_a_prompt_alone():
    found = read(parameters="a cat, Size: 64x96", note="something else")
    assert (found["prompt"], found["parameters"]) == ("a cat, Size: 64x96", {})
    assert found["items"] == {"note": "something else"}


def test_what_is_no_picture_is_said_in_words():
    assert "error" in read_info({"data": base64.b64encode(b"no picture").decode()})
    assert "error" in read_info({"data": "§"})
