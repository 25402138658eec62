"""PLMS: DDIM's update with noise extrapolated from the last four predictions (Adams–Bashforth).

Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds" (arXiv:2202.09778), algorithm 2, with
CompVis's start: one Heun-like step of two calls in place of three Runge–Kutta steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.sampling.ddim import DiscreteGrid, predict_at
from modules.sampling.sampler import Step, Steps, TimestepRun, sampler

if TYPE_CHECKING:
    from torch import Tensor


@sampler("PLMS", grid="timesteps", aliases=("plms",))
def plms(run: TimestepRun) -> Steps:
    """One call a step but for the first, which makes two; like DDIM it ends at the first time of its grid."""
    x, grid = run.x, DiscreteGrid.of(run)
    history: list[Tensor] = []  # latest first
    for index in range(len(run.timesteps) - 1):
        at = len(run.timesteps) - 1 - index
        start, epsilon = x, predict_at(run.predictor, x, run.timesteps[at])
        if history:
            blended = _extrapolated(epsilon, history)
        else:
            reached, _ = _transfer(grid, at, x, epsilon)
            blended = (epsilon + predict_at(run.predictor, reached, run.timesteps[at - 1])) / 2
        x, denoised = _transfer(grid, at, x, blended)
        history = [epsilon, *history[:2]]
        yield Step(index, grid.level(at), start, denoised)
    return x


def _transfer(grid: DiscreteGrid, at: int, x: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    """x at the time before `at`, and x0: DDIM's update without fresh noise (the paper's equation 11)."""
    denoised = (x - grid.noise_share[at] * epsilon) / grid.alphas[at].sqrt()
    towards = (1.0 - grid.previous[at]).sqrt() * epsilon
    return grid.previous[at].sqrt() * denoised + towards, denoised


def _extrapolated(epsilon: Tensor, history: list[Tensor]) -> Tensor:
    """Adams–Bashforth of order 2 to 4 over evenly spaced times."""
    if len(history) == 1:
        return (3 * epsilon - history[0]) / 2
    if len(history) == 2:
        return (23 * epsilon - 16 * history[0] + 5 * history[1]) / 12
    return (55 * epsilon - 59 * history[0] + 37 * history[1] - 9 * history[2]) / 24
