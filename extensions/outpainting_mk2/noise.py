"""Noise that looks like the picture around it: its spectrum and its colours are those of the known area.

The idea is that of A1111's script: an inpainting run that starts from such noise continues the picture's structure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def matched_noise(image: Floats, known: NDArray[np.bool_], falloff: float, color_variation: float) -> Floats:
    """`image` (height, width, 3), 0 … 1, with its unknown part filled with noise that matches the known part.

    `falloff` is the exponent on the known area's spectrum: above 1 keeps the coarse structure only, 0 gives white
    noise. `color_variation` 0 … 1 lets the channels differ. The same picture always gets the same noise.
    """
    if known.all() or not known.any():
        return image
    height, width = known.shape
    random = np.random.RandomState(0)
    window = known[..., None] * (_bell(height)[:, None] * _bell(width)[None, :])[..., None]
    spectrum = np.abs(np.fft.fft2(image * window, axes=(0, 1)))
    grey = random.random_sample((height, width, 1))
    white = grey + color_variation * (random.random_sample((height, width, 3)) - grey)
    shaped = np.fft.fft2(white * _bell(height)[:, None, None] * _bell(width)[None, :, None], axes=(0, 1))
    shaped *= spectrum**falloff
    noise = np.real(np.fft.ifft2(shaped, axes=(0, 1)))
    filled = image.copy()
    for channel in range(3):
        wanted = image[..., channel][known]
        filled[..., channel][~known] = _with_distribution(noise[..., channel][~known], wanted)
    return filled


def _bell(length: int) -> Floats:
    """A Gaussian over one side, so that the picture's edges do not ring in its spectrum."""
    place = np.linspace(-1.0, 1.0, length)
    return np.exp(-4.0 * place**2)


def _with_distribution(values: Floats, like: Floats) -> Floats:
    """`values` moved so that they are distributed like `like`, in the same order."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.linspace(0.0, 1.0, len(values))
    ordered = np.sort(like)
    return np.interp(ranks, np.linspace(0.0, 1.0, len(ordered)), ordered)
