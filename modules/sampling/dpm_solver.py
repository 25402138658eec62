"""DPM fast and DPM adaptive: single-step DPM-Solver of orders 1 to 3 on levels of its own choice, with t = −ln σ.

Lu et al. 2022, "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 Steps"
(arXiv:2206.00927), algorithms 1 to 4 and appendix C; the ancestral noise is k-diffusion's, and A1111 runs both with
eta 1 by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modules.errors import NotANumber
from modules.sampling.sampler import Denoiser, SigmaRun, Span, Step, Steps, sampler
from modules.sampling.steps import ancestral_split, denoised_at, from_log_time, log_time

if TYPE_CHECKING:
    from torch import Tensor


@sampler(
    "DPM fast",
    aliases=("k_dpm_fast",),
    ignores_schedule=True,
    reseeds=True,
    eta_setting="eta_ancestral",
    uses=frozenset({"eta", "s_noise"}),
)
def dpm_fast(run: SigmaRun) -> Steps:
    """As many third-order steps as the calls allow, evenly spaced in t, the rest of lower order ("DPM-Solver-fast")."""
    import torch

    span = _span(run)
    if span.sigma_min >= span.sigma_max:
        return (yield from _jump(run))
    orders = fast_orders(span.steps)
    t_end = log_time(torch.tensor(span.sigma_min))
    times = torch.linspace(log_time(torch.tensor(span.sigma_max)), t_end, len(orders) + 1)
    x = run.x
    for index, (order, t, t_next) in enumerate(zip(orders, times, times[1:], strict=False)):
        t_down, up = _ancestral(t, t_next, t_end, run.options.eta)
        slopes = _Slopes(run.denoiser, x, t)
        denoised = x - from_log_time(t) * slopes.first
        step = (_first_order, _second_order, _third_order)[order - 1]
        start, x = x, step(slopes, t_down)
        x = x + up * run.options.s_noise * run.noise.next()
        yield Step(index, from_log_time(t).item(), start, denoised)
    return x


@sampler(
    "DPM adaptive",
    aliases=("k_dpm_ad",),
    ignores_schedule=True,
    reseeds=True,
    eta_setting="eta_ancestral",
    uses=frozenset({"eta"}),
)
def dpm_adaptive(run: SigmaRun) -> Steps:
    """Third-order steps whose length follows their difference from second-order ones ("DPM-Solver-23").

    The number of steps does not depend on the number asked. A step that is refused is tried again shorter, and yields
    a Step too, since it costs three calls.
    """
    import torch

    span, eta = _span(run), run.options.eta
    if span.sigma_min >= span.sigma_max:
        return (yield from _jump(run))
    t_end = log_time(torch.tensor(span.sigma_min))
    t = log_time(torch.tensor(span.sigma_max))
    absolute, relative = torch.tensor(0.0078), torch.tensor(0.05)
    control = StepLength(length=0.05, order=1.5 if eta else 3.0)
    x = previous_low = run.x
    index = 0
    while t < t_end - 1e-5:
        t_next = torch.minimum(t_end, t + control.length)
        t_down, up = _ancestral(t, t_next, t_end, eta)
        slopes = _Slopes(run.denoiser, x, t)
        denoised = x - from_log_time(t) * slopes.first
        low, high = _second_order(slopes, t_down, r1=1 / 3), _third_order(slopes, t_down)
        tolerance = torch.maximum(absolute.to(x.device), relative * torch.maximum(low.abs(), previous_low.abs()))
        error = torch.linalg.norm((low - high) / tolerance) / x.numel() ** 0.5
        start, sigma = x, from_log_time(t).item()
        if control.accepts(float(error)):
            previous_low = low
            x = high + up * run.noise.next()
            t = t_next
        yield Step(index, sigma, start, denoised)
        index += 1
    return x


def fast_orders(calls: int) -> list[int]:
    """The orders of DPM-Solver-fast's steps, which together make `calls` model calls (section 3.4 of the paper).

    Of a multiple of three the last three calls are split 2 + 1, so that the end is taken in small steps.
    """
    if calls % 3 == 0:
        return [3] * (calls // 3 - 1) + [2, 1]
    return [3] * (calls // 3) + [calls % 3]


@dataclass
class StepLength:
    """Chooses how far the next step goes: an integral controller with a limiter (Söderlind 2003).

    k-diffusion's PID controller with its defaults (P 0, I 1, D 0), which keep only the latest error.
    """

    length: float
    order: float
    accept_safety: float = 0.81

    def accepts(self, error: float) -> bool:
        """Whether a step of this length with this error, relative to the tolerance, is good; sets the next length.

        Raises NotANumber for an error that is not finite: no length would ever be short enough.
        """
        if not math.isfinite(error):
            raise NotANumber(
                "DPM adaptive cannot choose a step: the network's prediction is not a number; "
                "run the network in float32 (--no-half), or choose another model"
            )
        wanted = (1 / (error + 1e-8)) ** (1 / self.order)
        factor = 1 + math.atan(wanted - 1)
        self.length *= factor
        return factor >= self.accept_safety


@dataclass
class _Slopes:
    """The noise predictions of one step by the place they were made at, so that two orders share their calls."""

    denoiser: Denoiser
    x: Tensor
    t: Tensor
    known: dict[float, Tensor] = field(default_factory=dict)

    @property
    def first(self) -> Tensor:
        return self.at(0.0, self.x, self.t)

    def at(self, r: float, x: Tensor, t: Tensor) -> Tensor:
        """ε at `t`, a share r of the step from its start, for the x reached there."""
        if r not in self.known:
            sigma = from_log_time(t)
            self.known[r] = (x - denoised_at(self.denoiser, x, sigma)) / sigma
        return self.known[r]


def _first_order(slopes: _Slopes, t_next: Tensor) -> Tensor:
    """DPM-Solver-1, equation 3.7: DDIM in another guise."""
    h = t_next - slopes.t
    return slopes.x - from_log_time(t_next) * h.expm1() * slopes.first


def _second_order(slopes: _Slopes, t_next: Tensor, r1: float = 1 / 2) -> Tensor:
    """DPM-Solver-2, algorithm 4 of the appendix: one more call at a share r1 of the step."""
    x, t, first = slopes.x, slopes.t, slopes.first
    h = t_next - t
    t_1 = t + r1 * h
    u_1 = x - from_log_time(t_1) * (r1 * h).expm1() * first
    second = slopes.at(r1, u_1, t_1)
    sigma = from_log_time(t_next)
    return x - sigma * h.expm1() * first - sigma / (2 * r1) * h.expm1() * (second - first)


def _third_order(slopes: _Slopes, t_next: Tensor, r1: float = 1 / 3, r2: float = 2 / 3) -> Tensor:
    """DPM-Solver-3, algorithm 2: two more calls at shares r1 and r2 of the step."""
    x, t, first = slopes.x, slopes.t, slopes.first
    h = t_next - t
    t_1, t_2 = t + r1 * h, t + r2 * h
    u_1 = x - from_log_time(t_1) * (r1 * h).expm1() * first
    second = slopes.at(r1, u_1, t_1)
    sigma_2 = from_log_time(t_2)
    bend = sigma_2 * (r2 / r1) * ((r2 * h).expm1() / (r2 * h) - 1)
    u_2 = x - sigma_2 * (r2 * h).expm1() * first - bend * (second - first)
    third = slopes.at(r2, u_2, t_2)
    sigma = from_log_time(t_next)
    return x - sigma * h.expm1() * first - sigma / r2 * (h.expm1() / h - 1) * (third - first)


def _ancestral(t: Tensor, t_next: Tensor, t_end: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Where the solver is to go, no further than `t_end`, and the noise level that lifts x from there to `t_next`."""
    import torch

    if not eta:
        return t_next, t_next.new_zeros(())
    down, _ = ancestral_split(from_log_time(t), from_log_time(t_next), eta)
    t_down = torch.minimum(t_end, log_time(down))
    return t_down, (from_log_time(t_next) ** 2 - from_log_time(t_down) ** 2) ** 0.5


def _jump(run: SigmaRun) -> Steps:
    """x0 in one step: all that can be done when the highest level is also the lowest (A1111 fails there)."""
    denoised = denoised_at(run.denoiser, run.x, run.sigmas[0])
    yield Step(0, run.sigmas[0].item(), run.x, denoised)
    return denoised


def _span(run: SigmaRun) -> Span:
    if run.span is not None:
        return run.span
    return Span(run.sigmas[0].item(), run.sigmas[-2].item(), len(run.sigmas) - 1)
