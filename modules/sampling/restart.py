"""Restart: Heun steps that once or twice jump back up to a higher level and come down again.

Xu et al. 2023, "Restart Sampling for Improving Generative Processes" (arXiv:2306.14878), algorithm 1, with A1111's
choice of interval (σ 0.1 to 2) and counts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from modules.sampling.heun import heun_update
from modules.sampling.sampler import SigmaRun, Step, Steps, sampler
from modules.sampling.schedules import karras_levels
from modules.sampling.steps import denoised_at

if TYPE_CHECKING:
    from torch import Tensor

RESTART_LOW, RESTART_HIGH = 0.1, 2.0


@sampler("Restart", aliases=("restart",), default_schedule="Karras", calls_per_step=2, renoises=True)
def restart(run: SigmaRun) -> Steps:
    """Plain Heun below 20 steps; from 20 one restart of 9 steps, from 36 two, each of a quarter of the steps."""
    x, last = run.x, None
    for index, (sigma, sigma_next) in enumerate(restart_path(run.sigmas)):
        if last is not None and sigma > last:
            x = x + run.noise.next() * (sigma**2 - last**2) ** 0.5
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        x = heun_update(run.denoiser, x, sigma, sigma_next, denoised)
        last = sigma_next
        yield Step(index, sigma.item(), start, denoised)
    return x


def restart_path(sigmas: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The (level, next level) of every Heun step, restarts included; their number is that of `sigmas`' steps.

    From 20 steps on the main path is made anew as Karras levels between the ends of `sigmas`, shortened by the steps
    that the restarts take.
    """
    steps = len(sigmas) - 1
    if steps < 20:
        return list(pairwise(sigmas))
    length, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    sigmas = karras_levels(steps - length * times, sigmas[-2].item(), sigmas[0].item())
    bottom, top = (int((sigmas - level).abs().argmin()) for level in (RESTART_LOW, RESTART_HIGH))
    path: list[tuple[Tensor, Tensor]] = []
    for index in range(len(sigmas) - 1):
        path.append((sigmas[index], sigmas[index + 1]))
        if index + 1 == bottom and top < bottom:
            again = karras_levels(length + 1, sigmas[bottom].item(), sigmas[top].item())[:-1]
            path.extend(list(pairwise(again)) * times)
    return path
