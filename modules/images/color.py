"""Colour correction: the palette of one picture given to another, as A1111 does it for img2img.

The conversions give the bytes that OpenCV's 8-bit RGB ↔ Lab gives; the matching is scikit-image's histogram matching.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""(height, width, 3)"""

_ONE = 1 << 15  # Lab's f(t) in fixed point
_BASE = 1 << 14  # fixed point of the way back
_LOWEST = -8145  # smallest index into the table of cubes
_WHITE = (0.950456, 1.0, 1.088754)
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_TO_RGB = ((3.240479, -1.53715, -0.498535), (-0.969256, 1.875991, 0.041556), (0.055648, -0.204043, 1.057311))


def color_correct(image: Image.Image, like: Image.Image) -> Image.Image:
    """`image` (RGB) with the hue and saturation that matching its Lab histogram to that of `like` gives it.

    The luminance stays the picture's own.
    """
    corrected = lab_to_rgb(match_histograms(rgb_to_lab(_rgb(image)), rgb_to_lab(_rgb(like))))
    return Image.fromarray(luminosity_blend(corrected, _rgb(image)))


def match_histograms(pixels: Pixels, like: Pixels) -> Pixels:
    """`pixels` with each channel's values distributed as those of `like`; fractions are cut off."""
    result = np.empty_like(pixels)
    for channel in range(pixels.shape[-1]):
        source, template = pixels[..., channel], like[..., channel]
        template_counts = np.bincount(template.ravel())
        template_values = np.nonzero(template_counts)[0]
        source_share = np.cumsum(np.bincount(source.ravel())) / source.size
        template_share = np.cumsum(template_counts[template_values]) / template.size
        matched = np.interp(source_share, template_share, template_values)
        result[..., channel] = matched[source].astype(np.uint8)
    return result


def luminosity_blend(background: Pixels, foreground: Pixels) -> Pixels:
    """The colour of `background` with the luminance of `foreground`: W3C's "luminosity" blend mode.

    https://www.w3.org/TR/compositing-1/#blendingluminosity, with 0.299, 0.587, 0.114 for luminance.
    """
    back, front = background / 255.0, foreground / 255.0
    shifted = back + (_luminance(front) - _luminance(back))[..., None]
    light = _luminance(shifted)[..., None]
    lowest, highest = shifted.min(axis=-1, keepdims=True), shifted.max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        raised = np.where(lowest < 0, light + (shifted - light) * light / (light - lowest), shifted)
        lowered = np.where(highest > 1, light + (raised - light) * (1 - light) / (highest - light), raised)
    return (np.clip(lowered, 0, 1) * 255).astype(np.uint8)


def rgb_to_lab(pixels: Pixels) -> Pixels:
    """8-bit Lab (D65; L in 0..255, a and b around 128) of 8-bit sRGB."""
    linear, root = _forward_tables()
    red, green, blue = (linear[pixels[..., channel]] for channel in range(3))
    fx, fy, fz = (root[_shift(c[0] * red + c[1] * green + c[2] * blue, 12)] for c in _forward_weights())
    light = _shift(296 * fy - (16 * 255 * _ONE + 50) // 100, 15)
    a = _shift(500 * (fx - fy) + 128 * _ONE, 15)
    b = _shift(200 * (fy - fz) + 128 * _ONE, 15)
    return np.clip(np.stack((light, a, b), axis=-1), 0, 255).astype(np.uint8)


def lab_to_rgb(pixels: Pixels) -> Pixels:
    """8-bit sRGB of 8-bit Lab as `rgb_to_lab` makes it; colours outside sRGB are clipped."""
    light_y, light_f, cubes, gamma = _backward_tables()
    light, a, b = (pixels[..., channel].astype(np.int64) for channel in range(3))
    y, fy = light_y[light], light_f[light]
    fx = fy + ((5 * a * 53687 + (1 << 7)) >> 13) - 128 * _BASE // 500
    fz = fy - (((b * 41943 + (1 << 4)) >> 9) - 128 * _BASE // 200 + 1)
    x, z = cubes[fx - _LOWEST], cubes[fz - _LOWEST]
    channels = (gamma[np.clip(_shift(c[0] * x + c[1] * y + c[2] * z, 14), 0, 4095)] for c in _backward_weights())
    return np.stack(tuple(channels), axis=-1)


def _rgb(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def _luminance(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]


def _shift(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Division by 2 ** bits, rounded half up."""
    return (values + (1 << (bits - 1))) >> bits


@cache
def _forward_weights() -> NDArray[np.int64]:
    return _whole(np.array(_TO_XYZ) / np.array(_WHITE)[:, None] * 4096)


@cache
def _backward_weights() -> NDArray[np.int64]:
    return _whole(np.array(_TO_RGB) * np.array(_WHITE)[None, :] * 4096)


@cache
def _forward_tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """sRGB byte → linear light in 0..2040; linear light in 0..3071 → Lab's f."""
    value = np.arange(256) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    share = np.arange(3072) / (255.0 * 8)
    root = np.where(share < 216 / 24389, share * (841 / 108) + 16 / 116, np.cbrt(share))
    return _whole(255 * 8 * linear), _whole(_ONE * root.astype(np.float32))


@cache
def _backward_tables() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Pixels]:
    """L → Y, L → f(Y), f → cube (by f - _LOWEST), linear light in 0..4095 → sRGB byte."""
    light = np.arange(256)
    f = _BASE * 16 / 116 + light * _BASE * 5 / (3 * 17 * 29)
    y = np.where(light <= 20, light * _BASE * 20 * 9 / (17 * 29**3), f**3 / (_BASE * _BASE))
    index = np.arange(_LOWEST, _BASE * 9 // 4 + _LOWEST)
    cube = np.where(
        index <= 3390,
        _cut(index * 108, 841) - _cut(_BASE * 16 * 108, 116 * 841),
        (index * index // _BASE) * index // _BASE,
    )
    share = np.arange(4096) / 4096
    gamma = np.where(share <= 0.0031308, share * 12.92, 1.055 * share ** (1 / 2.4) - 0.055)
    return _whole(y), _whole(f), cube, np.rint(255 * gamma).astype(np.uint8)


def _whole(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """The nearest integers, halves to even."""
    return np.rint(values).astype(np.int64)


def _cut(numerator: NDArray[np.int64] | int, denominator: int) -> NDArray[np.int64]:
    """Integer division that cuts towards zero, as C does."""
    value = np.asarray(numerator)
    return np.sign(value) * (np.abs(value) // denominator)
