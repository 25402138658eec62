"""What is refused before a pixel is decoded."""

from __future__ import annotations

import struct
import zlib

import pytest

from modules.errors import InvalidImage
from modules.images.data import ImageData


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
