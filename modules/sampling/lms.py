"""LMS: linear multistep of order up to 4 on uneven levels, one model call a step (Adams–Bashforth).

The method is textbook (Hairer, Nørsett, Wanner, "Solving Ordinary Differential Equations I", III.5); Katherine Crowson
applied it to the derivative of Karras et al. 2022 (arXiv:2206.00364).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.sampling.sampler import SigmaRun, Step, Steps, sampler
from modules.sampling.steps import denoised_at, derivative

if TYPE_CHECKING:
    import numpy as np

ORDER = 4


@sampler("LMS", aliases=("k_lms",))
def lms(run: SigmaRun) -> Steps:
    """Integrates the polynomial through the latest slopes; the first steps have fewer, so a lower order."""
    x, levels = run.x, run.sigmas.numpy()
    slopes: list = []  # latest first
    for index, sigma in enumerate(run.sigmas[:-1]):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        slopes = [derivative(x, sigma, denoised), *slopes[: ORDER - 1]]
        known = levels[index - len(slopes) + 1 : index + 1][::-1]
        weights = adams_weights(known, levels[index], levels[index + 1])
        x = x + sum(weight * slope for weight, slope in zip(weights, slopes, strict=True))
        yield Step(index, sigma.item(), start, denoised)
    return x


def adams_weights(known: np.ndarray, start: float, end: float) -> list[float]:
    """For each known point, the integral from start to end of the Lagrange basis polynomial that is 1 there.

    Two Gauss–Legendre nodes are exact for these polynomials of degree at most 3.
    """
    start, end = float(start), float(end)
    middle, half = (start + end) / 2, (end - start) / 2
    nodes = (middle - half / 3**0.5, middle + half / 3**0.5)
    return [half * sum(_basis(known, which, node) for node in nodes) for which in range(len(known))]


def _basis(known: np.ndarray, which: int, at: float) -> float:
    """The product of (at − σ_k) / (σ_j − σ_k); differences of known levels are rounded to float32, as A1111 does."""
    value = 1.0
    for other, point in enumerate(known):
        if other != which:
            value *= (at - float(point)) / float(known[which] - point)
    return value
