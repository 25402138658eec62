"""UniPC: a multistep predictor of any order and a corrector that costs no extra call.

Zhao et al. 2023, "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models"
(arXiv:2302.04867), algorithms 5 to 8 (predicting x0). Time here is continuous: t in (0, 1], with ln α piecewise linear
between the trained times t_j = (j + 1) / 1000.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from modules.errors import InvalidRequest
from modules.sampling.ddim import predict_at
from modules.sampling.sampler import SamplerOptions, Step, Steps, TimestepRun, sampler

if TYPE_CHECKING:
    from torch import Tensor

VARIANTS = ("bh1", "bh2", "vary_coeff")
SKIP_TYPES = ("time_uniform", "time_quadratic", "logSNR")


class Point(NamedTuple):
    """A place on the path: its time, and ln α, α, σ, λ = ln(α / σ) there, as scalar float32 tensors."""

    time: Tensor
    log_alpha: Tensor
    alpha: Tensor
    sigma: Tensor
    log_snr: Tensor


@dataclass(frozen=True)
class Known:
    """A model call already made: where, and the x0 (B, C, h, w) it predicted."""

    point: Point
    denoised: Tensor


@sampler(
    "UniPC",
    grid="timesteps",
    aliases=("unipc",),
    uses=frozenset({"uni_pc_variant", "uni_pc_skip_type", "uni_pc_order", "uni_pc_lower_order_final"}),
)
def unipc(run: TimestepRun) -> Steps:
    """As many steps, and model calls, as the run has times; the order starts at 1 and grows to `uni_pc_order`.

    Only the number of times matters in txt2img; in img2img the path starts at the last of them. With fewer steps than
    the order, the order is lowered to the number of steps (A1111 fails there).
    """
    options, steps = run.options, len(run.timesteps)
    _check(options)
    schedule = ContinuousSchedule.of(run.alphas_cumprod)
    order = min(options.uni_pc_order, steps)
    path = _path(schedule, run, steps)
    update = _varying_update if options.uni_pc_variant == "vary_coeff" else _bh_update

    def predict_x0(x: Tensor, point: Point) -> Tensor:
        epsilon = predict_at(run.predictor, x, schedule.model_time(point.time).item())
        return (x - point.sigma * epsilon) / point.alpha

    x = run.x
    known = [Known(path[0], predict_x0(x, path[0]))]  # latest last
    for index, point in enumerate(path[1:], start=1):
        wanted = min(index, order)
        if options.uni_pc_lower_order_final and index >= order:
            wanted = min(order, steps + 1 - index)
        is_last = index == steps
        start, here = x, known[-1]
        x, denoised = update(x, known[-wanted:], point, None if is_last else predict_x0, options.uni_pc_variant)
        if denoised is not None:
            known = [*known, Known(point, denoised)][-order:]
        level = (here.point.sigma / here.point.alpha).item()
        yield Step(index - 1, level, start, here.denoised)
    return x


@dataclass(frozen=True)
class ContinuousSchedule:
    """ln α at any time, from the model's table of T trained times. Times and answers are float32 tensors on the CPU."""

    times: Tensor  # (T,) 1/T … 1
    log_alphas: Tensor  # (T,) falling

    @classmethod
    def of(cls, alphas_cumprod: Tensor) -> ContinuousSchedule:
        import torch

        count = len(alphas_cumprod)
        return cls(times=torch.linspace(0.0, 1.0, count + 1)[1:], log_alphas=0.5 * alphas_cumprod.cpu().log())

    def at(self, time: Tensor) -> Point:
        log_alpha = interpolate(time, self.times, self.log_alphas)
        sigma = (1.0 - (2.0 * log_alpha).exp()).sqrt()
        log_snr = log_alpha - 0.5 * (1.0 - (2.0 * log_alpha).exp()).log()
        return Point(time, log_alpha, log_alpha.exp(), sigma, log_snr)

    def time_of(self, log_snr: Tensor) -> Tensor:
        """The times at which λ has the given values."""
        import torch

        log_alpha = -0.5 * torch.logaddexp(torch.zeros(1), -2.0 * log_snr)
        return interpolate(log_alpha, self.log_alphas.flip(0), self.times.flip(0))

    def model_time(self, time: Tensor) -> Tensor:
        """What the network is told: 0 … 999, fractional between trained times."""
        return (time - 1.0 / len(self.times)) * 1000.0


def interpolate(x: Tensor, known_x: Tensor, known_y: Tensor) -> Tensor:
    """y at x (any shape), linear between the points of a rising table (T,), and along its end pieces beyond it."""
    import torch

    index = (torch.searchsorted(known_x, x.contiguous()) - 1).clamp(0, len(known_x) - 2)
    x_0, x_1, y_0, y_1 = known_x[index], known_x[index + 1], known_y[index], known_y[index + 1]
    return y_0 + (x - x_0) * (y_1 - y_0) / (x_1 - x_0)


def _path(schedule: ContinuousSchedule, run: TimestepRun, steps: int) -> list[Point]:
    """The steps + 1 places from the start to the first trained time, spaced as `uni_pc_skip_type` says."""
    import torch

    last = 1.0 / len(schedule.times)
    first = torch.tensor(run.timesteps[-1]) / 1000 + 1 / 1000 if run.is_img2img else torch.tensor(1.0)
    match run.options.uni_pc_skip_type:
        case "time_uniform":
            times = torch.linspace(first.item(), last, steps + 1)
        case "time_quadratic":
            times = torch.linspace((first**0.5).item(), last**0.5, steps + 1) ** 2
        case _:
            ends = (schedule.at(time).log_snr.item() for time in (first, torch.tensor(last)))
            times = schedule.time_of(torch.linspace(*ends, steps + 1))
    return [schedule.at(time) for time in times]


def _bh_update(
    x: Tensor, known: list[Known], point: Point, predict_x0: Callable | None, variant: str
) -> tuple[Tensor, Tensor | None]:
    """x at `point` by UniP with B(h) = h (bh1) or e^h − 1 (bh2), corrected by UniC unless `predict_x0` is None.

    The order is the number of `known` calls, latest last. Also returns the x0 predicted at `point` for the correction.
    """
    import torch

    here, order = known[-1], len(known)
    h = point.log_snr - here.point.log_snr
    hh = -h
    ratios, differences = _differences(known, h)
    h_phi_1 = hh.expm1()
    scale = hh if variant == "bh1" else hh.expm1()

    h_phi, factorial = h_phi_1 / hh - 1, 1
    rows, targets = [], []
    for power in range(order):
        rows.append(ratios**power)
        targets.append(h_phi * factorial / scale)
        factorial *= power + 2
        h_phi = h_phi / hh - 1 / factorial
    matrix, target = torch.stack(rows), torch.stack(targets)

    base = (point.sigma / here.point.sigma) * x - (point.alpha * h_phi_1) * here.denoised
    predicted = base
    if differences:
        # For order 2 the paper takes 1/2, the limit for small h, in place of the solution.
        weights = torch.tensor([0.5]) if order == 2 else torch.linalg.solve(matrix[:-1, :-1], target[:-1])
        predicted = base - (point.alpha * scale) * _weighted(weights, differences)
    if predict_x0 is None:
        return predicted, None
    denoised = predict_x0(predicted, point)
    weights = torch.tensor([0.5]) if order == 1 else torch.linalg.solve(matrix, target)
    correction = _weighted(weights[:-1], differences) + weights[-1] * (denoised - here.denoised)
    return base - (point.alpha * scale) * correction, denoised


def _varying_update(
    x: Tensor, known: list[Known], point: Point, predict_x0: Callable | None, variant: str
) -> tuple[Tensor, Tensor | None]:
    """x at `point` by UniPC_v, whose coefficients vary with h: appendix C of the paper. As `_bh_update` otherwise."""
    import torch

    here, order = known[-1], len(known)
    h = point.log_snr - here.point.log_snr
    hh = -h
    ratios, differences = _differences(known, h)
    columns, column = [], torch.ones_like(ratios)
    for power in range(1, order + 1):
        columns.append(column)
        column = column * ratios / (power + 1)
    matrix = torch.stack(columns, dim=1)

    h_phi, factorial, h_phis = hh.expm1(), 1, []
    for power in range(1, order + 2):
        h_phis.append(h_phi)
        h_phi = h_phi / hh - 1 / factorial
        factorial *= power + 1

    base = (point.sigma / here.point.sigma) * x - (point.alpha * h_phis[0]) * here.denoised
    predicted = base
    if differences:
        inverse = torch.linalg.inv(matrix[:-1, :-1])
        for row in range(order - 1):
            predicted = predicted - (point.alpha * h_phis[row + 1]) * _weighted(inverse[row], differences)
    if predict_x0 is None:
        return predicted, None
    denoised = predict_x0(predicted, point)
    inverse = torch.linalg.inv(matrix)
    corrected = base
    for row in range(order - 1):
        corrected = corrected - (point.alpha * h_phis[row + 1]) * _weighted(inverse[row][:-1], differences)
    # The authors' code gives the newest call only this one weight, from the last row used above. That lowers the order
    # of convergence to 1, but A1111 and the pictures made with it have it too.
    weight = inverse[max(order - 2, 0)][-1]
    return corrected - (point.alpha * h_phis[order]) * (weight * (denoised - here.denoised)), denoised


def _differences(known: list[Known], h: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The places r of earlier calls in units of h, nearest first, then 1; and (x0_r − x0) / r for the earlier calls."""
    import torch

    here, *earlier = reversed(known)
    ratios = [(call.point.log_snr - here.point.log_snr) / h for call in earlier]
    differences = [(call.denoised - here.denoised) / ratio for call, ratio in zip(earlier, ratios, strict=True)]
    return torch.stack([*ratios, torch.ones(())]), differences


def _weighted(weights: Tensor, terms: list[Tensor]) -> Tensor | float:
    return sum(weight * term for weight, term in zip(weights, terms, strict=True))


def _check(options: SamplerOptions) -> None:
    for value, known, field in (
        (options.uni_pc_variant, VARIANTS, "UniPC variant"),
        (options.uni_pc_skip_type, SKIP_TYPES, "UniPC skip type"),
    ):
        if value not in known:
            raise InvalidRequest(f'there is no {field} "{value}"; choose one of {", ".join(known)}')
    if options.uni_pc_order < 1:
        raise InvalidRequest(f"UniPC order is {options.uni_pc_order}; it starts at 1")
