"""Upscale as a part of generation: what it makes of a finished picture, and what the infotext says."""

from __future__ import annotations

from types import SimpleNamespace

from PIL import Image

from modules.extensions.dispatch import arguments
from tests.unit.extensions.recipes import EXTENSIONS, script


def run(given: dict) -> tuple[Image.Image, dict[str, str]]:
    asked: list[tuple[str, float]] = []

    def upscale(image: Image.Image, name: str, factor: float) -> Image.Image:
        asked.append((name, factor))
        return image.resize((round(image.width * factor), round(image.height * factor)))

    one = script("Upscale")
    context = SimpleNamespace(facts={}, upscale=upscale)
    stage = one.stage(None, arguments(one, given))
    return stage.on_composed(Image.new("RGB", (64, 32)), context), context.facts


def test_pictures_grow_by_the_factor_and_say_so():
    image, facts = run({"enabled": True, "upscaler": "Lanczos", "factor": 2.0})
    assert image.size == (128, 64)
    assert facts == {"Postprocess upscale by": "2", "Postprocess upscaler": "Lanczos"}


def test_pictures_fill_a_size_and_lose_what_stands_over():
    image, facts = run({"enabled": True, "upscaler": "Lanczos", "mode": "Scale to", "width": 96, "height": 96})
    assert image.size == (96, 96) and facts["Postprocess crop to"] == "96x96"


def test_it_is_a_part_of_the_program_that_does_nothing_until_it_is_switched_on():
    one = script("Upscale")
    assert one.stage(None, arguments(one, {})) is None
    assert next(found for found in EXTENSIONS.all if found.name == "upscale").is_builtin


def test_faces_of_finished_pictures_are_restored_as_visible_as_asked_and_it_is_said():
    asked = []

    def restore(image: Image.Image, name: str, weight: float) -> tuple[Image.Image, int]:
        asked.append((name, weight))
        return Image.new("RGB", image.size, "white"), 1

    def run_one(name: str, by=restore, **given) -> tuple[Image.Image, dict[str, str]]:
        one = script(name)
        context = SimpleNamespace(facts={}, restore_faces=by)
        stage = one.stage(None, arguments(one, {"enabled": True, **given}))
        return stage.on_composed(Image.new("RGB", (64, 32)), context), context.facts

    image, facts = run_one("GFPGAN", visibility=0.5)
    assert image.getpixel((0, 0)) == (127, 127, 127) and facts == {"GFPGAN visibility": "0.5"}
    image, facts = run_one("CodeFormer", weight=0.3)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert facts == {"CodeFormer visibility": "1", "CodeFormer weight": "0.3"}
    assert asked == [("GFPGAN", 0.0), ("CodeFormer", 0.3)]
    assert run_one("GFPGAN", by=lambda image, name, weight: (image, 0))[1] == {}  # no face, or no file: not claimed
    assert script("GFPGAN").stage(None, arguments(script("GFPGAN"), {})) is None


def test_pictures_are_enlarged_before_their_faces_are_restored():
    names = [one.name for one in EXTENSIONS.scripts if one.operation]
    assert names == ["Upscale", "GFPGAN", "CodeFormer"]
