"""Files of every kind."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from modules.errors import SavingError
from modules.images import formats
from modules.images.data import ImageData


@pytest.mark.parametrize("extension", ["png", ".PNG", "jpg", "jpeg", "webp", "avif", "gif", "bmp", "tiff"])
def test_every_format_can_be_read_again(extension):
    made = ImageData(formats.encode(Image.new("RGB", (16, 8), "red"), extension)).open().convert("RGB")
    assert made.size == (16, 8) and made.getpixel((3, 3))[0] > 240


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1", "I;16", "LA"])
@pytest.mark.parametrize("extension", ["jpg", "webp", "png"])
def test_every_mode_finds_a_way(mode, extension):
    picture = Image.new("L", (8, 8), 200).convert(mode) if mode != "I;16" else Image.new("I;16", (8, 8), 200 * 257)
    made = Image.open(io.BytesIO(formats.encode(picture, extension)))
    if extension == "jpg":
        assert made.mode in ("RGB", "L") and abs(made.convert("L").getpixel((4, 4)) - (255 if mode == "1" else 200)) < 3


def test_lossless_webp_keeps_every_byte_and_quality_changes_the_size():
    picture = Image.effect_noise((64, 64), 50).convert("RGB")
    exact = formats.encode(picture, "webp", lossless=True)
    assert Image.open(io.BytesIO(exact)).convert("RGB").tobytes() == picture.tobytes()
    assert len(formats.encode(picture, "jpg", quality=20)) < len(formats.encode(picture, "jpg", quality=95))


def test_an_unknown_format_is_refused_with_advice():
    with pytest.raises(SavingError, match=r'"xyz".*png'):
        formats.encode(Image.new("RGB", (8, 8)), "xyz")


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(SavingError, match="16383"):
        formats.encode(Image.new("L", (16384, 1)), "webp")
    with pytest.raises(SavingError, match="characters"):
        formats.encode(Image.new("L", (8, 8)), "jpg", texts={"parameters": "x" * 40_000})
