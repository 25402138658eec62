"""The resize modes, by digests of what Pillow 9.5 made of the same calls, and by what can be seen."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.images.masks import blur_mask
from modules.images.resize import CROP, FILL, JUST_RESIZE, LATENT, resize_image
from tests.unit.images.pixels import digest, noise

PICTURE = Image.fromarray(noise(120, 160, 3))


@pytest.mark.parametrize(
    "mode, tall, wide, mask",
    [
        (JUST_RESIZE, "b01e1cb54f768ff6", "0507dea2050d601a", "7d30f7783950b68f"),
        (CROP, "5b4462f7c46fee3b", "35ed3c87ec106bb1", "b556874f6407549e"),
        (FILL, "3122ded613e09f05", "0c89f400da9a9a16", "9633988cde1d6953"),
    ],
)
def test_every_mode_gives_the_recorded_bytes(mode, tall, wide, mask):
    grey = blur_mask(Image.fromarray(noise(120, 160)).point(lambda value: 255 if value > 100 else 0), 4, 4)
    assert digest(resize_image(PICTURE, 96, 128, mode)) == tall
    assert digest(resize_image(PICTURE, 200, 64, mode)) == wide
    assert digest(resize_image(grey, 64, 96, mode)) == mask


@pytest.mark.parametrize("mode", [JUST_RESIZE, CROP, FILL])
@pytest.mark.parametrize("size", [(96, 128), (200, 64), (160, 120), (1, 500), (33, 7), (9, 8)])
def test_the_size_is_exact(mode, size):
    assert resize_image(PICTURE, *size, mode).size == size


def test_cropping_keeps_the_middle():
    picture = Image.new("RGB", (30, 10), "red")
    picture.paste("blue", (10, 0, 20, 10))
    assert resize_image(picture, 10, 10, CROP).getcolors() == [(100, (0, 0, 255))]


def test_filling_leaves_no_black_bands_even_for_odd_sizes():
    white = Image.new("RGB", (30, 10), "white")
    for size in ((20, 21), (21, 20), (20, 20), (7, 40)):
        assert resize_image(white, *size, FILL).getextrema() == ((255, 255),) * 3
        assert resize_image(white.rotate(90, expand=True), *size[::-1], FILL).getextrema() == ((255, 255),) * 3


def test_latent_resizing_leaves_the_pixels_alone():
    assert resize_image(PICTURE, 8, 8, LATENT) is PICTURE


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="0 to 3"):
        resize_image(PICTURE, 8, 8, 4)


def test_an_upscaler_is_asked_to_enlarge_pictures_only():
    asked = []

    def upscaler(image, width, height):
        asked.append((image.mode, width, height))
        return image.resize((width + 8, height), Image.Resampling.NEAREST)

    assert resize_image(PICTURE, 320, 240, upscaler=upscaler).size == (320, 240)
    resize_image(PICTURE, 100, 100, upscaler=upscaler)
    resize_image(PICTURE.convert("L"), 320, 240, upscaler=upscaler)
    resize_image(PICTURE, 160, 121, upscaler=upscaler)
    assert asked == [("RGB", 320, 240), ("RGB", 160, 121)]


def test_transparency_survives():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert resize_image(clear, 16, 8, CROP).getchannel("A").getextrema() == (0, 0)
    assert np.asarray(resize_image(clear, 16, 8, FILL)).shape == (8, 16, 4)
