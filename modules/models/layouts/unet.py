"""LDM's UNet seen through its tensors: diffusers' configuration for it, and diffusers' names for its weights.

LDM numbers its blocks in one row (`input_blocks.4.1`), diffusers by level (`down_blocks.1.attentions.0`). Everything is
read from which tensors exist and from their shapes, so any depth, width and attention layout that UNet2DConditionModel
can express is understood, not only the published sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.header import Header
from modules.models.layouts.blueprint import Source

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


@dataclass(frozen=True)
class Level:
    """One resolution of the UNet: its input blocks' indices, channels, and transformer depth (0: no attention)."""

    blocks: tuple[int, ...]
    channels: int
    depth: int
    downsample: int | None  # index of the input block that halves the size


@dataclass(frozen=True)
class UnetLayout:
    """The UNet's sizes, from its tensors alone; names in the header are without `model.diffusion_model.`."""

    header: Header
    model_channels: int
    time_channels: int
    in_channels: int
    out_channels: int
    levels: tuple[Level, ...]
    middle_depth: int
    context_width: int | None
    uses_linear: bool  # proj_in and proj_out are linear layers (SD 2, SDXL)
    label_width: int | None  # size of the extra vector (SDXL, unCLIP)

    @property
    def blocks_per_level(self) -> tuple[int, ...]:
        return tuple(len(level.blocks) for level in self.levels)


def read_unet(header: Header) -> UnetLayout:
    """The layout of the UNet whose tensors `header` lists; raises ModelFileBroken when the first ones are missing."""
    first = _needed(header, "input_blocks.0.0.weight")
    time = _needed(header, "time_embed.0.weight")
    out = _needed(header, "out.2.weight")
    levels = _levels(header)
    attention = next((key for key in header if key.endswith("attn2.to_k.weight")), None)
    projection = next((key for key in header if key.endswith(".proj_in.weight")), None)
    label = header.shape("label_emb.0.0.weight")
    return UnetLayout(
        header=header,
        model_channels=time[1],
        time_channels=time[0],
        in_channels=first[1],
        out_channels=out[0],
        levels=levels,
        middle_depth=_depth(header, "middle_block.1"),
        context_width=header.tensors[attention].shape[1] if attention else None,
        uses_linear=projection is not None and len(header.tensors[projection].shape) == 2,
        label_width=label[1] if label else None,
    )


def unet_config(
    layout: UnetLayout, *, heads: int | tuple[int, ...] | None, head_channels: int | None, groups: int
) -> dict[str, Any]:
    """UNet2DConditionModel's arguments. One of `heads` (a number, or one a level) and `head_channels` (a width) decides
    the attention.

    Raises ModelUnsupported for layouts that diffusers' class cannot express.
    """
    channels = tuple(level.channels for level in layout.levels)
    if channels[0] != layout.model_channels:
        raise ModelUnsupported(
            f"{layout.header.path}: its UNet's first level has {channels[0]} channels and its first convolution "
            f"{layout.model_channels}; only equal numbers are supported"
        )
    depths = [level.depth for level in layout.levels]
    if layout.middle_depth and depths[-1] not in (0, layout.middle_depth):
        raise ModelUnsupported(
            f"{layout.header.path}: its middle block has {layout.middle_depth} transformer layers and its last level "
            f"{depths[-1]}; only equal numbers are supported"
        )
    transformer_layers = [depth or 1 for depth in depths]
    if layout.middle_depth:
        transformer_layers[-1] = layout.middle_depth
    has_attention = tuple(depth > 0 for depth in depths)
    if head_channels is not None:
        head_counts = tuple(max(width // head_channels, 1) for width in channels)
    else:
        head_counts = heads if isinstance(heads, tuple) else (heads or 8,) * len(channels)
    return {
        "in_channels": layout.in_channels,
        "out_channels": layout.out_channels,
        "down_block_types": tuple("CrossAttnDownBlock2D" if on else "DownBlock2D" for on in has_attention),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if layout.middle_depth else "UNetMidBlock2D",
        "up_block_types": tuple("CrossAttnUpBlock2D" if on else "UpBlock2D" for on in reversed(has_attention)),
        "block_out_channels": channels,
        "layers_per_block": layout.blocks_per_level,
        "norm_num_groups": groups,
        "cross_attention_dim": layout.context_width or layout.model_channels,
        "attention_head_dim": head_counts,  # diffusers means the number of heads by this name
        "transformer_layers_per_block": tuple(transformer_layers),
        "use_linear_projection": layout.uses_linear,
        "time_embedding_dim": layout.time_channels,
    }


def unet_sources(layout: UnetLayout, prefix: str, *, label: str | None = None) -> dict[str, Source]:
    """Where each weight of the UNet is: diffusers' name → the file's, which has `prefix` before LDM's name.

    `label` is diffusers' module for LDM's `label_emb` ("add_embedding" for SDXL, "class_embedding" for unCLIP).
    """
    modules = unet_modules(layout.levels, layout.middle_depth, label=label)
    return {
        f"{ours}{rest}": Source(f"{prefix}{key}")
        for key in layout.header
        if (split := longest_match(key, modules)) is not None
        for ours, rest in [split]
    }


def unet_modules(levels: Sequence[Level], middle_depth: int, *, label: str | None = None) -> dict[str, str]:
    """diffusers' module for each of LDM's; `label` as in `unet_sources`.

    An upsampler has two names of LDM's here: it follows the attention where there is one.
    """
    modules = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    if label:
        modules |= {"label_emb.0.0": f"{label}.linear_1", "label_emb.0.2": f"{label}.linear_2"}
    return modules | _down_modules(levels) | _middle_modules(middle_depth) | _up_modules(levels)


def _down_modules(levels: Sequence[Level]) -> dict[str, str]:
    modules: dict[str, str] = {}
    for index, level in enumerate(levels):
        for number, block in enumerate(level.blocks):
            modules |= _resnet(f"input_blocks.{block}.0", f"down_blocks.{index}.resnets.{number}")
            modules[f"input_blocks.{block}.1"] = f"down_blocks.{index}.attentions.{number}"
        if level.downsample is not None:
            modules[f"input_blocks.{level.downsample}.0.op"] = f"down_blocks.{index}.downsamplers.0.conv"
    return modules


def _middle_modules(depth: int) -> dict[str, str]:
    if depth:
        return {
            **_resnet("middle_block.0", "mid_block.resnets.0"),
            "middle_block.1": "mid_block.attentions.0",
            **_resnet("middle_block.2", "mid_block.resnets.1"),
        }
    return {**_resnet("middle_block.0", "mid_block.resnets.0"), **_resnet("middle_block.1", "mid_block.resnets.1")}


def _up_modules(levels: Sequence[Level]) -> dict[str, str]:
    modules: dict[str, str] = {}
    block = 0
    for index, level in enumerate(reversed(levels)):
        for number in range(len(level.blocks) + 1):
            modules |= _resnet(f"output_blocks.{block}.0", f"up_blocks.{index}.resnets.{number}")
            modules[f"output_blocks.{block}.1"] = f"up_blocks.{index}.attentions.{number}"
            for place in (1, 2):  # after the attention if there is one
                modules[f"output_blocks.{block}.{place}.conv"] = f"up_blocks.{index}.upsamplers.0.conv"
            block += 1
    return modules


def _resnet(ldm: str, diffusers: str) -> dict[str, str]:
    return {f"{ldm}.{theirs}": f"{diffusers}.{ours}" for theirs, ours in RESNET.items()}


def longest_match(key: str, modules: dict[str, str]) -> tuple[str, str] | None:
    """(diffusers' module, the rest of the key with its dot) for the longest module name that `key` lies in."""
    end = len(key)
    while (end := key.rfind(".", 0, end)) > 0:
        if (module := modules.get(key[:end])) is not None:
            return module, key[end:]
    return None


def _levels(header: Header) -> tuple[Level, ...]:
    levels: list[Level] = []
    blocks: list[int] = []
    depth, channels = 0, 0
    index = 1
    while True:
        if (shape := header.shape(f"input_blocks.{index}.0.in_layers.2.weight")) is not None:
            blocks.append(index)
            channels = shape[0]
            depth = max(depth, _depth(header, f"input_blocks.{index}.1"))
        elif f"input_blocks.{index}.0.op.weight" in header and blocks:
            levels.append(Level(tuple(blocks), channels, depth, downsample=index))
            blocks, depth = [], 0
        else:
            break
        index += 1
    if not blocks:
        raise ModelFileBroken(f"{header.path}: its UNet ends in the middle of a level; the file is incomplete")
    return (*levels, Level(tuple(blocks), channels, depth, downsample=None))


def _depth(header: Header, block: str) -> int:
    depth = 0
    while f"{block}.transformer_blocks.{depth}.attn1.to_q.weight" in header:
        depth += 1
    return depth


def _needed(header: Header, key: str) -> tuple[int, ...]:
    shape = header.shape(key)
    if shape is None or len(shape) < 2:
        raise ModelFileBroken(f'{header.path}: tensor "model.diffusion_model.{key}" is missing; the file is incomplete')
    return shape
