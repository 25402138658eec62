"""Putting a repainted picture back into the one it came from, so that what was not masked stays byte for byte."""

from __future__ import annotations

from PIL import Image, ImageOps

from modules.images.masks import Box
from modules.images.resize import CROP, FILL, resize_image


def flatten(image: Image.Image, background: str = "#ffffff") -> Image.Image:
    """`image` as RGB, what is transparent shown over `background`."""
    if image.mode == "RGBA":
        canvas = Image.new("RGBA", image.size, background)
        canvas.alpha_composite(image)
        return canvas.convert("RGB")
    if image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return flatten(image.convert("RGBA"), background)
    return image.convert("RGB")


def overlay(image: Image.Image, overlay_mask: Image.Image) -> Image.Image:
    """`image` (RGBA) with a hole where `overlay_mask` is white: what is laid over the result."""
    canvas = Image.new("RGBa", image.size)
    canvas.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(overlay_mask.convert("L")))
    return canvas.convert("RGBA")


def uncrop(result: Image.Image, box: Box, width: int, height: int) -> Image.Image:
    """`result` at the place `box` of a transparent picture of the size it was cut out of (RGBA)."""
    left, top, right, bottom = box
    fitted = resize_image(result, right - left, bottom - top, CROP)
    canvas = Image.new("RGBA", (width, height))
    canvas.paste(fitted, (left, top))
    return canvas


def apply_overlay(result: Image.Image, over: Image.Image | None, box: Box | None = None) -> Image.Image:
    """`result` (RGB) with the untouched part of the source laid over it.

    `over` comes from `overlay`; with a `box` ("only masked") the result is put back at its place first. Without `over`
    the result stays as it is. Where `over` is opaque its pixels come out unchanged.
    """
    if over is None:
        return result
    placed = uncrop(result, box, *over.size) if box else result.convert("RGBA")
    placed.alpha_composite(over)
    return placed.convert("RGB")


def mask_composite(result: Image.Image, overlay_mask: Image.Image, box: Box | None = None) -> Image.Image:
    """`result` without the overlay, see-through where it was not repainted (RGBA): A1111's masked composite."""
    placed = uncrop(result, box, *overlay_mask.size) if box else result.convert("RGBA")
    # a size asked for that is no multiple of 8 is the mask's, but not the result's
    fitted = overlay_mask if overlay_mask.size == placed.size else resize_image(overlay_mask, *placed.size, FILL)
    cut = Image.new("RGBa", placed.size)
    cut.paste(placed.convert("RGBa"), mask=fitted.convert("L"))
    return cut.convert("RGBA")
