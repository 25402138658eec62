"""CLIP's and OpenCLIP's vision towers seen through their tensors: transformers' configuration and names for them."""

from __future__ import annotations

from typing import Any

from modules.errors import ModelFileBroken
from modules.models.header import Header
from modules.models.layouts.blueprint import Part, Source
from modules.models.layouts.openclip import block_sources, count_blocks

PREFIX = "embedder.model.visual."
"""Where Stable Diffusion's unCLIP checkpoints keep theirs."""

_HEADS_OF_WIDTH = {1280: 16}  # ViT-H; all others have heads 64 wide
_OPENAI_PROJECTION = 768
"""ViT-L of OpenAI projects to this width, and alone has the quick approximation of GELU."""


def has_vision(header: Header) -> bool:
    """Whether a file carries a vision tower."""
    return f"{PREFIX}conv1.weight" in header


def vision_part(header: Header) -> Part:
    """The vision tower below `PREFIX`, with CLIPVisionConfig's arguments; raises ModelFileBroken."""
    inside = header.under(PREFIX)
    layers = count_blocks(inside)
    needed = ("conv1.weight", "positional_embedding", "proj", "transformer.resblocks.0.mlp.c_fc.weight")
    for key in needed:
        if key not in inside:
            raise ModelFileBroken(f'{header.path}: tensor "{PREFIX}{key}" is missing; the vision tower is incomplete')
    first, positions, projection, inner = (inside.tensors[key].shape for key in needed)
    width, patch = first[0], first[-1]
    config: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": inner[0],
        "projection_dim": projection[1],
        "num_hidden_layers": layers,
        "num_attention_heads": _HEADS_OF_WIDTH.get(width, max(width // 64, 1)),
        "num_channels": first[1],
        "image_size": round((positions[0] - 1) ** 0.5) * patch,
        "patch_size": patch,
        "hidden_act": "quick_gelu" if projection[1] == _OPENAI_PROJECTION else "gelu",
    }
    return Part(config, {name: source for name, source in _sources(layers).items() if source.key in header})


def _sources(layers: int) -> dict[str, Source]:
    sources = {
        "vision_model.embeddings.class_embedding": Source(f"{PREFIX}class_embedding"),
        "vision_model.embeddings.patch_embedding.weight": Source(f"{PREFIX}conv1.weight"),
        "vision_model.embeddings.position_embedding.weight": Source(f"{PREFIX}positional_embedding"),
        "visual_projection.weight": Source(f"{PREFIX}proj", transposed=True),
    }
    for kind in ("weight", "bias"):
        sources[f"vision_model.pre_layrnorm.{kind}"] = Source(f"{PREFIX}ln_pre.{kind}")
        sources[f"vision_model.post_layernorm.{kind}"] = Source(f"{PREFIX}ln_post.{kind}")
    sources |= block_sources(PREFIX, layers, "vision_model.encoder.layers")
    return sources
