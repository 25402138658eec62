"""How the shipped model's VAE looks in tiles: the only trained one at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from modules.models.loader import load_vae
from modules.networks.tiles import in_tiles

STARTER = Path(__file__).parents[3] / "models" / "Stable-diffusion" / "starter.safetensors"
BORDER = 8  # pixels at the picture's own edge, which a tile's norms change most


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return load_vae(STARTER, torch.float32)


@torch.no_grad()
def test_a_picture_decoded_in_tiles_has_no_seams(vae: AutoencoderKL) -> None:
    """Against the whole decode, a tile's colours may drift a little, but never from one pixel to the next."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 224), indexing="ij")
    latents = vae.encode(torch.stack([x, y, (x * 6).sin() * (y * 5).cos()])[None] * 0.8).latent_dist.mean
    whole = vae.decode(latents).sample
    tiled = in_tiles(lambda part: vae.decode(part).sample, latents, tile=16, overlap=4)
    drift = ((tiled - whole) * 127.5)[..., BORDER:-BORDER, BORDER:-BORDER]
    assert drift.abs().mean() < 6 and drift.abs().max() < 30  # of 255; these tiles are small
    for side in (-1, -2):
        assert drift.diff(dim=side).abs().max() < 5
