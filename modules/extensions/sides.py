"""How outpainting grows a picture: by how much on each side. Part of what `modules.extensions.api` offers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Side = Literal["left", "right", "up", "down"]

SIDES: tuple[Side, ...] = ("left", "right", "up", "down")
"""All four, in the order in which A1111 works on them."""

MULTIPLE = 64


def rounded_up(length: int) -> int:
    """The next multiple of 64."""
    return math.ceil(length / MULTIPLE) * MULTIPLE


def growth(size: tuple[int, int], pixels: int, sides: Sequence[str]) -> dict[Side, int]:
    """By how many pixels each chosen side of a picture grows, in the order of SIDES; the others are not in it.

    Each grows by `pixels` and by its share of what rounding the whole up to a multiple of 64 adds.
    """
    found: dict[Side, int] = {}
    pairs: tuple[tuple[Side, Side], ...] = (("left", "right"), ("up", "down"))
    for length, pair in zip(size, pairs, strict=True):
        chosen = [side for side in pair if side in sides]
        extra = rounded_up(length + pixels * len(chosen)) - length
        for place, side in enumerate(chosen):
            found[side] = (extra + place) // len(chosen)  # of two, the second gets the odd pixel
    return found
