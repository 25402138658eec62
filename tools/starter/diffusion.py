"""Stable Diffusion 1's noise schedule and a small DPM++ 2M sampler, to judge the checkpoint while it trains.

The web UI's own samplers are elsewhere; this one keeps `tools/starter` runnable alone.
"""

from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

TRAIN_STEPS = 1000
LINEAR_START, LINEAR_END = 0.00085, 0.012


def training_sigmas() -> Tensor:
    """Noise level of each training step, relative to a unit signal; rising, about 0.029 to 14.6."""
    betas = torch.linspace(LINEAR_START**0.5, LINEAR_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)
    return ((1 - kept) / kept).sqrt().float()


def karras(steps: int, rho: float = 7.0) -> Tensor:
    """`steps` noise levels from the highest training level to the lowest, then 0 (Karras et al. 2022, eq. 5)."""
    sigmas = training_sigmas()
    low, high = float(sigmas[0]) ** (1 / rho), float(sigmas[-1]) ** (1 / rho)
    ramp = torch.linspace(0, 1, steps)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1)])


Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x, sigma) to the predicted clean latents."""


def guided(unet: UNet2DConditionModel, prompt: Tensor, negative: Tensor, cfg_scale: float) -> Denoise:
    """Classifier-free guidance around an eps-predicting UNet; `prompt` and `negative` are batch x tokens x width."""
    log_sigmas = training_sigmas().log()

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        step = _step_of(sigma, log_sigmas)
        scaled = x / (sigma**2 + 1) ** 0.5
        if cfg_scale == 1.0:
            eps = unet(scaled, step, prompt).sample
        else:
            both = unet(torch.cat([scaled, scaled]), step, torch.cat([prompt, negative])).sample
            with_prompt, without = both.chunk(2)
            eps = without + cfg_scale * (with_prompt - without)
        return x - sigma * eps

    return denoise


@torch.no_grad()
def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095) from `x`, noised to `sigmas[0]`, down to 0."""
    previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        if sigmas[i + 1] == 0:
            return denoised
        step = (sigmas[i] / sigmas[i + 1]).log()
        target = denoised
        if previous is not None:
            ratio = (sigmas[i - 1] / sigmas[i]).log() / step
            target = denoised + (denoised - previous) / (2 * ratio)
        x = sigmas[i + 1] / sigmas[i] * x - torch.expm1(-step) * target
        previous = denoised
    return x


def _step_of(sigma: Tensor, log_sigmas: Tensor) -> Tensor:
    """The fractional training step of a noise level, linear in its logarithm."""
    log_sigma = sigma.log().clamp(log_sigmas[0], log_sigmas[-1])
    low = torch.searchsorted(log_sigmas, log_sigma, right=True).clamp(1, TRAIN_STEPS - 1) - 1
    return low + (log_sigma - log_sigmas[low]) / (log_sigmas[low + 1] - log_sigmas[low])
