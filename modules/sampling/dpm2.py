"""DPM2 and DPM2 ancestral: two model calls a step, the second in the middle (in ln σ).

Lu et al. 2022, "DPM-Solver" (arXiv:2206.00927), algorithm 1 with r = 1/2, as k-diffusion combined it with Karras et
al.'s (arXiv:2206.00364) noise levels and churn.
"""

from __future__ import annotations

from itertools import pairwise

from modules.sampling.sampler import CHURN, SigmaRun, Step, Steps, sampler
from modules.sampling.steps import ancestral_split, churned, denoised_at, derivative


@sampler(
    "DPM2",
    aliases=("k_dpm_2",),
    default_schedule="Karras",
    calls_per_step=2,
    discards_penultimate=True,
    uses=CHURN,
)
def dpm2(run: SigmaRun) -> Steps:
    """A whole step along the slope half-way down; the step to level 0 is Euler's."""
    x = run.x
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        x, sigma_hat = churned(run, x, index)
        start, denoised = x, denoised_at(run.denoiser, x, sigma_hat)
        slope = derivative(x, sigma_hat, denoised)
        if sigma_next > 0:
            middle = sigma_hat.log().lerp(sigma_next.log(), 0.5).exp()
            halfway = x + slope * (middle - sigma_hat)
            slope = derivative(halfway, middle, denoised_at(run.denoiser, halfway, middle))
        x = x + slope * (sigma_next - sigma_hat)
        yield Step(index, sigma.item(), start, denoised)
    return x


@sampler(
    "DPM2 a",
    aliases=("k_dpm_2_a",),
    default_schedule="Karras",
    calls_per_step=2,
    discards_penultimate=True,
    reseeds=True,
    eta_setting="eta_ancestral",
    uses=frozenset({"eta", "s_noise"}),
)
def dpm2_ancestral(run: SigmaRun) -> Steps:
    """DPM2 to a level below the next one, then fresh noise up to it."""
    x = run.x
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        down, up = ancestral_split(sigma, sigma_next, run.options.eta)
        slope = derivative(x, sigma, denoised)
        if down == 0:
            x = x + slope * (down - sigma)
        else:
            middle = sigma.log().lerp(down.log(), 0.5).exp()
            halfway = x + slope * (middle - sigma)
            slope = derivative(halfway, middle, denoised_at(run.denoiser, halfway, middle))
            x = x + slope * (down - sigma)
            x = x + run.noise.next() * run.options.s_noise * up
        yield Step(index, sigma.item(), start, denoised)
    return x
