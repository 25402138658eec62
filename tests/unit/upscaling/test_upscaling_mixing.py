"""Enlarging as the Extras tab does: sizes, mixing, cropping, and what infotext says of it."""

from __future__ import annotations

import pytest
from PIL import Image

from modules.errors import InvalidRequest
from modules.generation.extras import UpscalePart
from modules.upscaling.mixing import enlarged
from modules.upscaling.upscaler import UPSCALERS


def upscale(image: Image.Image, name: str, scale: float) -> Image.Image:
    """The real resamplers; "black" and "white" paint, so that mixing can be measured."""
    if name in ("black", "white"):
        return Image.new("RGB", (round(image.width * scale), round(image.height * scale)), name)
    return UPSCALERS.get(name).upscale(image, scale)


def picture(width: int = 64, height: int = 32) -> Image.Image:
    return Image.new("RGB", (width, height), (200, 100, 50))


def test_no_upscaler_leaves_the_picture_as_it_is_and_says_nothing():
    image = picture()
    assert enlarged(image, UpscalePart(), upscale) == (image, {})


def test_by_a_factor_both_sides_grow_and_infotext_tells_factor_and_upscaler():
    image, facts = enlarged(picture(), UpscalePart(upscaler="Lanczos", factor=2.5), upscale)
    assert image.size == (160, 80)
    assert facts == {"Postprocess upscale by": "2.5", "Postprocess upscaler": "Lanczos"}


def test_a_maximal_side_lowers_the_factor_only_when_it_would_be_exceeded():
    limited, facts = enlarged(picture(), UpscalePart(upscaler="Lanczos", factor=4, max_side=128), upscale)
    assert limited.size == (128, 64) and facts["Max side length"] == "128"
    free, facts = enlarged(picture(), UpscalePart(upscaler="Lanczos", factor=2, max_side=128), upscale)
    assert free.size == (128, 64) and "Max side length" not in facts


def test_to_a_size_the_picture_covers_it_and_is_cropped_in_the_middle():
    image = picture()
    image.paste((0, 0, 255), (0, 0, 8, 32))  # the left edge, which cropping takes away
    asked = UpscalePart(upscaler="Nearest", mode="to", width=64, height=64)
    cropped, facts = enlarged(image, asked, upscale)
    assert cropped.size == (64, 64) and cropped.getpixel((0, 32)) == (200, 100, 50)
    assert facts["Postprocess upscale to"] == facts["Postprocess crop to"] == "64x64"
    whole, facts = enlarged(image, asked.model_copy(update={"crop": False}), upscale)
    assert whole.size == (128, 64) and "Postprocess crop to" not in facts


def test_two_upscalers_are_mixed_by_the_visibility_of_the_second():
    asked = UpscalePart(upscaler="black", second="white", second_visibility=0.25, factor=2)
    image, facts = enlarged(picture(), asked, upscale)
    assert image.getpixel((5, 5))[0] == pytest.approx(255 * 0.25, abs=1)
    assert facts["Postprocess upscaler 2"] == "white"
    unseen, facts = enlarged(picture(), asked.model_copy(update={"second_visibility": 0.0}), upscale)
    assert unseen.getpixel((5, 5)) == (0, 0, 0) and "Postprocess upscaler 2" not in facts


def test_transparency_is_kept_beside_networks_that_do_not_know_it():
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    result, _ = enlarged(image, UpscalePart(upscaler="white", factor=2), upscale)
    assert result.mode == "RGBA" and result.getpixel((60, 2))[3] < 20 < 230 < result.getpixel((60, 61))[3]


def test_a_result_that_no_memory_would_hold_is_refused_before_anything_runs():
    with pytest.raises(InvalidRequest, match="megapixels"):
        enlarged(picture(4000, 4000), UpscalePart(upscaler="Lanczos", factor=8), upscale)
