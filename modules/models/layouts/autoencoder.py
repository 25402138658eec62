"""LDM's KL autoencoder seen through its tensors: diffusers' configuration for it, and diffusers' names for its weights.

A VAE file may use LDM's names (bare, or under `first_stage_model.`) or diffusers' own, old or new.
"""

from __future__ import annotations

import re
from typing import Any

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.header import Header
from modules.models.layouts.blueprint import Part, Source

PREFIXES = ("first_stage_model.", "vae.", "")
IGNORED = ("loss.", "model_ema.")
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def autoencoder_prefix(header: Header) -> str | None:
    """The prefix under which a file keeps an autoencoder, or None when it has none."""
    return next((prefix for prefix in PREFIXES if f"{prefix}decoder.conv_in.weight" in header), None)


def autoencoder_part(header: Header, prefix: str, *, groups: int = 32) -> Part:
    """The autoencoder below `prefix`; raises ModelFileBroken or ModelUnsupported when it is none that can be built."""
    inside = header.under(prefix)
    conv_in, conv_out = inside.shape("encoder.conv_in.weight"), inside.shape("encoder.conv_out.weight")
    if conv_in is None or conv_out is None:
        raise ModelFileBroken(f'{header.path}: tensor "{prefix}encoder.conv_in.weight" is missing')
    if any(re.match(r"encoder\.down(_blocks)?\.\d+\.attn", key) for key in inside):
        raise ModelUnsupported(f"{header.path}: its autoencoder has attention outside the middle block")
    is_diffusers = "encoder.down_blocks.0.resnets.0.conv1.weight" in inside
    resnet = (
        "encoder.down_blocks.{}.resnets.{}.conv2.weight" if is_diffusers else "encoder.down.{}.block.{}.conv2.weight"
    )
    channels: list[int] = []
    while (shape := inside.shape(resnet.format(len(channels), 0))) is not None:
        channels.append(shape[0])
    if not channels:
        raise ModelFileBroken(f"{header.path}: its autoencoder has no first level; the file is incomplete")
    layers = 0
    while resnet.format(0, layers) in inside:
        layers += 1
    config: dict[str, Any] = {
        "in_channels": conv_in[1],
        "out_channels": (inside.shape("decoder.conv_out.weight") or (3,))[0],
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "latent_channels": conv_out[0] // 2,
        "norm_num_groups": groups,
        "use_quant_conv": "quant_conv.weight" in inside,
        "use_post_quant_conv": "post_quant_conv.weight" in inside,
        "mid_block_add_attention": any("mid.attn_1." in key or "mid_block.attentions." in key for key in inside),
    }
    sources = {}
    for key, info in inside.tensors.items():
        if not key.startswith(IGNORED) and (name := _name(key, len(channels))) is not None:
            squeezed = ".attentions." in name and len(info.shape) == 4
            sources[name] = Source(prefix + key, squeezed=squeezed)
    return Part(config, sources)


def vq_part(header: Header, prefix: str, *, groups: int = 32) -> Part:
    """The autoencoder with a codebook below `prefix`, for diffusers' VQModel; raises as `autoencoder_part`."""
    plain = autoencoder_part(header, prefix, groups=groups)
    book = f"{prefix}quantize.embedding.weight"
    if book not in header:
        raise ModelFileBroken(f'{header.path}: tensor "{book}" is missing')
    words, width = header.tensors[book].shape
    own = ("use_quant_conv", "use_post_quant_conv")
    config = {key: value for key, value in plain.config.items() if key not in own}
    config |= {
        "latent_channels": header.tensors[f"{prefix}encoder.conv_out.weight"].shape[0],
        "num_vq_embeddings": words,
        "vq_embed_dim": width,
    }
    return Part(config, {**plain.sources, "quantize.embedding.weight": Source(book)}, network="vq")


def _name(key: str, levels: int) -> str | None:
    """diffusers' name of a weight; its own names stay as they are."""
    if not key.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):
        return None
    key = key.replace(".norm_out.", ".conv_norm_out.").replace(".nin_shortcut.", ".conv_shortcut.")
    key = re.sub(r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets.", key)
    key = re.sub(r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0.", key)
    key = re.sub(r"^decoder\.up\.(\d+)\.block\.", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.resnets.", key)
    key = re.sub(
        r"^decoder\.up\.(\d+)\.upsample\.", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.upsamplers.0.", key
    )
    key = re.sub(r"\.mid\.block_(\d)\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", key)
    key = re.sub(r"\.mid\.attn_1\.(\w+)\.", lambda m: f".mid_block.attentions.0.{_ATTENTION.get(m[1], m[1])}.", key)
    return re.sub(
        r"(\.attentions\.0)\.(\w+)\.(weight|bias)$", lambda m: f"{m[1]}.{_OLD_ATTENTION.get(m[2], m[2])}.{m[3]}", key
    )
