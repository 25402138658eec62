"""Pictures that carry a textual inversion: in a text chunk, or in the low bits of their left and right margins.

A1111 writes both into the cards it makes of embeddings: base64 of JSON in the PNG chunk `sd-ti-embedding`, and, so that
it survives sites that strip chunks, the same JSON deflated into two blocks of noise beside the picture. Each block
takes the picture's height; a black column stands between it and the picture. The lower four bits of a block's numbers,
row by row and channel by channel, are one nibble of a byte each (left the lower, right the upper), exclusive-or'ed
with a fixed sequence; the upper four bits are decoration, and what does not fill a block is padding.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modules.errors import ModelFileBroken

CHUNK = "sd-ti-embedding"
LIMIT = 64 * 2**20
"""Bytes of JSON; a real one has less than a hundredth of it."""


def embedding_in_picture(path: Path, tensor: Callable[[Any], object]) -> Any:
    """What a picture holds of a textual inversion; `tensor` makes one of nested lists of numbers.

    The answer is what JSON gives, hence Any. Raises ModelFileBroken for what cannot be opened, holds none, or a damaged
    one.
    """

    def revived(value: dict[str, Any]) -> object:
        return tensor(value["TORCHTENSOR"]) if "TORCHTENSOR" in value else value

    try:
        with Image.open(path) as picture:
            picture.load()  # PNG chunks may follow the pixels
            stored = getattr(picture, "text", {}).get(CHUNK)
            pixels = None if stored is not None else np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ModelFileBroken(f"{path}: cannot be read as a picture ({error})") from error
    try:
        content = _hidden_in(pixels) if stored is None else base64.b64decode(stored, validate=False)
        if content is not None:
            return json.loads(content, object_hook=revived)
    except (ValueError, binascii.Error, TypeError, RecursionError) as error:
        raise ModelFileBroken(f"{path}: the textual inversion in this picture is damaged ({error})") from error
    raise ModelFileBroken(f"{path}: there is no textual inversion in this picture")


def _hidden_in(pixels: np.ndarray) -> bytes | None:
    """The JSON in the margins of (H, W, 3) pixels; None where there are no two blocks with a deflated stream."""
    low = _without_frame(pixels) & 0x0F
    dark = np.flatnonzero(~low.any(axis=(0, 2)))
    if len(dark) < 2:
        return None
    left, right = low[:, : dark[0]], low[:, dark[-1] + 1 :]
    if left.shape != right.shape or left.size == 0:
        return None
    nibbles = np.stack([right.reshape(-1), left.reshape(-1)])

    def stream(length: int) -> bytes:
        upper, lower = nibbles[:, :length] ^ _sequence(length)
        return (upper << 4 | lower).tobytes()

    head = stream(2)
    if head[:1] != b"\x78" or int.from_bytes(head, "big") % 31:  # zlib's: an ordinary picture rarely begins so
        return None
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(stream(left.size), LIMIT)
    except zlib.error:
        return None
    if not inflater.eof:
        raise ValueError("its data ends too early, or is unreasonably large")
    return content


def _without_frame(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3) without black rows and columns around them: sites that show pictures add such."""
    lit = (pixels > 0).all(axis=2)
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not len(rows):
        return pixels[:0, :0]
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _sequence(length: int) -> np.ndarray:
    """The lower four bits of a linear congruential generator's numbers modulo 255 (Numerical Recipes' constants)."""
    state, values = 0, bytearray(length)
    for place in range(length):
        state = (1664525 * state + 1013904223) & 0xFFFFFFFF
        values[place] = state % 255 & 0x0F
    return np.frombuffer(values, np.uint8)
