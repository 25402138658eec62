"""Sketches: paint laid over a picture, and what "Inpaint sketch" makes of it, checked by A1111's rules written out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from modules.errors import InvalidRequest
from modules.images.sketches import inpaint_sketch, paint

RED = (255, 0, 0, 255)


def picture(mode: str = "RGB") -> Image.Image:
    """Noise, so that a byte that moved is seen."""
    shape = (48, 64, len(mode))
    return Image.fromarray(np.random.default_rng(5).integers(1, 255, shape, np.uint8), mode)


def sketch(box: tuple[int, int, int, int] = (20, 10, 40, 30), colour: tuple[int, ...] = RED) -> Image.Image:
    layer = Image.new("RGBA", (64, 48))
    layer.paste(colour, box)
    return layer


def test_paint_covers_its_pixels_and_leaves_the_others_as_they_were():
    before, after = np.asarray(picture()), np.asarray(paint(picture(), sketch()))
    assert (after[10:30, 20:40] == RED[:3]).all()
    outside = np.ones((48, 64), bool)
    outside[10:30, 20:40] = False
    assert (after[outside] == before[outside]).all()


def test_translucent_paint_is_mixed_with_what_is_below():
    after = np.asarray(paint(Image.new("RGB", (64, 48), (0, 0, 200)), sketch(colour=(255, 0, 0, 128))), int)
    assert np.abs(after[20, 30] - (128, 0, 100)).max() <= 1


def test_a_transparent_picture_stays_transparent_where_nothing_was_painted():
    layered = paint(Image.new("RGBA", (64, 48), (9, 9, 9, 0)), sketch())
    assert layered.mode == "RGBA"
    assert layered.getpixel((0, 0))[3] == 0 and layered.getpixel((30, 20)) == RED


def test_a_sketch_of_another_size_is_refused_in_words():
    with pytest.raises(InvalidRequest, match="64x48 pixels, the picture 32x32"):
        paint(Image.new("RGB", (32, 32)), sketch())


def test_inpaint_sketch_masks_where_the_paint_made_a_difference_and_nowhere_else():
    plain = Image.new("RGB", (64, 48), (255, 0, 0))
    plain.paste((0, 0, 0), (0, 0, 30, 48))
    started, mask = inpaint_sketch(plain, sketch(), blur=0)
    wanted = np.zeros((48, 64), np.uint8)
    wanted[10:30, 20:30] = 255  # from column 30 on the paint has the picture's own colour
    assert (np.asarray(mask) == wanted).all()
    assert started.getpixel((25, 20)) == (255, 0, 0) and started.getpixel((10, 20)) == (0, 0, 0)


def test_inpaint_sketch_blends_blurred_paint_by_the_blurred_mask():
    original = picture()
    started, mask = inpaint_sketch(original, sketch(), blur=4)
    soft = ImageFilter.GaussianBlur(4)
    wanted = Image.composite(paint(original, sketch()).filter(soft), original, mask.filter(soft))
    assert started.tobytes() == wanted.tobytes()
    far = np.s_[:, 58:]  # 18 pixels from the paint, beyond the reach of a blur of 4
    assert (np.asarray(started)[far] == np.asarray(original)[far]).all()


@pytest.mark.parametrize("transparency, brightness", [(0, 255), (0.25, 191), (0.5, 127), (1, 0)])
def test_transparency_darkens_the_mask_of_a_sketch(transparency, brightness):
    _, mask = inpaint_sketch(picture(), sketch(), blur=0, transparency=transparency)
    assert np.unique(np.asarray(mask)[10:30, 20:40]).tolist() == [brightness]


def test_what_was_painted_as_mask_is_repainted_besides_the_sketch():
    painted = Image.new("L", (64, 48))
    painted.paste(255, (0, 0, 5, 5))
    started, mask = inpaint_sketch(picture(), sketch(), blur=0, transparency=0.5, mask=painted)
    assert (mask.getpixel((2, 2)), mask.getpixel((30, 20)), mask.getpixel((60, 40))) == (255, 127, 0)
    assert started.getpixel((2, 2)) == picture().getpixel((2, 2))


def test_a_transparent_picture_can_be_sketched_on_without_its_hidden_colours_leaking():
    hidden = Image.new("RGBA", (64, 48), (0, 255, 0, 0))
    started, mask = inpaint_sketch(hidden, sketch(), blur=2)
    red, green, _, alpha = np.moveaxis(np.asarray(started, int), 2, 0)
    inside = np.asarray(mask) > 0
    assert (red[inside] > 240).all() and (green[inside] < 15).all() and (alpha[inside] > 20).all()
