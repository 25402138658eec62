"""An encoded picture as a value: what requests, plans, events and the queue carry instead of pixels."""

from __future__ import annotations

import base64
import hashlib
import io
from functools import cached_property
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from modules.errors import InvalidImage

PIXEL_LIMIT = 64_000_000
"""Pictures with more pixels than this are refused before a pixel is decoded (a decompression bomb is small on disk)."""

FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "JXL", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
"""What is read, where Pillow can. It knows more: for EPS it would run another program on what a stranger sent."""


class ImageData:
    """The bytes of an image file (PNG, JPEG, WebP …), immutable; base64 text in JSON.

    Construction checks nothing; `open` and `size` raise InvalidImage for what is not a picture or is over PIXEL_LIMIT.
    """

    __slots__ = ("__dict__", "content")

    def __init__(self, content: bytes) -> None:
        self.content = content

    @classmethod
    def from_base64(cls, text: str) -> ImageData:
        """From base64 text, with or without a `data:image/…;base64,` prefix; raises InvalidImage."""
        payload = text.split(",", 1)[1] if text.startswith("data:") and "," in text else text
        try:
            return cls(base64.b64decode(payload, validate=False))
        except ValueError as error:
            raise InvalidImage("not base64 text") from error

    @classmethod
    def from_image(cls, image: Image.Image, **save: Any) -> ImageData:
        """A PNG of `image`; `save` goes to Pillow, for example `pnginfo=…`."""
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **save)
        return cls(buffer.getvalue())

    def to_base64(self) -> str:
        return base64.b64encode(self.content).decode("ascii")

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the file's bytes: the name under which the queue stores it."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, read from the header."""
        return self._header().size

    def open(self, *, limit: int = PIXEL_LIMIT) -> Image.Image:
        """The decoded picture, EXIF orientation applied; raises InvalidImage over `limit` pixels, before decoding."""
        image = self._header(limit)
        try:
            image.load()
            text = dict(image.info)
            upright = ImageOps.exif_transpose(image)
        except Exception as error:  # the boundary: there is no list of what decoders raise for a damaged file
            raise _damaged(error) from error
        upright.info.update({key: value for key, value in text.items() if key not in upright.info and key != "exif"})
        return upright

    def _header(self, limit: int = PIXEL_LIMIT) -> Image.Image:
        Image.init()
        try:
            image = Image.open(io.BytesIO(self.content), formats=[name for name in FORMATS if name in Image.OPEN])
        except Image.DecompressionBombError as error:  # Pillow's own, higher limit; it does not tell the size
            raise InvalidImage(
                f"a picture of far more than {limit / 1e6:.0f} megapixels was given, and that is the limit; make it "
                "smaller first"
            ) from error
        except UnidentifiedImageError as error:
            raise InvalidImage(f"not a picture in a known format ({len(self.content)} bytes)") from error
        except Exception as error:  # as in `open`
            raise _damaged(error) from error
        if image.width * image.height > limit:
            raise InvalidImage(
                f"a picture of {image.width}x{image.height} pixels was given, the limit is {limit / 1e6:.0f} "
                "megapixels; make it smaller first"
            )
        return image

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageData) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"ImageData({len(self.content)} bytes, {self.sha256[:8]})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: object) -> ImageData:
            if isinstance(value, ImageData):
                return value
            if isinstance(value, bytes):
                return cls(value)
            if isinstance(value, str):
                try:
                    return cls.from_base64(value)
                except InvalidImage as error:
                    raise ValueError(str(error)) from error
            raise ValueError("expected an image as base64 text")

        return core_schema.no_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda image: image.to_base64(), when_used="json"
            ),
            json_schema_input_schema=core_schema.str_schema(),
        )


def _damaged(error: Exception) -> InvalidImage:
    if "text chunk" in str(error) or "MAX_TEXT_CHUNK" in str(error):  # Pillow's words
        return InvalidImage("the texts inside the picture are too long to be read; save it without them first")
    return InvalidImage(f"the picture is damaged: {error or type(error).__name__}")
