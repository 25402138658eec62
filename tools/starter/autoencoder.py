"""Trains the KL-f8 autoencoder on freshly painted scenes.

Three latent channels are held near the picture's own colours at an eighth of its size. Colour is then learned at once
rather than last, latents stay easy for the UNet, and a preview of them is a linear map.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from tools.starter.architecture import Architecture
from tools.starter.concepts import BACKGROUNDS, CONCEPTS, Concept
from tools.starter.scenes import Painter, SceneSampler
from tools.starter.sprites import Sprite, read_sprites

ANCHOR_SCALE = 1.5
LATENT_NOISE = 0.06
CROP_SHARE = 0.6
"""Part of the run spent on crops of half the side; the rest sees whole pictures, whose normalisation differs."""


class AutoencoderObjective:
    """Reconstruction in L1, gradient L1 and a little squared error, with noise on the latents instead of a KL term."""

    def __init__(
        self,
        architecture: Architecture,
        batch: int,
        seed: int,
        sprites_file: Path,
        concepts: tuple[Concept, ...] = CONCEPTS,
    ) -> None:
        self.networks = architecture.autoencoder()
        self.size_px = architecture.size_px
        self.batch = batch
        self.concepts = concepts
        self.sprites: tuple[Sprite, ...] = read_sprites(concepts, sprites_file)
        self.painter = Painter(self.sprites)
        self.scenes: SceneSampler | None = None
        self.held_out = self._paint(SceneSampler(concepts, seed=990_001), 48)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.networks.parameters())}]

    def loss(self, generator: torch.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        if self.scenes is None:
            self.scenes = SceneSampler(self.concepts, seed=int(torch.randint(2**31, (1,), generator=generator)))
        if progress < CROP_SHARE:
            pixels = self._crops(self._paint(self.scenes, self.batch), generator)
        else:
            pixels = self._paint(self.scenes, max(1, self.batch // 4))
        with torch.autocast("cpu", torch.bfloat16):
            mean = encode_mean(self.networks, pixels)
            noise = torch.randn(mean.shape, generator=generator) * LATENT_NOISE
            restored = self.networks.decoder(self.networks.post_quant_conv(mean + noise))
        mean, restored = mean.float(), restored.float()
        small = F.avg_pool2d(pixels, 8) * ANCHOR_SCALE
        anchor = (mean[:, :3] - small).abs().mean()
        weight = max(0.05, 1 - progress / 0.5)
        error = picture_error(restored, pixels)
        size = F.relu(mean.abs() - 3).mean()
        loss = error + weight * anchor + 0.1 * size
        return loss, {"error": float(error.detach()), "anchor": float(anchor.detach())}

    def report(self, averaged: nn.Module) -> dict[str, float]:
        assert isinstance(averaged, AutoencoderKL)
        restored = reconstruct(averaged, self.held_out)
        return {"psnr": psnr(restored, self.held_out), "flat": flat_colour_error(averaged, self.size_px)}

    def _paint(self, scenes: SceneSampler, count: int) -> Tensor:
        return to_tensor(np.stack([self.painter.paint(scenes.sample(), self.size_px) for _ in range(count)]))

    def _crops(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        side = self.size_px // 2
        corners = torch.randint(0, self.size_px - side + 1, (len(pixels), 2), generator=generator).tolist()
        return torch.stack([it[:, y : y + side, x : x + side] for it, (y, x) in zip(pixels, corners, strict=True)])


class DecoderObjective(AutoencoderObjective):
    """The decoder alone, on whole pictures: latents stay as they are while pictures become crisper."""

    def __init__(
        self,
        architecture: Architecture,
        batch: int,
        seed: int,
        sprites_file: Path,
        concepts: tuple[Concept, ...] = CONCEPTS,
    ) -> None:
        super().__init__(architecture, batch, seed, sprites_file, concepts)
        for part in (self.networks.encoder, self.networks.quant_conv):
            part.requires_grad_(False)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [parameter for parameter in self.networks.parameters() if parameter.requires_grad]}]

    def loss(self, generator: torch.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        if self.scenes is None:
            self.scenes = SceneSampler(self.concepts, seed=int(torch.randint(2**31, (1,), generator=generator)))
        pixels = self._paint(self.scenes, self.batch)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                mean = encode_mean(self.networks, pixels)
            noise = torch.randn(mean.shape, generator=generator) * LATENT_NOISE
            restored = self.networks.decoder(self.networks.post_quant_conv(mean + noise))
        loss = picture_error(restored.float(), pixels)
        return loss, {}


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Batch x height x width x 3 bytes as batch x 3 x height x width in -1..1."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def encode_mean(autoencoder: AutoencoderKL, pixels: Tensor) -> Tensor:
    return autoencoder.quant_conv(autoencoder.encoder(pixels))[:, :4]


@torch.no_grad()
def reconstruct(autoencoder: AutoencoderKL, pixels: Tensor, batch: int = 8) -> Tensor:
    """`pixels` through encoder and decoder, clamped to -1..1."""
    parts = [autoencoder.decode(encode_mean(autoencoder, part)).sample for part in pixels.split(batch)]
    return torch.cat(parts).clamp(-1, 1)


def psnr(restored: Tensor, pixels: Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio in dB, for values in -1..1."""
    squared = (restored - pixels).square().mean((1, 2, 3)).clamp_min(1e-8)
    return float((10 * torch.log10(4 / squared)).mean())


def flat_colour_error(autoencoder: AutoencoderKL, size_px: int) -> float:
    """Mean absolute error (range 0..1) on pictures of one plain colour each."""
    colours = np.array(list(BACKGROUNDS.values()), np.uint8)
    flat = to_tensor(np.broadcast_to(colours[:, None, None], (len(colours), size_px, size_px, 3)))
    return float((reconstruct(autoencoder, flat) - flat).abs().mean() / 2)


def picture_error(restored: Tensor, pixels: Tensor) -> Tensor:
    """L1, squared error, and L1 of the gradients at two scales."""
    difference = restored - pixels
    edges = _edge_error(restored, pixels) + _edge_error(F.avg_pool2d(restored, 2), F.avg_pool2d(pixels, 2))
    return difference.abs().mean() + 2 * difference.square().mean() + 0.5 * edges


def _edge_error(restored: Tensor, pixels: Tensor) -> Tensor:
    difference = restored - pixels
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
