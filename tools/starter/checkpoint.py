"""Reads a starter checkpoint back and makes pictures with it: evaluation judges the file, not training state."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextModel

from tools.starter.architecture import END_TOKEN, LATENT_CHANNELS, POSITIONS, SCALE_FACTOR, START_TOKEN, Architecture
from tools.starter.attention import PlainAttention
from tools.starter.diffusion import dpmpp_2m, guided, karras
from tools.starter.export import autoencoder_keys, text_keys, unet_keys
from tools.starter.tokens import encode

STEPS = 20
CFG_SCALE = 5.0


@dataclass(frozen=True)
class Checkpoint:
    """The three networks of one file, in fp32 on the CPU."""

    architecture: Architecture
    unet: UNet2DConditionModel
    autoencoder: AutoencoderKL
    text: CLIPTextModel

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        with safe_open(path, framework="pt") as file:
            architecture = architecture_of(json.loads(file.metadata()["ldm_config"]))
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (not a dict)
        unet, autoencoder, text = architecture.unet(), architecture.autoencoder(), architecture.text_encoder()
        _fill(unet, tensors, "model.diffusion_model.", lambda state: unet_keys(state, architecture))
        _fill(autoencoder, tensors, "first_stage_model.", lambda state: autoencoder_keys(state, architecture))
        _fill(text, tensors, "cond_stage_model.transformer.", text_keys)
        unet.set_attn_processor(PlainAttention())
        return cls(architecture, unet.eval(), autoencoder.eval(), text.eval())

    @torch.no_grad()
    def conditioning(self, prompts: Sequence[str]) -> Tensor:
        """Batch x 77 x width."""
        return self.text(token_ids(prompts)).last_hidden_state

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Scaled latents of pictures in -1..1."""
        return self.autoencoder.encode(pixels).latent_dist.mode() * SCALE_FACTOR

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures in -1..1."""
        return self.autoencoder.decode(latents / SCALE_FACTOR).sample.clamp(-1, 1)

    def noise(self, seeds: Sequence[int]) -> Tensor:
        side = self.architecture.latent_px
        return torch.stack(
            [torch.randn(LATENT_CHANNELS, side, side, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        )

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        negative: str = "",
        cfg_scale: float = CFG_SCALE,
        steps: int = STEPS,
        source: Tensor | None = None,
        strength: float = 1.0,
        mask: Tensor | None = None,
        batch: int = 16,
    ) -> Tensor:
        """Pictures in -1..1, one for each prompt and seed.

        With `source` (pictures) the last `strength` of the steps runs from its noised latents. With `mask` (1 is
        changed, latent size) the rest is put back at each step.
        """
        parts = []
        for part in torch.arange(len(prompts)).split(batch):
            rows = part.tolist()
            sigmas = karras(steps)[-(max(1, round(steps * strength)) + 1) :]
            noise = self.noise([seeds[row] for row in rows])
            start = self.encode(source[part]) if source is not None else torch.zeros_like(noise)
            denoise = guided(
                self.unet,
                self.conditioning([prompts[row] for row in rows]),
                self.conditioning([negative] * len(rows)),
                cfg_scale,
            )
            if mask is not None:
                denoise = _keep_outside(denoise, start, mask[part])
            scale = sigmas[0] if source is not None else (1 + sigmas[0] ** 2) ** 0.5
            parts.append(self.decode(dpmpp_2m(denoise, start + noise * scale, sigmas)))
        return torch.cat(parts)


def token_ids(prompts: Sequence[str]) -> Tensor:
    """CLIP's ids with start, end and padding: batch x 77."""
    ids = torch.full((len(prompts), POSITIONS), END_TOKEN)
    for row, prompt in zip(ids, prompts, strict=True):
        tokens = torch.tensor([START_TOKEN, *encode(prompt)[: POSITIONS - 2]])
        row[: len(tokens)] = tokens
    return ids


def architecture_of(ldm_config: Mapping[str, Any]) -> Architecture:
    """The sizes from the `ldm_config` of a file's header."""
    params = ldm_config["model"]["params"]
    unet = params["unet_config"]["params"]
    vae = params["first_stage_config"]["params"]["ddconfig"]
    text = params["cond_stage_config"]["params"]["text_config"]
    return Architecture(
        size_px=vae["resolution"],
        vae_channels=tuple(vae["ch"] * factor for factor in vae["ch_mult"]),
        vae_groups=vae["norm_num_groups"],
        unet_channels=tuple(unet["model_channels"] * factor for factor in unet["channel_mult"]),
        unet_attention=tuple(2**level in unet["attention_resolutions"] for level in range(len(unet["channel_mult"]))),
        unet_heads=unet["num_heads"],
        unet_groups=unet["norm_num_groups"],
        text_width=text["hidden_size"],
        text_layers=text["num_hidden_layers"],
        text_heads=text["num_attention_heads"],
    )


def _fill(
    module: torch.nn.Module,
    tensors: Mapping[str, Tensor],
    prefix: str,
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
) -> None:
    own = module.state_dict()
    for theirs, key in zip(rename(own), own, strict=True):
        own[key].copy_(tensors[prefix + theirs].view_as(own[key]))


def _keep_outside(
    denoise: Callable[[Tensor, Tensor], Tensor], kept: Tensor, mask: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    def blended(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x, sigma) * mask + kept * (1 - mask)

    return blended
