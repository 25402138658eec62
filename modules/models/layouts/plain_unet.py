"""LDM's UNet without text, with attention among pixels alone: diffusers' configuration and its names of the weights.

Dhariwal, Nichol 2021 (arXiv:2105.05233). The names of blocks are as in `unet.py`; attention keeps queries, keys and
values in one tensor, head by head.
"""

from __future__ import annotations

from typing import Any

from modules.errors import ModelUnsupported
from modules.models.header import Header
from modules.models.layouts.blueprint import Part, Source
from modules.models.layouts.unet import longest_match, read_unet, unet_modules

HEAD_WIDTH = 32
"""What CompVis' published models have; tensors do not tell it."""

_ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}


def plain_unet_part(header: Header, prefix: str, *, head_width: int = HEAD_WIDTH, groups: int = 32) -> Part:
    """The UNet below `prefix`: UNet2DModel's arguments and sources.

    Raises ModelFileBroken when it is incomplete, ModelUnsupported for what the class cannot express.
    """
    inside = header.under(prefix)
    layout = read_unet(inside)
    if len(set(layout.blocks_per_level)) > 1 or "middle_block.1.qkv.weight" not in inside:
        raise ModelUnsupported(
            f"{header.path}: its UNet has {layout.blocks_per_level} blocks a level; only equal numbers, and attention "
            "in the middle, are supported"
        )
    attends = tuple(f"input_blocks.{level.blocks[0]}.1.qkv.weight" in inside for level in layout.levels)
    config: dict[str, Any] = {
        "in_channels": layout.in_channels,
        "out_channels": layout.out_channels,
        "down_block_types": tuple("AttnDownBlock2D" if on else "DownBlock2D" for on in attends),
        "up_block_types": tuple("AttnUpBlock2D" if on else "UpBlock2D" for on in reversed(attends)),
        "block_out_channels": tuple(level.channels for level in layout.levels),
        "layers_per_block": layout.blocks_per_level[0],
        "attention_head_dim": head_width,
        "norm_num_groups": groups,
        "time_embedding_dim": layout.time_channels,
    }
    modules = unet_modules(layout.levels, 1)
    sources: dict[str, Source] = {}
    for key in inside:
        if (split := longest_match(key, modules)) is not None:
            module, rest = split
            sources |= _named(module, rest.removeprefix("."), prefix + key, header, head_width)
    return Part(config, sources, network="plain-unet")


def _named(module: str, rest: str, key: str, header: Header, head_width: int) -> dict[str, Source]:
    """diffusers' names of what one tensor of the file holds."""
    part, _, leaf = rest.rpartition(".")
    if ".attentions." not in module:
        return {f"{module}.{rest}": Source(key)}
    if part == "qkv":
        heads = header.tensors[key].shape[0] // 3 // head_width
        return {
            f"{module}.{name}.{leaf}": Source(key, third=third, squeezed=True, heads=heads)
            for third, name in enumerate(("to_q", "to_k", "to_v"))
        }
    return {f"{module}.{_ATTENTION.get(part, part)}.{leaf}": Source(key, squeezed=part == "proj_out")}
