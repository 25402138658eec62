"""Masks: grey values, blur to OpenCV's last bit, crop regions and fill."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.images import masks
from tests.unit.images.pixels import digest, noise


@pytest.mark.parametrize(
    "sigma, expected",
    # digests of cv2.GaussianBlur 4.8.1, first (k, 1) then (1, k) with k = 2 * int(2.5 * sigma + 0.5) + 1
    [
        (1, "5c3c90e689aca759"),
        (4, "960d5f1f4f3a3b86"),
        (7.5, "5196b3b3570150c0"),
        (33, "eb681c68ac1cdc8a"),
        (64, "bddc14cf69f28e3d"),
    ],
)
def test_the_blur_gives_opencvs_bytes(sigma, expected):
    assert digest(masks.blur_mask(Image.fromarray(noise(40, 60)), sigma, sigma)) == expected


def test_directions_are_blurred_apart():
    dot = Image.new("L", (33, 33))
    dot.putpixel((16, 16), 255)
    assert masks.blur_mask(dot, 4, 0).getbbox()[1::2] == (16, 17)
    assert masks.blur_mask(dot, 0, 4).getbbox()[0::2] == (16, 17)
    assert masks.blur_mask(dot, 0, 0).tobytes() == dot.tobytes()


@given(st.floats(0.3, 100), st.integers(0, 150))
def test_weights_are_symmetric_and_add_up_to_one(sigma, half):
    weights = masks.gaussian_weights(2 * half + 1, sigma)
    assert sum(weights) == 256 and weights == weights[::-1]


def test_a_mask_smaller_than_the_blur_is_no_trouble():
    assert masks.blur_mask(Image.new("L", (3, 1), 255), 64, 64).getextrema() == (255, 255)


def test_transparency_becomes_a_mask_split_at_half():
    drawn = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 129)):
        drawn.putpixel((x, 0), (9, 9, 9, alpha))
    assert list(masks.grey_mask(drawn).tobytes()) == [0, 0, 255]
    assert list(masks.grey_mask(drawn, rounded=False).tobytes()) == [0, 128, 129]


def test_an_opaque_picture_gives_its_grey_values():
    opaque = Image.new("RGBA", (1, 1), (200, 200, 200, 255))
    assert masks.grey_mask(opaque).getpixel((0, 0)) == 200


def test_the_crop_region_is_padded_and_stays_inside():
    mask = Image.new("L", (100, 80))
    mask.paste(1, (10, 20, 30, 40))
    assert masks.crop_region(mask) == (10, 20, 30, 40)
    assert masks.crop_region(mask, 15) == (0, 5, 45, 55)
    assert masks.crop_region(mask, 500) == (0, 0, 100, 80)


def test_a_black_mask_has_no_region():
    assert masks.crop_region(Image.new("L", (10, 10)), 5) is None


@pytest.mark.parametrize(
    "box, target, image, expected",
    [
        ((100, 100, 228, 132), (512, 512), (1000, 1000), (100, 52, 228, 180)),
        ((0, 0, 50, 300), (512, 512), (1000, 400), (0, 0, 300, 300)),
        ((10, 10, 300, 60), (512, 768), (320, 100), (10, 0, 300, 100)),
    ],
)
def test_a_region_grows_to_the_targets_proportions(box, target, image, expected):
    assert masks.expand_to_aspect(box, *target, *image) == expected


SIDE = st.integers(1, 2000)


@given(st.data(), SIDE, SIDE, SIDE, SIDE)
def test_a_grown_region_holds_the_old_one_and_stays_in_the_picture(data, image_width, image_height, width, height):
    left = data.draw(st.integers(0, image_width - 1))
    top = data.draw(st.integers(0, image_height - 1))
    right = data.draw(st.integers(left + 1, image_width))
    bottom = data.draw(st.integers(top + 1, image_height))
    x1, y1, x2, y2 = masks.expand_to_aspect((left, top, right, bottom), width, height, image_width, image_height)
    assert 0 <= x1 <= left and 0 <= y1 <= top
    assert right <= x2 <= image_width and bottom <= y2 <= image_height


def test_the_latent_mask_is_zero_or_one_when_rounded():
    mask = masks.blur_mask(Image.fromarray(noise(64, 64)), 2, 2)
    assert set(np.unique(masks.latent_mask(mask, 8, 8))) <= {0.0, 1.0}
    soft = masks.latent_mask(mask, 8, 4, rounded=False)
    assert soft.shape == (4, 8) and soft.dtype == np.float32 and 0 < soft.mean() < 1


def test_brightening_doubles_and_clips():
    grey = Image.fromarray(np.array([[0, 60, 128, 255]], dtype=np.uint8))
    assert list(masks.brighten(grey).tobytes()) == [0, 120, 255, 255]


def test_filling_gives_the_bytes_that_pillow_95_gave_and_leaves_the_rest():
    picture = Image.fromarray(noise(120, 160, 3))
    mask = Image.fromarray(noise(120, 160)).point(lambda value: 255 if value > 100 else 0)
    assert digest(masks.fill_masked(picture, masks.blur_mask(mask, 4, 4))) == "cad3bd2c5cdf9220"
    hard = Image.new("L", picture.size)
    hard.paste(255, (40, 30, 80, 60))
    filled = np.asarray(masks.fill_masked(picture, hard))
    outside = np.asarray(hard) == 0
    assert (filled[outside] == np.asarray(picture)[outside]).all()
    assert np.abs(np.diff(filled[32:58, 42:78].astype(int), axis=1)).mean() < 10  # noise was 85


def test_an_all_white_mask_fills_with_black():
    assert masks.fill_masked(Image.new("RGB", (8, 8), "red"), Image.new("L", (8, 8), 255)).getextrema() == ((0, 0),) * 3
