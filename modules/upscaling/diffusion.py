"""Enlarging by diffusion, four times: Stability AI's x4 upscaler and CompVis' LDSR, for pictures of any size.

The whole picture is denoised at once; where it is larger than a tile, every step's network runs over overlapping tiles
whose answers fade into each other, so that no seam can form (Bar-Tal et al. 2023, arXiv:2302.08113).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from modules.errors import ModelError, NotANumber

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from modules.models.manager import ModelManager
    from modules.models.model import Model

NOISE_LEVEL = 20
"""How noisy the x4 upscaler's small picture is made, of 1000: as its makers recommend. More invents more."""

SEED = 0
"""The same picture comes out enlarged in the same way every time."""

SMALLEST_TILE, LEAST_OVERLAP, STRIDE = 64, 16, 8
"""In pixels of the small picture; `STRIDE` is how much the UNet shrinks."""


LDSR_STEPS = 100


@dataclass(frozen=True)
class Manner:
    """How a family is run: sampler and steps (LDSR's are a setting), and whether it sees noise in the small picture."""

    sampler: str
    steps: int
    noises: bool


MANNERS = {
    "x4-upscaler": Manner("DPM++ 2M", 25, noises=True),
    "ldsr": Manner("Euler a", LDSR_STEPS, noises=False),  # DDIM with eta 1 in A1111, which is the same process
}


@lru_cache(maxsize=64)
def is_diffusion(path: Path, mtime_ns: int) -> bool:
    """Whether a file of some upscaler folder is a diffusion model that enlarges; read from its header."""
    from modules.models.family import identify
    from modules.models.weights import open_weights

    with open_weights(path) as weights:
        try:
            return identify(weights.header)[1].variant == "upscaler"
        except ModelError:
            return False


def enlarge(
    path: Path, image: Image.Image, *, models: ModelManager, tile: int, overlap: int, ldsr_steps: int = LDSR_STEPS
) -> Image.Image:
    """`image` (RGB) four times as large, by the model in a file, which the manager loads and keeps like a checkpoint.

    `tile` 0 runs in one piece. Raises ModelError and its kinds, NotEnoughMemory, NotANumber.
    """
    from modules.generation.plan import ModelRef

    with models.use(ModelRef(path=str(path), title=path.name, name=path.stem)) as model:
        manner = MANNERS[model.family]
        if model.family == "ldsr":
            manner = replace(manner, steps=ldsr_steps)
        return run(model, image, manner, tile=tile, overlap=overlap)


def run(
    model: Model, image: Image.Image, manner: Manner | None = None, *, tile: int = 0, overlap: int = 0
) -> Image.Image:
    """`image` (RGB) enlarged by a loaded model of one of the families in `MANNERS`."""
    import numpy as np
    import torch

    from modules.networks.tiles import in_tiles

    manner = manner or MANNERS[model.family]
    array = np.asarray(image.convert("RGB")).astype(np.float32) / 127.5 - 1.0
    small = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]
    with torch.no_grad():
        generator = torch.Generator().manual_seed(SEED)
        if manner.noises:
            small = _noised(small, torch.randn(small.shape, generator=generator))
        small = small.to(model.device)
        start = torch.randn((1, model.latent_channels, *small.shape[-2:]), generator=generator).to(model.device)
        predict = _predictor(model, manner)

        def network(x: Tensor, time: Tensor) -> Tensor:
            both = torch.cat([x, small.to(x)], dim=1)
            if tile <= 0 or max(x.shape[-2:]) <= tile:
                return predict(both, time)
            side = max(tile, SMALLEST_TILE) // STRIDE * STRIDE
            shared = max(overlap, LEAST_OVERLAP) // STRIDE * STRIDE
            return in_tiles(lambda part: predict(part, time), both, tile=side, overlap=shared, step=STRIDE).to(x)

        latents = _sampled(model, network, start, manner)
        if not bool(torch.isfinite(latents).all()):
            raise NotANumber(f"the upscaler {model.ref.name} produced NaN; start with --no-half")
        pixels = model.decode(latents)[0]
    levels = ((pixels.float() + 1.0) / 2.0).clamp(0.0, 1.0).cpu().permute(1, 2, 0).numpy() * 255.0
    return Image.fromarray(levels.round().astype(np.uint8))


def _predictor(model: Model, manner: Manner) -> Callable[[Tensor, Tensor], Tensor]:
    """The network for latents and small picture (1, K, h, w) together; told the empty prompt where it reads any.

    With nothing to say guidance has no effect, so there is one call a step.
    """
    import torch

    from modules.models.loaded import Conditioning

    text = torch.zeros(1, 1, 1)
    for tower in model.towers:
        tokens = torch.tensor([[tower.start_id, tower.end_id, *[tower.pad_id] * 75]])
        text = tower.encode(tokens, replaced=[[]], clip_skip=1)[0]
    level = torch.tensor([NOISE_LEVEL]) if manner.noises else None
    count = model.latent_channels
    return lambda both, time: model.predict(both[:, :count], time, Conditioning(text, level, both[:, count:]))


def _noised(small: Tensor, noise: Tensor) -> Tensor:
    """The small picture at NOISE_LEVEL of the schedule that it was noised by in training: betas 0.0001 to 0.02."""
    import torch

    roots = torch.linspace(0.0001**0.5, 0.02**0.5, 1000, dtype=torch.float64)
    alpha = torch.cumprod(1 - roots**2, dim=0)[NOISE_LEVEL].float()
    return alpha.sqrt() * small + (1 - alpha).sqrt() * noise


def _sampled(model: Model, network: Callable[[Tensor, Tensor], Tensor], start: Tensor, manner: Manner) -> Tensor:
    """Latents sampled from noise (1, C, h, w) of unit variance."""
    import modules.sampling  # noqa: F401 - registers the samplers
    from modules.sampling import prediction
    from modules.sampling.grid import path_limits
    from modules.sampling.noise import ImageNoise
    from modules.sampling.sampler import SAMPLERS, SamplerOptions, SigmaRun
    from modules.sampling.schedules import sigmas_for

    levels = prediction.DiscreteLevels.from_alphas(model.alphas_cumprod)
    sigmas = sigmas_for("Uniform", manner.steps, levels)
    run = SigmaRun(
        lambda x, sigma: prediction.denoise(model.prediction, network, x, sigma, levels),
        start * (1 + sigmas[0] ** 2).sqrt().to(start),
        sigmas,
        ImageNoise(start.shape[1:], (SEED,), device=start.device),
        SamplerOptions(),
        *path_limits(sigmas),
    )
    sampling = SAMPLERS.get(manner.sampler).sample(run)
    while True:
        try:
            next(sampling)
        except StopIteration as end:
            return end.value
