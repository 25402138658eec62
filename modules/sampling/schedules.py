"""Schedules: which noise levels a sampler passes, and the registry of them.

`sigmas_for` is the door; the formulas below it take numbers and return levels. Every schedule is float32 on the CPU and
in A1111's arithmetic, because a picture made again must agree to the last rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modules.errors import InvalidRequest
from modules.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from modules.sampling.prediction import NoiseLevels

AUTOMATIC = "Automatic"

AYS_SD1 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
"""The published levels for 10 steps. Sabour et al. 2024 (arXiv:2404.14507), appendix."""


@dataclass(frozen=True)
class ScheduleOptions:
    """What a person can turn on a schedule; 0 means "the default". Keys of A1111's settings, in the same words.

    `old_karras_sigmas` replaces the model's limits by 0.1 and 10 (`use_old_karras_scheduler_sigmas`).
    `is_sdxl` chooses the table of Align Your Steps.
    """

    sigma_min: float = 0.0
    sigma_max: float = 0.0
    rho: float = 0.0
    beta_alpha: float = 0.6
    beta_beta: float = 0.6
    old_karras_sigmas: bool = False
    is_sdxl: bool = False


@dataclass(frozen=True)
class Limits:
    """What a formula is given: its limits, the model's levels (for those that need them) and the options."""

    sigma_min: float
    sigma_max: float
    rho: float
    levels: NoiseLevels
    options: ScheduleOptions


@dataclass(frozen=True)
class ScheduleInfo:
    """A schedule with what the planner and the page must know about it.

    `make(steps, limits)` returns float32 levels on the CPU. `name` is A1111's internal name. `default_rho` 0 says that
    rho has no meaning. `need_inner_model`: made from the model's own table of levels rather than from limits alone.
    """

    label: str
    name: str
    make: Callable[[int, Limits], Tensor]
    aliases: tuple[str, ...] = ()
    default_rho: float = 0.0
    need_inner_model: bool = False


SCHEDULES: Registry[ScheduleInfo] = Registry("schedule")


def sigmas_for(
    schedule: str,
    steps: int,
    levels: NoiseLevels,
    options: ScheduleOptions | None = None,
    *,
    discard_penultimate: bool = False,
) -> Tensor:
    """The noise levels of a run, float32 on the CPU, falling, and (but for KL Optimal) ending in 0.

    Usually `steps + 1` values; DDIM may have one more. "Automatic" stands for Uniform here: a sampler's own default is
    resolved before (`names.effective_schedule`). `discard_penultimate` makes one level more and drops the last but one.
    No steps make the single level 0.

    Raises UnknownName for a schedule that does not exist, InvalidRequest for limits that leave no range.
    """
    import torch

    info = SCHEDULES.get(schedule)
    if steps == 0:
        return torch.zeros(1)
    limits = _limits(info, levels, options or ScheduleOptions())
    sigmas = info.make(steps + 1 if discard_penultimate else steps, limits).to(torch.float32)
    return torch.cat([sigmas[:-2], sigmas[-1:]]) if discard_penultimate else sigmas


def schedule(label: str, name: str, **info: object) -> Callable:
    """Register the decorated function `(steps, limits) → levels` as a schedule; `info` are fields of ScheduleInfo."""

    def register(make: Callable[[int, Limits], Tensor]) -> Callable[[int, Limits], Tensor]:
        entry = ScheduleInfo(label=label, name=name, make=make, **info)  # type: ignore[arg-type]
        own = (name,) if name.casefold() != label.casefold() else ()
        SCHEDULES.add(label, entry, aliases=(*own, *entry.aliases))
        return make

    return register


@schedule(AUTOMATIC, "automatic", need_inner_model=True)
def automatic(steps: int, limits: Limits) -> Tensor:
    """Uniform: what a sampler without a default of its own gets."""
    return uniform(steps, limits)


@schedule("Uniform", "uniform", need_inner_model=True)
def uniform(steps: int, limits: Limits) -> Tensor:
    """Evenly spaced in the model's time, from its last to its first; ignores the limits."""
    return _then_zero(limits.levels.uniform(steps))


@schedule("Karras", "karras", default_rho=7.0)
def karras(steps: int, limits: Limits) -> Tensor:
    """Evenly spaced in σ^(1/ρ). Karras et al. 2022 (arXiv:2206.00364), equation 5."""
    return karras_levels(steps, limits.sigma_min, limits.sigma_max, limits.rho)


@schedule("Exponential", "exponential")
def exponential(steps: int, limits: Limits) -> Tensor:
    """Evenly spaced in ln σ."""
    import torch

    return _then_zero(torch.linspace(math.log(limits.sigma_max), math.log(limits.sigma_min), steps).exp())


@schedule("Polyexponential", "polyexponential", default_rho=1.0)
def polyexponential(steps: int, limits: Limits) -> Tensor:
    """A polynomial of degree ρ in ln σ; with ρ = 1 the same as Exponential."""
    import torch

    ramp = torch.linspace(1, 0, steps) ** limits.rho
    log_min, log_max = math.log(limits.sigma_min), math.log(limits.sigma_max)
    return _then_zero(torch.exp(ramp * (log_max - log_min) + log_min))


@schedule("SGM Uniform", "sgm_uniform", need_inner_model=True, aliases=("SGMUniform",))
def sgm_uniform(steps: int, limits: Limits) -> Tensor:
    """Evenly spaced in time between the limits, without the lower end. Stability AI's generative-models."""
    import torch

    start, end = _times(limits)
    return _at_times(torch.linspace(start, end, steps + 1)[:-1], limits)


@schedule("KL Optimal", "kl_optimal")
def kl_optimal(steps: int, limits: Limits) -> Tensor:
    """Evenly spaced in arctan σ. Sabour et al. 2024 (arXiv:2404.14507), section 3.

    As in A1111 the last level is σ_min, with no 0 after it: the result keeps a trace of noise.
    """
    import torch

    low, high = torch.tensor(limits.sigma_min).arctan(), torch.tensor(limits.sigma_max).arctan()
    index = torch.arange(steps + 1)
    return torch.tan(index / steps * low + (1.0 - index / steps) * high)


@schedule("Align Your Steps", "align_your_steps")
def align_your_steps(steps: int, limits: Limits) -> Tensor:
    """The published 11 levels for the family, interpolated in ln σ to `steps`; ignores the limits.

    Sabour et al. 2024 (arXiv:2404.14507). With 11 steps the table is used as it stands.
    """
    import numpy as np
    import torch

    if limits.levels.process == "flow":
        raise InvalidRequest(
            "the schedule Align Your Steps was measured for SD 1 and SDXL and has no levels for flow models such as "
            "SD 3; choose another one, say Automatic",
            field="sampling.schedule",
        )
    table = AYS_SDXL if limits.options.is_sdxl else AYS_SD1
    if steps == len(table):
        return torch.tensor([*table, 0.0], dtype=torch.float32)
    rising = np.log(table[::-1])
    points = np.interp(np.linspace(0, 1, steps), np.linspace(0, 1, len(table)), rising)
    return torch.tensor([*np.exp(points)[::-1], 0.0], dtype=torch.float32)


@schedule("Simple", "simple", need_inner_model=True)
def simple(steps: int, limits: Limits) -> Tensor:
    """Every (T / steps)-th of the model's levels, from the highest; ignores the limits. ComfyUI's "simple"."""
    import torch

    sigmas = limits.levels.sigmas
    stride = len(sigmas) / steps
    return torch.tensor([*(float(sigmas[-(1 + int(i * stride))]) for i in range(steps)), 0.0], dtype=torch.float32)


@schedule("Normal", "normal", need_inner_model=True)
def normal(steps: int, limits: Limits) -> Tensor:
    """Evenly spaced in time between the limits; Uniform when those are the model's own."""
    import torch

    start, end = _times(limits)
    return _at_times(torch.linspace(start, end, steps), limits)


@schedule("DDIM", "ddim", need_inner_model=True)
def ddim(steps: int, limits: Limits) -> Tensor:
    """The model's levels 1, 1 + k, 1 + 2k … with k = T // steps; ignores the limits.

    Where `steps` does not divide T there may be more levels than asked, as in A1111: every 33rd of 1000 makes 31 of 30.
    """
    import torch

    sigmas = limits.levels.sigmas
    stride = max(len(sigmas) // steps, 1)
    return torch.tensor([*(float(sigma) for sigma in sigmas[1::stride].flip(0)), 0.0], dtype=torch.float32)


@schedule("Beta", "beta", need_inner_model=True)
def beta(steps: int, limits: Limits) -> Tensor:
    """Quantiles of a beta distribution, scaled to the limits: dense at both ends for α, β below 1.

    Lee et al. 2024 (arXiv:2407.12173) space *times* so; A1111 spaces σ itself, which is kept.
    """
    import numpy as np
    import torch
    from scipy.special import betaincinv

    quantiles = betaincinv(limits.options.beta_alpha, limits.options.beta_beta, 1 - np.linspace(0, 1, steps))
    span = limits.sigma_max - limits.sigma_min
    return torch.tensor([*(limits.sigma_min + quantile * span for quantile in quantiles), 0.0], dtype=torch.float32)


def karras_levels(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """`steps` levels evenly spaced in σ^(1/ρ) from `sigma_max` to `sigma_min`, then 0: float32 (steps + 1,)."""
    import torch

    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _then_zero((high + torch.linspace(0, 1, steps) * (low - high)) ** rho)


OLD_KARRAS_LIMITS = (0.1, 10.0)
"""Lowest and highest level with `use_old_karras_scheduler_sigmas`."""


def _limits(info: ScheduleInfo, levels: NoiseLevels, options: ScheduleOptions) -> Limits:
    model_min, model_max = float(levels.sigmas[0]), float(levels.sigmas[-1])
    if options.old_karras_sigmas:
        model_min, model_max = OLD_KARRAS_LIMITS
    sigma_min, sigma_max = options.sigma_min or model_min, options.sigma_max or model_max
    if not 0 < sigma_min < sigma_max:
        raise InvalidRequest(
            f"the schedule is to run from sigma {sigma_max:g} down to {sigma_min:g}, but levels fall and stay above 0; "
            f'change the settings "sigma min" and "sigma max" (0 means the default, {model_min:g} and {model_max:g})'
        )
    return Limits(sigma_min, sigma_max, rho=options.rho or info.default_rho, levels=levels, options=options)


def _times(limits: Limits) -> tuple[Tensor, Tensor]:
    """The times of the upper and the lower limit."""
    import torch

    return tuple(limits.levels.to_time(torch.tensor(sigma)) for sigma in (limits.sigma_max, limits.sigma_min))


def _at_times(times: Tensor, limits: Limits) -> Tensor:
    return _then_zero(limits.levels.to_sigma(times))


def _then_zero(sigmas: Tensor) -> Tensor:
    import torch

    return torch.cat([sigmas, sigmas.new_zeros([1])])
