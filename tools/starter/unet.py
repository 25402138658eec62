"""Trains the UNet and the text encoder together on encoded scenes."""

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from tools.starter.architecture import Architecture
from tools.starter.attention import PlainAttention
from tools.starter.concepts import CONCEPTS, Concept
from tools.starter.diffusion import training_sigmas
from tools.starter.latents import read_latents, whiten
from tools.starter.tokens import CompactVocabulary, with_fillers
from tools.starter.training import load_averaged

EMPTY_SHARE = 0.1
HELD_OUT = 384
LOG_SIGMA_MEAN, LOG_SIGMA_SPREAD = 0.2, 1.15
"""Where training noise lies: around 1.2 times the signal, where the object and its colour are decided."""
WEIGHT_LIMIT = 40.0
"""The loss weight at the highest noise tends to this instead of growing with sigma²."""
CARRIER_SCALE = 0.3
"""The learning rate's share for the layers that carry the noise through: at sigma 10 an error there counts tenfold."""
TEXT_FROM = 0.85
"""The text encoder stays as pretrained for this part of the run, which saves its backward pass."""
TEXT_SCALE = 0.2
"""The text encoder's share of the learning rate."""


class UNetObjective:
    """eps prediction with the noise level drawn log-normally and the loss weighted by 1 + sigma².

    That weight makes every level count as much as its error in the clean picture relative to what can be known there
    (Karras et al. 2022, table 1, written for eps). Uniform steps with unit weights spend nearly all of the loss where
    the caption no longer matters.
    """

    def __init__(
        self, architecture: Architecture, batch: int, folder: Path, concepts: tuple[Concept, ...] = CONCEPTS
    ) -> None:
        self.batch = batch
        self.vocabulary = CompactVocabulary.of(concepts)
        unet = architecture.unet()
        unet.set_attn_processor(PlainAttention())
        start_near_identity(unet)
        text = architecture.text_encoder(len(self.vocabulary))
        pretrained = load_averaged(folder / "text.pt")
        text.load_state_dict({k.removeprefix("encoder."): v for k, v in pretrained.items() if k.startswith("encoder.")})
        self.networks = nn.ModuleDict({"unet": unet, "text": text})
        latents, captions = read_latents(folder)
        self.latents = whiten(latents, like=latents)
        self.rows = [self.vocabulary.rows(caption) for caption in captions]
        self.sigmas = training_sigmas()

    def parameter_groups(self) -> list[dict[str, Any]]:
        unet = self.networks["unet"]
        carriers = [
            parameter
            for module in (
                unet.conv_in,
                unet.conv_norm_out,
                unet.conv_out,
                unet.up_blocks[-1].resnets[-1].conv_shortcut,
            )
            for parameter in module.parameters()
        ]
        known = {id(parameter) for parameter in carriers}
        return [
            {"params": [parameter for parameter in unet.parameters() if id(parameter) not in known]},
            {"params": carriers, "scale": CARRIER_SCALE},
            {"params": list(self.networks["text"].parameters()), "scale": TEXT_SCALE},
        ]

    def loss(self, generator: torch.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        chosen = torch.randint(HELD_OUT, len(self.latents), (self.batch,), generator=generator)
        steps = draw_steps(self.batch, self.sigmas, generator)
        is_empty = (torch.rand(self.batch, generator=generator) < EMPTY_SHARE).tolist()
        rows = [
            [] if empty else with_fillers(self.rows[i], self.vocabulary.unknown, generator)
            for i, empty in zip(chosen.tolist(), is_empty, strict=True)
        ]
        noise = torch.randn(self.latents[chosen].shape, generator=generator)
        self.networks["text"].requires_grad_(progress >= TEXT_FROM)
        error = clean_error(self.networks, self.latents[chosen], steps, self.sigmas, noise, self.vocabulary.pad(rows))
        sigma = self.sigmas[steps]
        weighted = weight_of(error, sigma)
        high = sigma > 2
        figures = {
            "error_high": float(error[high].detach().mean()) if high.any() else 0.0,
            "weighted_low": float(weighted[~high].detach().mean()),
        }
        return weighted.mean(), figures

    def report(self, averaged: nn.Module) -> dict[str, float]:
        """Error of the clean prediction at three noise levels with right captions, and how much shuffling them adds."""
        generator = torch.Generator().manual_seed(3)
        latents = self.latents[:HELD_OUT]
        noise = torch.randn(latents.shape, generator=generator)
        right = self.vocabulary.pad(self.rows[:HELD_OUT])
        wrong = right.roll(1, 0)
        row = {}
        for sigma in (1.0, 2.5, 6.0):
            steps = torch.full((HELD_OUT,), int(torch.searchsorted(self.sigmas, sigma)))
            errors = []
            for ids in (right, wrong):
                parts = [
                    clean_error(averaged, latents[part], steps[part], self.sigmas, noise[part], ids[part])
                    for part in torch.arange(HELD_OUT).split(64)
                ]
                errors.append(float(torch.cat(parts).mean()))
            row |= {f"x0_at_{sigma:g}": errors[0], f"gap_at_{sigma:g}": errors[1] / errors[0] - 1}
        return row


def draw_steps(count: int, sigmas: Tensor, generator: torch.Generator) -> Tensor:
    """Training steps, nine in ten with log-normal noise, the rest uniform."""
    log_sigma = torch.randn(count, generator=generator) * LOG_SIGMA_SPREAD + LOG_SIGMA_MEAN
    steps = torch.searchsorted(sigmas, log_sigma.exp()).clamp(0, len(sigmas) - 1)
    uniform = torch.randint(0, len(sigmas), (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.1, uniform, steps)


def weight_of(error: Tensor, sigma: Tensor) -> Tensor:
    """The loss from errors of the clean prediction at noise levels `sigma`."""
    return error * (1 + sigma**2) / sigma**2 / (1 + sigma**2 / WEIGHT_LIMIT)


def clean_error(
    networks: nn.Module, latents: Tensor, steps: Tensor, sigmas: Tensor, noise: Tensor, ids: Tensor
) -> Tensor:
    """Squared error of the predicted clean latents, one number a picture."""
    assert isinstance(networks, nn.ModuleDict)
    unet, text = networks["unet"], networks["text"]
    assert isinstance(unet, UNet2DConditionModel) and isinstance(text, CLIPTextModel)
    sigma = sigmas[steps][:, None, None, None]
    noisy = (latents + sigma * noise) / (1 + sigma**2) ** 0.5
    with torch.autocast("cpu", torch.bfloat16):
        context = text(ids).last_hidden_state
        eps = unet(noisy, steps, context).sample
    return ((eps.float() - noise) * sigma).square().mean((1, 2, 3))


@torch.no_grad()
def start_near_identity(unet: UNet2DConditionModel) -> None:
    """Makes the untrained UNet return its input, which is the best guess of eps at high noise.

    Each latent channel and its negative pass from `conv_in` over the last skip connection to `conv_out`;
    silu(x) - silu(-x) = x. Residual branches start at zero, as in the original implementation.
    """
    for name, module in unet.named_modules():
        if name.endswith((".conv2", ".proj_out")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    channels = unet.config.in_channels
    width = unet.conv_in.out_channels
    shortcut = unet.up_blocks[-1].resnets[-1].conv_shortcut
    for i in range(channels):
        for row, sign in ((2 * i, 1.0), (2 * i + 1, -1.0)):
            unet.conv_in.weight[row] = 0
            unet.conv_in.bias[row] = 0
            unet.conv_in.weight[row, i, 1, 1] = sign
            shortcut.weight[row] = 0
            shortcut.bias[row] = 0
            shortcut.weight[row, shortcut.in_channels - width + row] = 1
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    for i in range(channels):
        unet.conv_out.weight[i, 2 * i, 1, 1] = 1
        unet.conv_out.weight[i, 2 * i + 1, 1, 1] = -1
