"""Where a run begins and ends: discrete times, and which part of a schedule img2img takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

MAX_STRENGTH = 0.999


class Img2ImgSteps(NamedTuple):
    """`schedule`: the steps the full schedule is made for; `encoded`: A1111's t_enc, how far up in it x starts."""

    schedule: int
    encoded: int


def img2img_steps(steps: int, strength: float, *, is_exact: bool = False) -> Img2ImgSteps:
    """How many steps a denoising strength of 0 to 1 makes of `steps` (A1111 section 3.6).

    Normally the share `strength` of the steps is run; with `is_exact` (the setting `img2img_fix_steps`, and always in a
    hires pass) the schedule is stretched so that `steps` are run. A schedule of 0 steps (exact, strength 0) changes
    nothing.
    """
    strength = min(strength, MAX_STRENGTH)
    if is_exact:
        return Img2ImgSteps(schedule=int(steps / strength) if strength > 0 else 0, encoded=steps - 1)
    return Img2ImgSteps(schedule=steps, encoded=int(strength * steps))


def tail_start(steps: Img2ImgSteps) -> int:
    """The first index of a schedule's levels that img2img uses: `sigmas[tail_start(…):]`, `encoded + 1` steps long."""
    return steps.schedule - steps.encoded - 1


def timestep_grid(steps: int) -> tuple[int, ...]:
    """The rising discrete times of DDIM and its kin: every (1000 // steps)-th, plus 1, at most 999.

    Where `steps` does not divide 1000 there are more than asked: 30 steps make 31 times.
    """
    return tuple(min(time + 1, 999) for time in range(0, 1000, max(1000 // steps, 1)))


def path_limits(sigmas: Tensor) -> tuple[float, float]:
    """The lowest positive and the highest of some levels: the ends of a Brownian path, `SigmaRun.sigma_min` and `_max`.

    Of the full schedule, in img2img too; of the tail that is run with `no_dpmpp_sde_batch_determinism`. (0, 0) if all
    levels are 0.
    """
    positive = sigmas[sigmas > 0]
    return (positive.min().item(), positive.max().item()) if len(positive) else (0.0, 0.0)
