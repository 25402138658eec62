"""What unCLIP models are told of a picture: its CLIP embedding, blurred by noise, and how much.

Ramesh et al. 2022 (arXiv:2204.06125); the augmentation of the embedding as in Stable Diffusion 2.1 unCLIP.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from modules.conditioning.layouts import sinusoids

LEVELS = 1000


def picture_vector(embedding: Tensor, level: int, noise: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
    """(B, 2 D): embeddings (B, D) at a level of noise 0…999, then the level's sinusoids.

    `noise` (B, D) is standard normal; `mean` and `std` (1, D) bring embeddings to that scale and back. Level 0 is not
    quite without noise, as in the original.
    """
    kept = kept_shares()[level].to(embedding)
    mean, std = mean.to(embedding), std.to(embedding)
    noised = kept.sqrt() * (embedding - mean) / std + (1 - kept).sqrt() * noise.to(embedding)
    told = sinusoids(torch.full((len(embedding),), float(level)), embedding.shape[1])
    return torch.cat([noised * std + mean, told.to(embedding)], dim=1)


def kept_shares() -> Tensor:
    """Cumulative alphas (1000,), float32, of the squared cosine (Nichol, Dhariwal 2021, arXiv:2102.09672, eq. 17)."""

    def share(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - share((step + 1) / LEVELS) / share(step / LEVELS), 0.999) for step in range(LEVELS)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float32), dim=0)
