"""What a network's output means: noise levels, time as a function of level and back, and predictions turned into x0.

The functions here are pure: a network is any callable `(x (B, C, h, w), t (B,)) → output`, so guidance, masks and
ControlNet stay outside. Levels are float32 on the CPU, as A1111 keeps them, so that roundings agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from modules.errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

Prediction = Literal["epsilon", "v", "flow"]
Network = Callable[["Tensor", "Tensor"], "Tensor"]

Process = Literal["exploding", "flow"]
"""How noise enters latents: x = x0 + σ ε, whose variance explodes, or x = (1 − σ) x0 + σ ε."""

ZERO_TERMINAL_ALPHA = 4.8973451890853435e-08
"""What A1111 puts in place of the last, zero, cumulative alpha: σ stays finite (about 4519)."""

LCM_SKIP = 20
"""A latent consistency model was distilled on every 20th of the 1000 times: 19, 39, … 999."""


class NoiseLevels(Protocol):
    """The levels a model was trained on, rising with time, and the two directions between level and time."""

    sigmas: Tensor  # (T,) rising
    process: ClassVar[Process]

    def noised(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Clean latents (B, C, h, w) with noise of unit variance brought to one level, a scalar tensor."""
        ...

    def to_time(self, sigma: Tensor) -> Tensor:
        """The time, possibly fractional, at levels of any shape: what a network is told (but for flow models)."""
        ...

    def to_sigma(self, time: Tensor) -> Tensor:
        """The level at times of any shape, possibly fractional, within the trained range."""
        ...

    def uniform(self, steps: int) -> Tensor:
        """`steps` levels evenly spaced in time from the highest to the lowest (steps,), without a final 0."""
        ...


@dataclass(frozen=True)
class DiscreteLevels:
    """The levels of a model with a table of trained times, interpolated in ln σ between them (as k-diffusion does).

    `sigmas` (T,) rise. With `quantized`, times are whole numbers (A1111's `enable_quantization`).
    """

    sigmas: Tensor
    log_sigmas: Tensor
    quantized: bool = False
    process: ClassVar[Process] = "exploding"

    def noised(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return latents + noise * sigma

    @classmethod
    def from_sigmas(cls, sigmas: Tensor, *, quantized: bool = False) -> Self:
        return cls(sigmas=sigmas, log_sigmas=sigmas.log(), quantized=quantized)

    @classmethod
    def from_alphas(cls, alphas_cumprod: Tensor, *, quantized: bool = False) -> Self:
        """The levels sqrt((1 − ᾱ) / ᾱ) of falling cumulative alphas (T,).

        Half precision stays half, as it does with A1111's `use_downcasted_alpha_bar`.
        """
        alphas_cumprod = alphas_cumprod.cpu()
        if ((1 - alphas_cumprod) / alphas_cumprod).isinf().any():  # half precision ends at 65504: zero SNR besides
            alphas_cumprod = alphas_cumprod.float()
        return cls.from_sigmas(((1 - alphas_cumprod) / alphas_cumprod) ** 0.5, quantized=quantized)

    def to_time(self, sigma: Tensor) -> Tensor:
        log_sigma, log_sigmas = sigma.log(), self.log_sigmas.to(sigma.device)
        if self.quantized:
            return _nearest(log_sigma, log_sigmas)
        low = _at_or_below(log_sigma, log_sigmas)
        high = low + 1
        weight = ((log_sigmas[low] - log_sigma) / (log_sigmas[low] - log_sigmas[high])).clamp(0, 1)
        return (1 - weight) * low + weight * high

    def to_sigma(self, time: Tensor) -> Tensor:
        return _between(time.float(), self.log_sigmas.to(time.device)).exp()

    def uniform(self, steps: int) -> Tensor:
        import torch

        return self.to_sigma(torch.linspace(len(self.sigmas) - 1, 0, steps))


@dataclass(frozen=True)
class FlowLevels(DiscreteLevels):
    """Levels of a rectified-flow model, x = (1 − σ) x0 + σ noise: σ = s τ / (1 + (s − 1) τ) with τ = 1/T … 1.

    Times here are places in that table, for the schedules; the network itself is told 1000 σ (`denoise_flow`).
    Esser et al. 2024 (arXiv:2403.03206), section 5.3.2; the shift s is 3 for SD3.
    """

    process: ClassVar[Process] = "flow"

    def noised(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return latents * (1 - sigma) + noise * sigma

    @classmethod
    def from_shift(cls, shift: float = 3.0, count: int = 1000) -> Self:
        import torch

        tau = torch.arange(1, count + 1, dtype=torch.float32) / count
        return cls.from_sigmas(shift * tau / (1 + (shift - 1) * tau))


@dataclass(frozen=True)
class ConsistencyLevels:
    """The 50 levels that latent consistency models know; every level is told as the nearest one's time (19, 39, … 999).

    Luo et al. 2023 (arXiv:2310.04378), section 4.3; the grid is A1111's.
    """

    sigmas: Tensor
    log_sigmas: Tensor
    process: ClassVar[Process] = "exploding"

    def noised(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return latents + noise * sigma

    @classmethod
    def from_alphas(cls, alphas_cumprod: Tensor) -> Self:
        levels = DiscreteLevels.from_alphas(alphas_cumprod.float()[LCM_SKIP - 1 :: LCM_SKIP])
        return cls(sigmas=levels.sigmas, log_sigmas=levels.log_sigmas)

    def to_time(self, sigma: Tensor) -> Tensor:
        return _nearest(sigma.log(), self.log_sigmas.to(sigma.device)) * LCM_SKIP + (LCM_SKIP - 1)

    def to_sigma(self, time: Tensor) -> Tensor:
        index = ((time - (LCM_SKIP - 1)) / LCM_SKIP).float().clamp(0, len(self.sigmas) - 1)
        return _between(index, self.log_sigmas.to(time.device)).exp()

    def uniform(self, steps: int) -> Tensor:
        import torch

        return self.to_sigma(torch.linspace(len(self.sigmas) * LCM_SKIP - 1, LCM_SKIP - 1, steps))


def default_alphas_cumprod() -> Tensor:
    """Cumulative alphas (1000,) float32 of Stable Diffusion: betas evenly spaced in sqrt from 0.00085 to 0.012."""
    import torch

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0).float()


def with_options(alphas_cumprod: Tensor, *, downcast: bool = False, zero_terminal_snr: bool = False) -> Tensor:
    """The alphas a job runs with: A1111's `use_downcasted_alpha_bar`, then `sd_noise_schedule` = Zero Terminal SNR."""
    if downcast:
        alphas_cumprod = alphas_cumprod.half()
    if zero_terminal_snr:
        alphas_cumprod = rescale_to_zero_terminal_snr(alphas_cumprod)
    return alphas_cumprod


def rescale_to_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Alphas shifted and scaled so that the last time is (almost) pure noise and the first stays what it was.

    Lin et al. 2023 (arXiv:2305.08891), algorithm 1; the last value is A1111's `ZERO_TERMINAL_ALPHA` in place of 0.
    """
    roots = alphas_cumprod.sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    rescaled = ((roots - last) * (first / (first - last))) ** 2
    rescaled[-1] = ZERO_TERMINAL_ALPHA
    return rescaled


def denoise(prediction: Prediction, network: Network, x: Tensor, sigma: Tensor, levels: NoiseLevels) -> Tensor:
    """x0 predicted for x (B, C, h, w) at level sigma (B,) or a scalar, for a network of any prediction type."""
    if isinstance(levels, ConsistencyLevels):
        return denoise_consistency(prediction, network, x, sigma, levels)
    return {"epsilon": denoise_epsilon, "v": denoise_v, "flow": denoise_flow}[prediction](network, x, sigma, levels)


def denoise_epsilon(network: Network, x: Tensor, sigma: Tensor, levels: NoiseLevels) -> Tensor:
    """x0 = x − σ ε(x / sqrt(σ² + 1), t(σ))."""
    sigma, wide = _per_picture(sigma, x)
    return x + network(x * (1 / (wide**2 + 1) ** 0.5), levels.to_time(sigma)) * -wide


def denoise_v(network: Network, x: Tensor, sigma: Tensor, levels: NoiseLevels) -> Tensor:
    """x0 = x / (σ² + 1) − σ / sqrt(σ² + 1) · v(x / sqrt(σ² + 1), t(σ)). Salimans, Ho 2022 (arXiv:2202.00512)."""
    sigma, wide = _per_picture(sigma, x)
    root = (wide**2 + 1) ** 0.5
    return network(x * (1 / root), levels.to_time(sigma)) * (-wide / root) + x * (1 / (wide**2 + 1))


def denoise_flow(network: Network, x: Tensor, sigma: Tensor, levels: NoiseLevels) -> Tensor:
    """x0 = x − σ u(x, 1000 σ) for a velocity u. Lipman et al. 2022 (arXiv:2210.02747). The levels play no part."""
    sigma, wide = _per_picture(sigma, x)
    return x - wide * network(x, sigma * 1000)


def denoise_consistency(
    prediction: Prediction, network: Network, x: Tensor, sigma: Tensor, levels: ConsistencyLevels
) -> Tensor:
    """x0 of a latent consistency model: the ordinary x0 and x, mixed so that time 0 would give back x.

    Luo et al. 2023 (arXiv:2310.04378), equation 9, with σ_data 0.5 and times scaled by 10. As in A1111, x is not
    scaled in the second term.
    """
    ordinary = (denoise_v if prediction == "v" else denoise_epsilon)(network, x, sigma, levels)
    sigma, wide = _per_picture(sigma, x)
    scaled_time = levels.to_time(sigma).reshape(wide.shape) * 10.0
    c_skip = 0.25 / (scaled_time**2 + 0.25)
    c_out = scaled_time / (scaled_time**2 + 0.25) ** 0.5
    return c_out * ordinary + c_skip * x


def predict_noise(
    prediction: Prediction, network: Network, x: Tensor, timestep: Tensor, alphas_cumprod: Tensor
) -> Tensor:
    """ε predicted for x (B, C, h, w) at times (B,) or a scalar, for samplers on the discrete grid (DDIM and its kin).

    v is turned into ε = sqrt(ᾱ) v + sqrt(1 − ᾱ) x, at the whole part of the time.
    """
    if prediction == "flow":
        raise InvalidRequest(
            "DDIM, DDIM CFG++, PLMS and UniPC do not run flow models such as SD3; choose another sampler, say Euler",
            field="sampling.sampler",
        )
    timestep = timestep.expand(len(x))
    output = network(x, timestep)
    if prediction == "epsilon":
        return output
    alpha = alphas_cumprod.to(x.device)[timestep.long()].reshape(-1, *[1] * (x.ndim - 1))
    return alpha.sqrt() * output + (1 - alpha).sqrt() * x


def _per_picture(sigma: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """sigma as (B,) and as (B, 1, 1, 1), on the latents' device."""
    sigma = sigma.to(x.device).expand(len(x))
    return sigma, sigma.reshape(-1, *[1] * (x.ndim - 1))


def _nearest(value: Tensor, table: Tensor) -> Tensor:
    """Index of the table entry (T,) nearest to each value, in the values' shape."""
    return (value.reshape(-1) - table[:, None]).abs().argmin(dim=0).reshape(value.shape)


def _at_or_below(value: Tensor, table: Tensor) -> Tensor:
    """Index of the last entry of a rising table (T,) not above each value, clamped to leave one entry above it."""
    import torch

    index = torch.searchsorted(table.to(value.dtype), value.reshape(-1), right=True) - 1
    return index.clamp(0, len(table) - 2).reshape(value.shape)


def _between(index: Tensor, table: Tensor) -> Tensor:
    """Entries of a table (T,) at fractional places, linear between neighbours."""
    low, high, weight = index.floor().long(), index.ceil().long(), index.frac()
    return (1 - weight) * table[low] + weight * table[high]
