"""Euler and Euler ancestral: one model call a step, first order.

Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv:2206.00364).
"""

from __future__ import annotations

from itertools import pairwise

from modules.sampling.flow import renoised
from modules.sampling.sampler import CHURN, SigmaRun, Step, Steps, sampler
from modules.sampling.steps import ancestral_split, churned, denoised_at, derivative


@sampler(
    "Euler a",
    aliases=("k_euler_a", "k_euler_ancestral"),
    reseeds=True,
    eta_setting="eta_ancestral",
    knows_flow=True,
    uses=frozenset({"eta"}),
)
def euler_ancestral(run: SigmaRun) -> Steps:
    """An Euler step further down than the next level, then fresh noise up to it. `s_noise` has no effect in A1111."""
    x = run.x
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        start, denoised = x, denoised_at(run.denoiser, x, sigma)
        if run.process == "flow":
            down, scale, up = renoised(sigma, sigma_next, run.options.eta)
        else:
            down, up = ancestral_split(sigma, sigma_next, run.options.eta)
            scale = 1.0
        x = (x + derivative(x, sigma, denoised) * (down - sigma)) * scale
        if sigma_next > 0:
            x = x + run.noise.next() * up
        yield Step(index, sigma.item(), start, denoised)
    return x


@sampler("Euler", aliases=("k_euler",), uses=CHURN)
def euler(run: SigmaRun) -> Steps:
    """Algorithm 2 without its correction: x moves along (x − x0) / σ."""
    x = run.x
    for index, (sigma, sigma_next) in enumerate(pairwise(run.sigmas)):
        x, sigma_hat = churned(run, x, index)
        start, denoised = x, denoised_at(run.denoiser, x, sigma_hat)
        x = x + derivative(x, sigma_hat, denoised) * (sigma_next - sigma_hat)
        yield Step(index, sigma.item(), start, denoised)
    return x
