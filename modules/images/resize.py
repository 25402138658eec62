"""Bringing a picture to a size: A1111's resize modes. The latent mode is the engine's; here it leaves pixels alone."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

Upscaler = Callable[[Image.Image, int, int], Image.Image]
"""`(picture, width, height) → picture` of about that size; the caller brings it to the exact size afterwards."""

JUST_RESIZE, CROP, FILL, LATENT = range(4)
"""A1111's indexes of the resize modes, in the order of `ResizeMode`."""


def resize_image(
    image: Image.Image, width: int, height: int, mode: int = JUST_RESIZE, *, upscaler: Upscaler | None = None
) -> Image.Image:
    """`image` at exactly `width` x `height` by one of A1111's resize modes.

    0 stretches; 1 covers the target and crops the surplus evenly; 2 fits inside and fills the bands with the outermost
    row or column; 3 is done on latents and returns the picture as it is. An `upscaler` is asked only to enlarge, and
    never for grey pictures (masks); everything else is Lanczos.

    Raises ValueError for any other mode.
    """
    if mode == JUST_RESIZE:
        return stretch(image, width, height, upscaler=upscaler)
    if mode == CROP:
        return cover(image, width, height, upscaler=upscaler)
    if mode == FILL:
        return fit_and_fill(image, width, height, upscaler=upscaler)
    if mode == LATENT:
        return image
    raise ValueError(f"no resize mode {mode}; there are 0 to 3")


def stretch(image: Image.Image, width: int, height: int, *, upscaler: Upscaler | None = None) -> Image.Image:
    """`image` at the exact size, whatever that does to its proportions."""
    if upscaler is not None and image.mode != "L" and (width > image.width or height > image.height):
        image = upscaler(image, width, height)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)


def cover(image: Image.Image, width: int, height: int, *, upscaler: Upscaler | None = None) -> Image.Image:
    """`image` scaled to cover the size, its middle cut out."""
    target, own = width / height, image.width / image.height
    scaled_width = width if target > own else image.width * height // image.height
    scaled_height = height if target <= own else image.height * width // image.width
    scaled = stretch(image, max(1, scaled_width), max(1, scaled_height), upscaler=upscaler)
    return _centred(scaled, width, height)


def fit_and_fill(image: Image.Image, width: int, height: int, *, upscaler: Upscaler | None = None) -> Image.Image:
    """`image` scaled to fit inside the size, the bands beside it filled with its stretched edges.

    The colour of a band is Pillow's bicubic resize of an empty box at the edge, as in A1111: not the outermost row but
    9/8 of it less 1/8 of the next.
    """
    target, own = width / height, image.width / image.height
    scaled_width = width if target < own else image.width * height // image.height
    scaled_height = height if target >= own else image.height * width // image.width
    scaled = stretch(image, max(1, scaled_width), max(1, scaled_height), upscaler=upscaler)
    result = _centred(scaled, width, height)
    left, top = width // 2 - scaled.width // 2, height // 2 - scaled.height // 2
    if target < own and top > 0:
        bottom = top + scaled.height
        rest = max(1, height - bottom)  # an odd surplus may leave no row; what is pasted outside is cut off
        result.paste(scaled.resize((width, top), box=(0, 0, width, 0)), (0, 0))
        result.paste(scaled.resize((width, rest), box=(0, scaled.height, width, scaled.height)), (0, bottom))
    elif target >= own and left > 0:
        right = left + scaled.width
        rest = max(1, width - right)
        result.paste(scaled.resize((left, height), box=(0, 0, 0, height)), (0, 0))
        result.paste(scaled.resize((rest, height), box=(scaled.width, 0, scaled.width, height)), (right, 0))
    return result


def _centred(image: Image.Image, width: int, height: int) -> Image.Image:
    """`image` pasted in the middle of a black canvas of the size; what sticks out is cut off."""
    canvas = Image.new(image.mode if image.mode in ("L", "RGBA") else "RGB", (width, height))
    canvas.paste(image, (width // 2 - image.width // 2, height // 2 - image.height // 2))
    return canvas
