"""Masks in pixels: from whatever was drawn or uploaded to what inpainting needs. White (255) is repainted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""

_FILL_BLURS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""Radius and how often that blurred copy is laid over the picture, largest first."""


def grey_mask(mask: Image.Image, *, rounded: bool = True) -> Image.Image:
    """A mask as one grey channel (mode L).

    A picture with transparency gives its alpha, split at 128 into black and white when `rounded`; any other picture
    gives its grey values as they are.
    """
    if mask.mode == "RGBA" and mask.getextrema()[3] != (255, 255):
        alpha = mask.getchannel("A")
        return alpha.point(lambda value: 255 if value > 128 else 0) if rounded else alpha
    return mask.convert("L")


def invert(mask: Image.Image) -> Image.Image:
    """White for black: "Inpaint not masked"."""
    return ImageOps.invert(mask)


def blur_mask(mask: Image.Image, blur_x: float, blur_y: float) -> Image.Image:
    """`mask` (mode L) blurred along x and then along y, each with its own standard deviation in pixels (0: not at all).

    The same bytes as OpenCV's 8-bit GaussianBlur with a kernel of 2 * int(2.5 * sigma + 0.5) + 1 weights, which is what
    A1111 calls: weights in 1/256, edges mirrored, rounding after each direction.
    """
    pixels = np.asarray(mask.convert("L"))
    for axis, sigma in ((1, blur_x), (0, blur_y)):
        if sigma > 0:
            pixels = gaussian_blur_along(pixels, sigma, axis=axis)
    return Image.fromarray(pixels)


def gaussian_blur_along(pixels: NDArray[np.uint8], sigma: float, *, axis: int) -> NDArray[np.uint8]:
    """One direction of OpenCV's bit-exact 8-bit Gaussian blur, border reflect-101; `pixels` (height, width)."""
    length = pixels.shape[axis]
    if length == 1:
        return pixels
    weights = gaussian_weights(2 * int(2.5 * sigma + 0.5) + 1, sigma)
    radius = len(weights) // 2
    widths = [(0, 0), (0, 0)]
    widths[axis] = (radius, radius)
    padded = np.moveaxis(np.pad(pixels, widths, mode="reflect").astype(np.uint32), axis, 0)
    total = np.full((length, padded.shape[1]), 128, dtype=np.uint32)
    for offset, weight in enumerate(weights):
        total += np.uint32(weight) * padded[offset : offset + length]
    return np.ascontiguousarray(np.moveaxis((total >> 8).astype(np.uint8), 0, axis))


def gaussian_weights(length: int, sigma: float) -> list[int]:
    """Gaussian weights in 1/256 that add up to 256, as OpenCV rounds them: each carries its error to the next.

    `length` is odd. The middle weight takes what is left over.
    """
    half = length // 2
    exact = np.exp(-(np.arange(-half, 1, dtype=np.float64) ** 2) / (2 * sigma * sigma))
    exact /= 2 * exact[:half].sum() + 1
    weights, error = [], 0.0
    for value in exact[:half] * 256:
        weight = round(float(value) + error)
        error += float(value) - weight
        weights.append(weight)
    return [*weights, 256 - 2 * sum(weights), *reversed(weights)]


def crop_region(mask: Image.Image, padding: int = 0) -> Box | None:
    """The box around all of `mask` that is not black, `padding` pixels wider and clamped; None for a black mask."""
    box = mask.getbbox()
    if box is None:
        return None
    left, top, right, bottom = box
    return (
        max(left - padding, 0),
        max(top - padding, 0),
        min(right + padding, mask.width),
        min(bottom + padding, mask.height),
    )


def expand_to_aspect(box: Box, width: int, height: int, image_width: int, image_height: int) -> Box:
    """`box` made wider or higher until it has the proportions of `width` x `height`, moved to stay in the picture.

    A picture too small for that gives a box that ends at its edges; the proportions are not met then.
    """
    left, top, right, bottom = box
    target, own = width / height, (right - left) / (bottom - top)
    if own > target:
        top, bottom = _grow(top, bottom, (right - left) / target, image_height)
    else:
        left, right = _grow(left, right, (bottom - top) * target, image_width)
    return left, top, right, bottom


def _grow(start: int, end: int, wanted: float, limit: int) -> tuple[int, int]:
    """A stretch of about `wanted` pixels around start..end within 0..limit."""
    missing = int(wanted - (end - start))
    start -= missing // 2
    end += missing - missing // 2
    if end >= limit:
        start, end = start - (end - limit), limit
    if start < 0:
        start, end = 0, end - start
    return start, min(end, limit)


def brighten(mask: Image.Image) -> Image.Image:
    """Twice as bright, clipped: the overlay mask of "Whole picture", so that the seam lies in the blur's outer half."""
    return mask.point(lambda value: min(2 * value, 255))


def latent_mask(mask: Image.Image, width: int, height: int, *, rounded: bool = True) -> NDArray[np.float32]:
    """`mask` at latent size: (height, width) in 0..1, where 1 is repainted; `rounded` makes it 0 or 1.

    Bicubic, then rounded half to even, as in A1111.
    """
    small = mask.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(small)[:, :, 0].astype(np.float32) / 255.0
    return np.around(values) if rounded else values


def fill_masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """`image` (RGB) with its masked area painted over by ever less blurred copies of what surrounds it.

    Masked content "fill"; A1111 does it before "latent noise" and "latent nothing" too.
    """
    filled = Image.new("RGBA", image.size)
    cut = Image.new("RGBa", image.size)
    cut.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    for radius, times in _FILL_BLURS:
        blurred = cut.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            filled.alpha_composite(blurred)
    return filled.convert("RGB")
