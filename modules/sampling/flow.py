"""Samplers that add noise, run on flow models: the same process in other coordinates, so that no formula is doubled.

A flow model's latents are x = (1 − σ) x0 + σ ε. Divided by 1 − σ they are x0 + σ' ε with σ' = σ / (1 − σ): the
variance-exploding form that the samplers are written in. A sampler that adds no noise needs none of this, since
dx/dσ = (x − x0) / σ holds in both; it runs on flow levels as it stands, as in A1111 and elsewhere.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from modules.sampling.sampler import SamplerInfo, SigmaRun, Span, Step

if TYPE_CHECKING:
    from torch import Tensor

HIGHEST = 0.9999
"""σ at which a run starts that asks for 1, where σ' would be infinite."""


def steps_of(info: SamplerInfo, run: SigmaRun) -> Generator[Step, None, Tensor]:
    """The steps of a sampler over a run, and its final latents."""
    if run.process == "exploding" or not _adds_noise(info, run):
        return (yield from info.sample(run))
    converted = as_exploding(run)
    for_result = 1 - float(run.sigmas[-1])
    latents = yield from info.sample(converted)
    return latents * for_result


def as_exploding(run: SigmaRun) -> SigmaRun:
    """A flow run in variance-exploding coordinates; its final latents times 1 − (last σ) are the flow run's."""
    sigmas = _exploding(run.sigmas.clamp(max=HIGHEST))
    denoiser, start = run.denoiser, float(run.sigmas[0].clamp(max=HIGHEST))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        level = sigma / (1 + sigma)
        return denoiser(x * (1 - level).to(x).reshape(-1, *[1] * (x.ndim - 1)), level)

    positive = sigmas[sigmas > 0]
    lowest, highest = _number(run.sigma_min), _number(run.sigma_max)
    span = run.span and Span(_number(run.span.sigma_max), _number(run.span.sigma_min), run.span.steps)
    return replace(
        run,
        denoiser=denoise,
        x=run.x / (1 - start),
        sigmas=sigmas,
        sigma_min=min(lowest, float(positive.min())) if len(positive) else lowest,
        sigma_max=max(highest, float(sigmas.max())),
        span=span,
        process="exploding",
    )


def renoised(sigma: Tensor, sigma_next: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
    """For an ancestral Euler step of a flow: the level to step down to, what to scale by, and the noise to add.

    At the lower level σd latents are (1 − σd) x0 + σd ε; scaled to x0's share at the next level they lack the noise
    that is added. With eta 1 the step goes down to σn · σn / σ. ComfyUI and Forge sample SD 3 so with "Euler a".
    """
    down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
    scale = (1 - sigma_next) / (1 - down)
    up = (sigma_next**2 - (down * scale) ** 2).clamp(min=0).sqrt()
    return down, scale, up


def _adds_noise(info: SamplerInfo, run: SigmaRun) -> bool:
    """Whether the sampler adds noise in a way that only the exploding form has."""
    churns = "s_churn" in info.uses and run.options.s_churn > 0
    return churns or (info.adds_noise and not info.knows_flow)


def _exploding(sigma: Tensor) -> Tensor:
    return sigma / (1 - sigma)


def _number(sigma: float) -> float:
    return min(sigma, HIGHEST) / (1 - min(sigma, HIGHEST))
