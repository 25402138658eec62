"""SD 3's multimodal diffusion transformer seen through its tensors: diffusers' configuration, and its names of weights.

Any depth, with normed queries and keys or without, with a second attention in some blocks or none: SD 3 medium, 3.5
medium, 3.5 large. Esser et al. 2024 (arXiv:2403.03206), figure 2.
"""

from __future__ import annotations

from typing import Any

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.header import Header
from modules.models.layouts.blueprint import Part, Source

HEAD_WIDTH = 64
_PLAIN = {
    "pos_embed": "pos_embed.pos_embed",
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "context_embedder": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_PICTURE = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn.to_out.0",
    "attn.ln_q": "attn.norm_q",
    "attn.ln_k": "attn.norm_k",
    "attn2.proj": "attn2.to_out.0",
    "attn2.ln_q": "attn2.norm_q",
    "attn2.ln_k": "attn2.norm_k",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
_TEXT = {
    "adaLN_modulation.1": "norm1_context.linear",
    "attn.proj": "attn.to_add_out",
    "attn.ln_q": "attn.norm_added_q",
    "attn.ln_k": "attn.norm_added_k",
    "mlp.fc1": "ff_context.net.0.proj",
    "mlp.fc2": "ff_context.net.2",
}
_JOINED = {
    ("x_block", "attn.qkv"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("x_block", "attn2.qkv"): ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    ("context_block", "attn.qkv"): ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}


def mmdit_part(header: Header, prefix: str) -> Part:
    """The transformer below `prefix`: SD3Transformer2DModel's arguments and the sources of its weights.

    Raises ModelFileBroken when tensors that tell its sizes are missing, ModelUnsupported for what the class cannot do.
    """
    inside = header.under(prefix)
    patches, table = _needed(header, prefix, "x_embedder.proj.weight"), _needed(header, prefix, "pos_embed")
    width, channels, patch = patches[:3]
    side = round(table[-2] ** 0.5)
    if width % HEAD_WIDTH or side * side != table[-2]:
        raise ModelUnsupported(
            f"{header.path}: its transformer is {width} wide with {table[-2]} places; widths are multiples of "
            f"{HEAD_WIDTH} and places fill a square in every model known here"
        )
    depth = 0
    while f"joint_blocks.{depth}.x_block.attn.qkv.weight" in inside:
        depth += 1
    context = _needed(header, prefix, "context_embedder.weight")
    config: dict[str, Any] = {
        "sample_size": side * patch,
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": _needed(header, prefix, "final_layer.linear.weight")[0] // patch**2,
        "num_layers": depth,
        "attention_head_dim": HEAD_WIDTH,
        "num_attention_heads": width // HEAD_WIDTH,
        "joint_attention_dim": context[1],
        "caption_projection_dim": context[0],
        "pooled_projection_dim": _needed(header, prefix, "y_embedder.mlp.0.weight")[1],
        "pos_embed_max_size": side,
        "dual_attention_layers": tuple(
            block for block in range(depth) if f"joint_blocks.{block}.x_block.attn2.qkv.weight" in inside
        ),
        "qk_norm": "rms_norm" if "joint_blocks.0.x_block.attn.ln_q.weight" in inside else None,
    }
    sources = {
        name: source for key in inside for name, source in _named(key, prefix, last=f"joint_blocks.{depth - 1}.")
    }
    return Part(config, sources, network="mmdit")


def _named(key: str, prefix: str, *, last: str) -> list[tuple[str, Source]]:
    """(diffusers' name, source) of every weight that a tensor of the file holds: three for joined q, k and v."""
    if key in _PLAIN:
        return [(_PLAIN[key], Source(prefix + key))]
    module, _, leaf = key.rpartition(".")
    if module in _PLAIN:
        # diffusers keeps scale before shift in norms that have nothing else
        swapped = module == "final_layer.adaLN_modulation.1"
        return [(f"{_PLAIN[module]}.{leaf}", Source(prefix + key, swapped=swapped))]
    _, number, stream, rest = [*module.split(".", 3), "", "", ""][:4]
    block = f"transformer_blocks.{number}"
    if (joined := _JOINED.get((stream, rest))) is not None:
        return [(f"{block}.{name}.{leaf}", Source(prefix + key, third=third)) for third, name in enumerate(joined)]
    names = {"x_block": _PICTURE, "context_block": _TEXT}.get(stream, {})
    if rest not in names:
        return []
    swapped = key.startswith(last) and stream == "context_block" and rest == "adaLN_modulation.1"
    return [(f"{block}.{names[rest]}.{leaf}", Source(prefix + key, swapped=swapped))]


def _needed(header: Header, prefix: str, key: str) -> tuple[int, ...]:
    shape = header.shape(prefix + key)
    if shape is None:
        raise ModelFileBroken(f'{header.path}: tensor "{prefix}{key}" is missing; the file is incomplete')
    return shape
