"""Putting results back: what was not masked is the source, byte for byte."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modules.images import compose, masks
from tests.unit.images.pixels import noise

SOURCE = Image.fromarray(noise(64, 96, 3))
RESULT = Image.fromarray(noise(64, 96, 3, seed=7))


def mask_of(box) -> Image.Image:
    mask = Image.new("L", SOURCE.size)
    mask.paste(255, box)
    return mask


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 90), st.integers(0, 60), st.integers(1, 60), st.integers(1, 60), st.integers(0, 12))
def test_outside_the_blurred_mask_nothing_changes(left, top, width, height, blur):
    drawn = mask_of((left, top, min(96, left + width), min(64, top + height)))
    blurred = masks.blur_mask(drawn, blur, blur)
    shown = masks.brighten(blurred)
    result = np.asarray(compose.apply_overlay(RESULT, compose.overlay(SOURCE, shown)))
    untouched = np.asarray(shown) == 0
    assert (result[untouched] == np.asarray(SOURCE)[untouched]).all()
    repainted = np.asarray(shown) == 255
    assert (result[repainted] == np.asarray(RESULT)[repainted]).all()


def test_a_cropped_result_goes_back_to_its_place():
    box = (20, 10, 52, 42)
    over = compose.overlay(SOURCE, mask_of(box))
    small = RESULT.crop((0, 0, 32, 32))
    result = compose.apply_overlay(small, over, box)
    assert result.crop(box).tobytes() == small.tobytes()
    outside = np.asarray(mask_of(box)) == 0
    assert (np.asarray(result)[outside] == np.asarray(SOURCE)[outside]).all()


def test_without_an_overlay_the_result_stays():
    assert compose.apply_overlay(RESULT, None) is RESULT


def test_the_masked_composite_shows_only_what_was_repainted():
    shown = compose.mask_composite(RESULT, mask_of((0, 0, 10, 10)))
    assert shown.mode == "RGBA" and shown.getchannel("A").getbbox() == (0, 0, 10, 10)


def test_the_masked_composite_takes_a_mask_of_another_size_than_the_result():
    odd = mask_of((0, 0, 96, 64)).resize((100, 70))
    shown = compose.mask_composite(RESULT, odd)
    assert shown.size == RESULT.size and shown.getchannel("A").getextrema() == (255, 255)


def test_transparency_is_flattened_onto_the_background():
    half = Image.new("RGBA", (1, 1), (255, 0, 0, 0))
    assert compose.flatten(half).getpixel((0, 0)) == (255, 255, 255)
    assert compose.flatten(half, "#0000ff").getpixel((0, 0)) == (0, 0, 255)
    palette = Image.new("P", (1, 1), 0)
    palette.info["transparency"] = 0
    assert compose.flatten(palette).getpixel((0, 0)) == (255, 255, 255)
    assert compose.flatten(Image.new("L", (1, 1), 9)).getpixel((0, 0)) == (9, 9, 9)
