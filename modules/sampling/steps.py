"""Pieces that several samplers share: derivatives, ancestral splits, churn and the two changes of variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from modules.sampling.sampler import Denoiser, SigmaRun

MAX_CHURN = 2**0.5 - 1


def denoised_at(denoiser: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """x0 predicted for x at one level, a scalar tensor, told to the denoiser once a picture."""
    return denoiser(x, sigma.to(x.device).expand(len(x)))


def derivative(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx/dσ of the probability flow, (x − x0) / σ. Karras et al. 2022 (arXiv:2206.00364), equation 1 with σ(t) = t."""
    return (x - denoised) / sigma


def ancestral_split(sigma: Tensor, sigma_next: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """The level to step down to and the level of fresh noise that together make `sigma_next`.

    With eta 1 the step has the statistics of DDPM's ancestral sampling, with 0 it is deterministic: (sigma_next, 0).
    """
    if not eta:
        return sigma_next, sigma_next.new_zeros(())
    up = min(sigma_next, eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5)
    return (sigma_next**2 - up**2) ** 0.5, up


def churned(run: SigmaRun, x: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """x with noise stirred in, and the raised level: steps 4 to 6 of Karras et al.'s algorithm 2.

    Noise is drawn even where none is added: A1111's generators advance there, and so must ours.
    """
    options, sigma = run.options, run.sigmas[index]
    stirs = options.s_tmin <= sigma <= options.s_tmax
    gamma = min(options.s_churn / (len(run.sigmas) - 1), MAX_CHURN) if stirs else 0.0
    noise = run.noise.next() * options.s_noise
    sigma_hat = sigma * (gamma + 1)
    if gamma > 0:
        x = x + noise * (sigma_hat**2 - sigma**2) ** 0.5
    return x, sigma_hat


def log_time(sigma: Tensor) -> Tensor:
    """t = −ln σ, the half log-SNR of the variance-exploding process, in which DPM-Solver takes its steps."""
    return -sigma.log()


def from_log_time(t: Tensor) -> Tensor:
    """σ = e^−t."""
    return (-t).exp()
