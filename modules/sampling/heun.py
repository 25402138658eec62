"""Heun: two model calls a step, second order. Karras et al. 2022 (arXiv:2206.00364), algorithm 2."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from modules.sampling.sampler import CHURN, Denoiser, SigmaRun, Step, Steps, sampler
from modules.sampling.steps import churned, denoised_at, derivative

if TYPE_CHECKING:
    from torch import Tensor


@sampler("Heun", aliases=("k_heun",), calls_per_step=2, uses=CHURN)
def heun(run: SigmaRun) -> Steps:
    """An Euler step, and again with the mean of the slopes at both ends; the step to level 0 is Euler's."""
    x = run.x
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        x, sigma_hat = churned(run, x, index)
        start, denoised = x, denoised_at(run.denoiser, x, sigma_hat)
        x = heun_update(run.denoiser, x, sigma_hat, sigma_next, denoised)
        yield Step(index, sigma.item(), start, denoised)
    return x


def heun_update(denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor) -> Tensor:
    """x at `sigma_next`, along the mean of the slopes here and there; to level 0 along the slope here alone."""
    slope, change = derivative(x, sigma, denoised), sigma_next - sigma
    if sigma_next > 0:
        reached = x + slope * change
        slope_there = derivative(reached, sigma_next, denoised_at(denoiser, reached, sigma_next))
        slope = (slope + slope_there) / 2
    return x + slope * change
