"""Cutting pictures to sizes: what is kept, how large it is, and when nothing is cut."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from modules.images.crops import centre_crop, focal_crop, pieces, suitable_size


def strip(width: int, height: int) -> Image.Image:
    """A picture whose red tells the place along its width, green along its height."""
    columns, rows = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([columns, rows, columns * 0], axis=2).astype(np.uint8))


@pytest.mark.parametrize("turn", [False, True])
def test_a_long_picture_becomes_pieces_that_overlap_and_reach_both_ends(turn):
    image = strip(100, 400) if turn else strip(400, 100)
    cut = pieces(image, (64, 64), threshold=0.5, overlap=0.2)
    assert [piece.size for piece in cut] == [(64, 64)] * 5  # 256 long: (256 - 12.8) / 51.2 rounded up
    starts = [piece.getpixel((0, 0))[1 if turn else 0] for piece in cut]
    assert starts[0] <= 1 and starts == sorted(starts)
    assert cut[-1].getpixel((63, 63))[1 if turn else 0] >= 254
    steps = np.diff(starts) * 256 / 255
    assert steps.max() <= 64 * 0.8 + 1.1  # neighbours share at least a fifth


def test_a_picture_that_nearly_fits_stays_as_it_is():
    image = strip(160, 100)
    assert pieces(image, (64, 64), threshold=0.5, overlap=0.2) == [image]  # one piece shows 62 % of it
    assert len(pieces(image, (64, 64), threshold=0.7, overlap=0.2)) == 2


def test_the_cut_follows_what_stands_out():
    image = Image.new("RGB", (300, 100), "grey")
    draw = ImageDraw.Draw(image)
    for at in range(0, 60, 6):
        draw.rectangle((220 + at, 20 + at % 30, 222 + at, 80), fill=(at * 4, 255 - at * 4, 0))
    cut = focal_crop(image, (100, 100), entropy=0.15, edges=0.5)
    assert cut.image.size == (100, 100) and cut.box[0] >= 190
    assert cut.explained().size == (300, 100) and set(cut.points) == {"entropy", "edges"}


@pytest.mark.parametrize("weights", [(0.0, 0.0), (0.5, 0.5)])
def test_a_plain_picture_or_one_without_weights_is_cut_inside_its_borders(weights):
    cut = focal_crop(Image.new("RGB", (90, 300), "white"), (60, 60), entropy=weights[0], edges=weights[1])
    assert cut.image.size == (60, 60) and cut.box[1] >= 0 and cut.box[3] <= 200
    if weights == (0.0, 0.0):
        assert cut.box == (0, 70, 60, 130)


def test_the_size_that_suits_is_the_largest_or_the_truest_within_the_bounds():
    bounds = {"sides": (384, 768), "areas": (64 * 64, 640 * 640), "threshold": 0.1}
    assert suitable_size((1000, 1000), objective="Maximize area", **bounds) == (640, 640)
    wide = suitable_size((1500, 1000), objective="Minimize error", **bounds)
    assert wide == (768, 512)  # exactly 3:2
    assert suitable_size((4000, 1000), objective="Maximize area", **bounds) is None


def test_a_centred_cut_loses_the_same_on_both_sides():
    cut = centre_crop(strip(400, 100), (100, 100))
    left, right = cut.getpixel((0, 50))[0], cut.getpixel((99, 50))[0]
    assert cut.size == (100, 100) and left == pytest.approx(255 - right, abs=2) and 94 <= left <= 98  # 150 of 400
