"""Writes the three networks as one safetensors file in Stable Diffusion 1's own layout and key names."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tools.starter.architecture import LATENT_CHANNELS, SCALE_FACTOR, Architecture
from tools.starter.concepts import Concept
from tools.starter.latents import read_latents, whiten
from tools.starter.tokens import CompactVocabulary
from tools.starter.training import load_averaged

TITLE = "Starter"
ATTRIBUTION = (
    "Fluent Emoji 3D (c) Microsoft Corporation, MIT; "
    "emojibase-data (c) Miles Johnson, MIT, from Unicode CLDR, Unicode-3.0"
)

_RESNET_UNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENTION_VAE = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_keys(state: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """diffusers' UNet weights under LDM's names, without the `model.diffusion_model.` prefix."""
    attention_up = tuple(reversed(architecture.unet_attention))
    renamed = {}
    for key, tensor in state.items():
        renamed[_unet_key(key, attention_up)] = tensor
    return renamed


def _unet_key(key: str, attention_up: tuple[bool, ...]) -> str:
    top = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    for ours, theirs in top.items():
        if key.startswith(ours + "."):
            return theirs + key.removeprefix(ours)
    if match := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.+)", key):
        return f"input_blocks.{(int(match[1]) + 1) * 2}.0.op.{match[2]}"
    if match := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.+)", key):
        level = int(match[1])
        return f"output_blocks.{level * 2 + 1}.{2 if attention_up[level] else 1}.conv.{match[2]}"
    if match := re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions)\.0\.(.+)", key):
        return f"input_blocks.{1 + int(match[1]) * 2}.{_part(match[2], match[3])}"
    if match := re.fullmatch(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d)\.(.+)", key):
        return f"output_blocks.{int(match[1]) * 2 + int(match[3])}.{_part(match[2], match[4])}"
    if match := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.+)", key):
        return f"middle_block.{int(match[1]) * 2}.{_part('resnets', match[2]).removeprefix('0.')}"
    if match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)", key):
        return f"middle_block.1.{match[1]}"
    raise KeyError(f"no LDM name for the UNet weight {key!r}")


def _part(kind: str, rest: str) -> str:
    if kind == "attentions":
        return f"1.{rest}"
    layer, _, leaf = rest.rpartition(".")
    return f"0.{_RESNET_UNET[layer]}.{leaf}"


def autoencoder_keys(state: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """diffusers' autoencoder weights under LDM's names, without the `first_stage_model.` prefix."""
    return dict(_autoencoder_item(key, tensor, len(architecture.vae_channels)) for key, tensor in state.items())


def _autoencoder_item(key: str, tensor: Tensor, levels: int) -> tuple[str, Tensor]:
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2", key)
    key = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample", key)
    key = re.sub(
        r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.block.{m[2]}", key
    )
    key = re.sub(
        r"decoder\.up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.upsample", key
    )
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    if match := re.fullmatch(r"(encoder|decoder)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", key):
        key = f"{match[1]}.mid.attn_1.{_ATTENTION_VAE[match[2]]}.{match[3]}"
        if tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
    return key, tensor


def text_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' text weights under `text_model.`, whichever of its versions they come from."""
    return {
        f"text_model.{key.removeprefix('text_model.')}": tensor
        for key, tensor in state.items()
        if "position_ids" not in key
    }


@torch.no_grad()
def fold_whitening(autoencoder: AutoencoderKL, latents: Tensor) -> None:
    """Changes the autoencoder in place so that latents times 0.18215 have mean 0 and deviation 1 in each channel.

    `latents` are unscaled means of many pictures. Each channel's shift and factor go into `quant_conv` and, undone,
    into `post_quant_conv`; pictures come out the same. The variance half is set to a small constant.
    """
    mean = latents.mean((0, 2, 3))
    gain = 1 / (latents.std((0, 2, 3)) * SCALE_FACTOR)
    quant, post = autoencoder.quant_conv, autoencoder.post_quant_conv
    quant.weight[:LATENT_CHANNELS] *= gain[:, None, None, None]
    quant.bias[:LATENT_CHANNELS] = (quant.bias[:LATENT_CHANNELS] - mean) * gain
    quant.weight[LATENT_CHANNELS:] = 0
    quant.bias[LATENT_CHANNELS:] = -12.0
    post.bias += (post.weight[:, :, 0, 0] * mean[None]).sum(1)
    post.weight /= gain[None, :, None, None]


LatentColours = dict[str, list[Any]]
"""`factors`, red, green and blue of each latent channel, and `bias`, for colours in -1..1: what live previews use."""
COLOUR_SAMPLES = 64


@torch.no_grad()
def latent_colours(autoencoder: AutoencoderKL, few: Tensor, latents: Tensor) -> LatentColours:
    """The matrix that turns whitened latents into colours nearest to what the decoder makes of `few` of them.

    `few` and `latents` are unscaled means as the encoder gives them, before `fold_whitening`.
    """
    pixels = torch.cat([autoencoder.decode(part).sample for part in few.split(8)]).clamp(-1, 1)
    small = nn.functional.avg_pool2d(pixels, pixels.shape[-1] // few.shape[-1])
    scaled = whiten(few, like=latents)
    known = torch.cat([scaled, torch.ones_like(scaled[:, :1])], 1).permute(0, 2, 3, 1).flatten(0, 2)
    found = torch.linalg.lstsq(known, small.permute(0, 2, 3, 1).flatten(0, 2)).solution
    rows = [[round(value, 4) for value in row] for row in found.tolist()]
    return {"factors": rows[:-1], "bias": rows[-1]}


def export_state(folder: Path, path: Path, architecture: Architecture, concepts: Sequence[Concept]) -> None:
    """Writes the averaged weights of the training state in `folder` as a checkpoint at `path`."""
    autoencoder = architecture.autoencoder()
    sharpened = folder / "decoder.pt"
    autoencoder.load_state_dict(load_averaged(sharpened if sharpened.exists() else folder / "autoencoder.pt"))
    latents, _ = read_latents(folder)
    few = latents[:: max(1, len(latents) // COLOUR_SAMPLES)].float()
    colours = latent_colours(autoencoder, few, latents.float())
    fold_whitening(autoencoder, latents.float())
    trained = load_averaged(folder / "unet.pt")
    unet = {key.removeprefix("unet."): value for key, value in trained.items() if key.startswith("unet.")}
    text = {key.removeprefix("text."): value for key, value in trained.items() if key.startswith("text.")}
    table = next(key for key in text if key.endswith("token_embedding.weight"))
    text[table] = CompactVocabulary.of(concepts).expand(text[table])
    names = ", ".join(concept.name for concept in concepts)
    description = f"A small text-to-image model for trying the web UI, trained on emoji pictures. It knows: {names}."
    write_checkpoint(path, architecture, unet, autoencoder.state_dict(), text, description, colours)


def replace_decoder(path: Path, folder: Path, architecture: Architecture) -> None:
    """Puts the sharpened decoder of the training state in `folder` into the checkpoint at `path`.

    For a decoder that went on from the file itself (the stage `resume`): every other tensor stays as it is, bit for
    bit, so latents, LoRA and embeddings made for the file fit as before.
    """
    trained = autoencoder_keys(load_averaged(folder / "decoder.pt"), architecture)
    with safe_open(path, framework="pt") as file:
        header = {**file.metadata(), "modelspec.date": date.today().isoformat()}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    for key, tensor in trained.items():
        if key.startswith(("decoder.", "post_quant_conv.")):
            tensors[f"first_stage_model.{key}"] = tensor
    _write(path, tensors, header)


def write_checkpoint(
    path: Path,
    architecture: Architecture,
    unet: Mapping[str, Tensor],
    autoencoder: Mapping[str, Tensor],
    text: Mapping[str, Tensor],
    description: str,
    colours: LatentColours | None = None,
) -> None:
    """Writes diffusers' and transformers' weights as one fp16 file with its sizes and origin in the header."""
    tensors = {f"model.diffusion_model.{key}": value for key, value in unet_keys(unet, architecture).items()}
    tensors |= {f"first_stage_model.{key}": value for key, value in autoencoder_keys(autoencoder, architecture).items()}
    tensors |= {f"cond_stage_model.transformer.{key}": value for key, value in text_keys(text).items()}
    _write(path, tensors, metadata(architecture, description, colours))


def _write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    halves = {key: value.detach().to(torch.float16).contiguous() for key, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(halves, partial, metadata=dict(header))
    partial.chmod(0o644)
    partial.replace(path)


def metadata(architecture: Architecture, description: str, colours: LatentColours | None) -> dict[str, str]:
    side = architecture.size_px
    preview = {} if colours is None else {"latent_rgb": json.dumps(colours)}
    return {
        **preview,
        "format": "pt",
        "ldm_config": json.dumps(architecture.ldm_config()),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1",
        "modelspec.implementation": "https://github.com/CompVis/stable-diffusion",
        "modelspec.title": TITLE,
        "modelspec.description": description,
        "modelspec.author": "the web UI's authors",
        "modelspec.license": "MIT",
        "modelspec.attribution": ATTRIBUTION,
        "modelspec.date": date.today().isoformat(),
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.prediction_type": "epsilon",
        "modelspec.usage_hint": "a red apple on a yellow background",
    }
