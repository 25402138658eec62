"""Pixels that look like noise and are the same everywhere, and short digests to compare pictures by."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def noise(height: int, width: int, channels: int | None = None, *, seed: int = 1) -> NDArray[np.uint8]:
    """uint8 (height, width) or (height, width, channels), from a fixed hash of the position."""
    count = height * width * (channels or 1)
    mixed = np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(seed) * np.uint64(40503)
    mixed = (mixed ^ (mixed >> np.uint64(13))) * np.uint64(1274126177)
    values = ((mixed >> np.uint64(16)) & np.uint64(255)).astype(np.uint8)
    return values.reshape((height, width) if channels is None else (height, width, channels))


def digest(pixels: object) -> str:
    """Sixteen hex digits that stand for all bytes."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]
