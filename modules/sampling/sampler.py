"""The contract of a sampler, and the registry of samplers.

A sampler is a generator: it is handed a denoiser, start latents and noise levels, yields a `Step` after every update,
and returns the final latents. Progress, previews, skip and interrupt are all "iterate this"; a sampler knows of none.

This module and every sampler file import torch only for type checking or inside functions: the web front lists
samplers and must not load torch (modules/README.md, "two processes").
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from modules.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


class Denoiser(Protocol):
    """Predicts the clean latents: (noisy latents (B, C, h, w), noise levels sigma (B,), float32) → x0."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...


class NoisePredictor(Protocol):
    """Predicts the noise, for samplers on the discrete time grid: (x (B, C, h, w), times 0…999 (B,)) → epsilon.

    Times are float32, whole numbers except UniPC's. `unconditional` is the prediction without the prompt from the
    latest call; DDIM CFG++ steps along it. A predictor may blend x with a source first (A1111 section 3.4).
    """

    unconditional: Tensor

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor: ...


class Noise(Protocol):
    """The random numbers of one pass. Picture k of a batch gets the numbers it would get alone."""

    def next(self) -> Tensor:
        """Fresh standard normal noise (B, C, h, w); every call advances every picture's generator."""
        ...

    def brownian(self, sigma_min: float, sigma_max: float) -> Callable[[Tensor, Tensor], Tensor]:
        """Increments of a Brownian path per picture between two noise levels, divided by sqrt|sigma − sigma_next|."""
        ...


@dataclass(frozen=True)
class SamplerOptions:
    """What a person can turn on a sampler; every sampler reads only what its info lists in `uses`."""

    eta: float = 1.0
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = float("inf")
    s_noise: float = 1.0
    uni_pc_variant: str = "bh1"
    uni_pc_skip_type: str = "time_uniform"
    uni_pc_order: int = 3
    uni_pc_lower_order_final: bool = True


@dataclass(frozen=True)
class Step:
    """One finished update: `index` from 0, the level it started at, the latents there and the x0 predicted there."""

    index: int
    sigma: float
    x: Tensor
    denoised: Tensor


Steps = Generator[Step, None, "Tensor"]
"""Yields a Step after every update, returns the final latents (B, C, h, w)."""


@dataclass(frozen=True)
class Span:
    """The range of levels, and the number of model calls, of a sampler that chooses its own levels."""

    sigma_max: float
    sigma_min: float
    steps: int


@dataclass(frozen=True)
class SigmaRun:
    """What a sampler over continuous noise levels is handed.

    `x` (B, C, h, w) already has noise of level `sigmas[0]`; `sigmas` is float32 on the CPU, falling, usually ending
    in 0; `sigma_min`, `sigma_max` are the limits of the *full* schedule (positive), for the Brownian path.
    `span` is read by DPM fast and DPM adaptive only: the model's own limits and the steps asked in txt2img, None in
    img2img and hires, where they cover what `sigmas` cover.
    """

    denoiser: Denoiser
    x: Tensor
    sigmas: Tensor
    noise: Noise
    options: SamplerOptions
    sigma_min: float
    sigma_max: float
    span: Span | None = None
    process: Literal["exploding", "flow"] = "exploding"  # what x and sigmas mean (prediction.Process)


@dataclass(frozen=True)
class TimestepRun:
    """What a sampler over the 1000 discrete times is handed.

    `timesteps` rise, as A1111 builds them (`range(0, 1000, 1000 // steps) + 1`, clipped to 999; img2img: their head);
    `alphas_cumprod` is float32 (1000,). `is_img2img` says that x starts from a picture (UniPC starts at its last time).
    """

    predictor: NoisePredictor
    x: Tensor
    timesteps: tuple[int, ...]
    alphas_cumprod: Tensor
    noise: Noise
    options: SamplerOptions
    is_img2img: bool = False


@dataclass(frozen=True)
class SamplerInfo:
    """A sampler with everything the planner and the page must know about it.

    `calls_per_step` is A1111's "second order" flag (2): prompt schedules and expected calls count double.
    `discards_penultimate`: schedules are made one step longer and lose the last but one level (section 3.3).
    `reseeds`: infotext tells the seed delta (ENSD) if eta is not 0. `is_brownian`: noise comes from `Noise.brownian`.
    `ignores_schedule`: chooses its own levels (DPM fast, DPM adaptive). `eta_setting`: the setting that gives eta when
    the request does not. `cfg_divisor`: guidance is the slider's value divided by this (DDIM CFG++).
    `renoises`: puts in fresh noise though no option says so. `knows_flow`: has formulas of its own for flow models.
    `uses_consistency_levels`: schedules and denoiser are over `prediction.ConsistencyLevels` (LCM).
    """

    name: str
    sample: Callable[..., Steps]
    grid: Literal["sigmas", "timesteps"]
    aliases: tuple[str, ...] = ()
    default_schedule: str | None = None
    calls_per_step: int = 1
    discards_penultimate: bool = False
    reseeds: bool = False
    is_brownian: bool = False
    ignores_schedule: bool = False
    eta_setting: Literal["eta_ancestral", "eta_ddim"] | None = None
    cfg_divisor: float = 1.0
    uses_consistency_levels: bool = False
    renoises: bool = False
    knows_flow: bool = False
    uses: frozenset[str] = frozenset()

    @property
    def adds_noise(self) -> bool:
        """Whether fresh noise enters on the way, churn aside."""
        return self.renoises or self.is_brownian or "eta" in self.uses


CHURN = frozenset({"s_churn", "s_tmin", "s_tmax", "s_noise"})
"""The options of the samplers with Karras et al.'s churn, for `uses`."""

SAMPLERS: Registry[SamplerInfo] = Registry("sampler")


def sampler(name: str, *, grid: Literal["sigmas", "timesteps"] = "sigmas", **info: object) -> Callable:
    """Register the decorated generator function as a sampler; `info` are the fields of SamplerInfo."""

    def register(sample: Callable[..., Steps]) -> Callable[..., Steps]:
        entry = SamplerInfo(name=name, sample=sample, grid=grid, **info)  # type: ignore[arg-type]
        SAMPLERS.add(name, entry, aliases=entry.aliases)
        return sample

    return register
