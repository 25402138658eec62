"""What is refused before a pixel is decoded."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from random import Random

import pytest
from PIL import Image, PngImagePlugin

from modules.errors import InvalidImage
from modules.images.data import ImageData
from modules.images.formats import exif_with
from modules.infotext.files import read_metadata


def empty_png(width: int, height: int) -> ImageData:
    """A PNG that announces a size and holds next to nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return ImageData(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))


@pytest.mark.parametrize("side, said", [(9000, "9000x9000 pixels"), (60000, "far more than 64 megapixels")])
def test_too_many_pixels_are_refused_by_what_the_header_announces(side, said):
    with pytest.raises(InvalidImage, match=f"a picture of {said}.*; make it smaller first"):
        empty_png(side, side).open()


def test_what_is_no_picture_is_said_to_be_none():
    with pytest.raises(InvalidImage, match=r"not a picture in a known format \(5 bytes\)"):
        ImageData(b"hello").open()


@pytest.mark.parametrize("kind", ["EPS", "ICNS", "DDS"])
def test_kinds_of_files_that_are_no_pictures_to_show_are_not_read(kind):
    """For EPS Pillow would run Ghostscript on what a stranger sent."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, kind)
    with pytest.raises(InvalidImage, match="not a picture in a known format"):
        ImageData(buffer.getvalue()).open()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "TGA", "PPM", "ICO"])
def test_pictures_are_read_in_all_usual_kinds(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, kind)
    red, green, blue = ImageData(buffer.getvalue()).open().convert("RGB").getpixel((16, 16))
    assert red > 240 and green < 15 and blue < 15


def test_texts_too_long_to_be_read_are_named_as_what_is_wrong():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a" * 2_000_000, zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=texts)
    with pytest.raises(InvalidImage, match="the texts inside the picture are too long"):
        _ = ImageData(buffer.getvalue()).size


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what is broken
def test_whatever_is_broken_inside_a_file_is_said_to_be_damage():
    """Decoders raise all kinds of errors; none may come out as something else than InvalidImage."""
    random = Random(7)
    for kind in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF"):
        buffer = io.BytesIO()
        shape = {} if kind == "GIF" else {"exif": exif_with("a cat\nSteps: 20")}
        Image.effect_noise((24, 16), 60).convert("RGB").save(buffer, kind, **shape)
        whole = buffer.getvalue()
        for _ in range(150):
            broken = bytearray(whole)
            for _ in range(random.choice((1, 2, 8))):
                place = min(random.randrange(len(broken)), random.randrange(400))
                broken[place : place + 4] = random.choice((bytes([random.randrange(256)]), b"\xff" * 4, b"\0" * 4))
            for read in (lambda data: data.size, ImageData.open, read_metadata):
                with suppress(InvalidImage):
                    read(ImageData(bytes(broken)))
