"""Gaussian data, for which the best denoiser and the path of the probability flow are known in closed form.

x0 ~ N(MEAN, SPREAD²) in every element. At level σ the best x0 is (MEAN σ² + x SPREAD²) / (σ² + SPREAD²), and the flow
keeps (x − MEAN) / sqrt(σ² + SPREAD²) constant.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from modules.sampling.flow import steps_of
from modules.sampling.grid import path_limits, timestep_grid
from modules.sampling.names import effective_schedule
from modules.sampling.noise import ImageNoise
from modules.sampling.prediction import ConsistencyLevels, DiscreteLevels, FlowLevels, default_alphas_cumprod
from modules.sampling.sampler import SAMPLERS, SamplerOptions, SigmaRun, Span, Step, TimestepRun
from modules.sampling.schedules import sigmas_for

MEAN, SPREAD = 0.7, 0.5


def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    assert sigma.shape == (len(x),)  # the contract: one level a picture
    sigma = sigma.reshape(-1, 1, 1, 1)
    return (MEAN * sigma**2 + x * SPREAD**2) / (sigma**2 + SPREAD**2)


def on_path(x: Tensor, sigma: Tensor | float, sigma_next: Tensor | float) -> Tensor:
    """Where the exact flow takes x from one level to another."""
    stretch = ((sigma_next**2 + SPREAD**2) / (sigma**2 + SPREAD**2)) ** 0.5
    return MEAN + (x - MEAN) * stretch


class NoisePredictor:
    """The best prediction of the noise in sqrt(ᾱ) x0 + sqrt(1 − ᾱ) ε, at fractional times too."""

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.alphas_cumprod = alphas_cumprod
        self.times: list[float] = []

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        assert timestep.shape == (len(x),)
        self.times.append(timestep[0].item())
        alpha = alpha_at(self.alphas_cumprod, self.times[-1])
        sigma = ((1 - alpha) / alpha) ** 0.5
        scaled = x / alpha**0.5
        self.unconditional = (scaled - denoiser(scaled, torch.full((len(x),), sigma))) / sigma
        return self.unconditional


def alpha_at(alphas_cumprod: Tensor, time: float) -> float:
    """ᾱ at a fractional time, interpolated in its logarithm as UniPC does."""
    low = min(int(time), len(alphas_cumprod) - 2)
    ends = alphas_cumprod[low : low + 2].double().log()
    return torch.lerp(ends[0], ends[1], time - low).exp().item()


class NoNoise:
    """In place of ImageNoise where nothing random may reach the result."""

    def __init__(self, like: Tensor) -> None:
        self.like = like

    def next(self) -> Tensor:
        return torch.zeros_like(self.like)

    def brownian(self, sigma_min: float, sigma_max: float):
        return lambda sigma, sigma_next: torch.zeros_like(self.like)


def finish(steps: Generator[Step, None, Tensor]) -> tuple[list[Step], Tensor]:
    """All that a sampler yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return seen, end.value


def sample(name: str, steps: int, *, seeds=(1,), shape=(4, 16, 16), schedule="Automatic", **options):
    """A whole run from noise as the engine would make it: the steps seen and the final latents, in x0's scale."""
    info, alphas = SAMPLERS.get(name), default_alphas_cumprod()
    noise = ImageNoise(shape, seeds)
    start = noise.next()
    if info.eta_setting == "eta_ddim":
        options = {"eta": 0.0, **options}
    if info.grid == "timesteps":
        times, predictor = timestep_grid(steps), NoisePredictor(alphas)
        seen, latents = finish(
            info.sample(TimestepRun(predictor, start, times, alphas, noise, SamplerOptions(**options)))
        )
        return seen, latents
    make = ConsistencyLevels if info.uses_consistency_levels else DiscreteLevels
    levels = make.from_alphas(alphas)
    sigmas = sigmas_for(
        effective_schedule(name, schedule), steps, levels, discard_penultimate=info.discards_penultimate
    )
    run = SigmaRun(
        denoiser,
        start * sigmas[0],
        sigmas,
        noise,
        SamplerOptions(**options),
        *path_limits(sigmas),
        span=Span(levels.sigmas[-1].item(), levels.sigmas[0].item(), steps),
    )
    return finish(info.sample(run))


def flow_error(name: str, steps: int, *, high=5.0, low=1.0, **options) -> float:
    """How far a run without noise ends from the exact flow: the largest error of any element.

    In float64 and between two positive levels, evenly spaced in ln σ, so that neither rounding nor the step to level 0
    hides the sampler's order.
    """
    generator = torch.Generator().manual_seed(0)
    x = MEAN + high * torch.randn(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    info = SAMPLERS.get(name)
    sigmas = torch.logspace(0, 1, steps + 1, base=low / high, dtype=torch.float64) * high
    options = SamplerOptions(**{"eta": 0.0, **options})
    run = SigmaRun(denoiser, x, sigmas, NoNoise(x), options, low, high, span=Span(high, low, steps))
    _, latents = finish(info.sample(run))
    return (latents - on_path(x, high, low)).abs().max().item()


def timestep_error(name: str, steps: int, **options) -> float:
    """As `flow_error`, for the samplers over discrete times: from the last time of their grid to the first."""
    alphas = default_alphas_cumprod().double()
    times, info = timestep_grid(steps), SAMPLERS.get(name)
    # UniPC starts at the last trained time whatever the grid's last one is, and ends at the first.
    start, end = (999, 0) if name == "UniPC" else (times[-1], times[0])
    alpha, alpha_end = (alpha_at(alphas, time) for time in (start, end))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    run = TimestepRun(NoisePredictor(alphas), x, times, alphas, NoNoise(x), SamplerOptions(**{"eta": 0.0, **options}))
    _, latents = finish(info.sample(run))
    sigma, sigma_end = (((1 - a) / a) ** 0.5 for a in (alpha, alpha_end))
    return (latents / alpha_end**0.5 - on_path(x / alpha**0.5, sigma, sigma_end)).abs().max().item()


def flow_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """The best x0 of x = (1 − σ) x0 + σ ε: the same as that of x / (1 − σ) at level σ / (1 − σ)."""
    assert sigma.shape == (len(x),)
    sigma = sigma.reshape(-1, 1, 1, 1)
    share = 1 - sigma
    return MEAN + share * SPREAD**2 / ((share * SPREAD) ** 2 + sigma**2) * (x - share * MEAN)


def sample_flow(name: str, steps: int, *, seeds=(1,), shape=(4, 32, 32), **options) -> Tensor:
    """The final latents of a flow model's run from noise, as the engine would make it."""
    info, levels = SAMPLERS.get(name), FlowLevels.from_shift()
    noise = ImageNoise(shape, seeds)
    schedule = effective_schedule(name, "Automatic")
    sigmas = sigmas_for(schedule, steps, levels, discard_penultimate=info.discards_penultimate)
    run = SigmaRun(
        flow_denoiser,
        noise.next() * sigmas[0],
        sigmas,
        noise,
        SamplerOptions(**options),
        *path_limits(sigmas),
        span=Span(levels.sigmas[-1].item(), levels.sigmas[0].item(), steps),
        process=levels.process,
    )
    return finish(steps_of(info, run))[1]
