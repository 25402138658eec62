"""The sizes of a hires fix: from "Upscale by" or "Resize to" to what the upscaler makes and what is kept of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modules.generation.part import Size


@dataclass(frozen=True)
class Target:
    """`upscaled` is what the upscaler makes; `final` is what remains after the surplus latents are cropped."""

    upscaled: Size
    final: Size


def target(first: Size, *, scale: float, resize_width: int, resize_height: int) -> Target:
    """The second pass's sizes for a first pass of size `first`.

    Without `resize_*` the factor decides; one given side fixes the other by the first pass's ratio; two given sides
    are covered, keeping the ratio, and the surplus is cropped in whole latents (8 pixels).
    """
    width, height = first.width, first.height
    if not resize_width and not resize_height:
        return _uncropped(int(width * scale), int(height * scale))
    if not resize_height:
        return _uncropped(resize_width, resize_width * height // width)
    if not resize_width:
        return _uncropped(resize_height * width // height, resize_height)
    if width / height < resize_width / resize_height:
        upscaled = Size(width=resize_width, height=resize_width * height // width)
    else:
        upscaled = Size(width=resize_height * width // height, height=resize_height)
    surplus_x = (upscaled.width - resize_width) // 8
    surplus_y = (upscaled.height - resize_height) // 8
    final = Size(
        width=(upscaled.width // 8 - surplus_x) * 8,
        height=(upscaled.height // 8 - surplus_y) * 8,
    )
    return Target(upscaled, final)


def old_first_pass(final: Size) -> Size:
    """The first pass of A1111 before 1.0, where width and height meant the final size.

    Sides are scaled to an area of 512 by 512 and rounded up to multiples of 64.
    """
    factor = math.sqrt(512 * 512 / (final.width * final.height))
    return Size(
        width=math.ceil(factor * final.width / 64) * 64,
        height=math.ceil(factor * final.height / 64) * 64,
    )


def whole_latents(size: Size) -> Size:
    """`size` with both sides rounded down to the multiples of 8 that latents can have."""
    return Size(width=size.width // 8 * 8, height=size.height // 8 * 8)


def _uncropped(width: int, height: int) -> Target:
    size = Size(width=width, height=height)
    return Target(size, whole_latents(size))
