"""CLIP text encoders seen through their tensors, in transformers' and in OpenCLIP's naming.

Names are those of `transformers.CLIPTextModel` without the leading `text_model.` that some of its versions have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.errors import ModelFileBroken
from modules.models.header import Header
from modules.models.layouts.blueprint import Source
from modules.models.layouts.openclip import block_sources, count_blocks

START_ID, END_ID = 49406, 49407
_CONFIG_KEYS = ("num_attention_heads", "hidden_act", "layer_norm_eps")


def clip_tower(header: Header, prefix: str, stated: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Source]]:
    """(CLIPTextConfig's arguments, sources) of an encoder with transformers' names below `prefix`.

    `stated` is the configuration's word on heads and activation; without it heads are 64 wide and the activation is
    OpenAI's quick_gelu. Files older than transformers 4.25 lack `text_model.` in their names.
    """
    inside = header.under(prefix)
    sources = {
        name: Source(prefix + key)
        for key in inside
        if (name := key.removeprefix("text_model.")).startswith(("embeddings.", "encoder.", "final_layer_norm."))
        and not key.endswith("position_ids")
    }
    shapes = {name: header.tensors[source.key].shape for name, source in sources.items()}
    layers = 0
    while f"encoder.layers.{layers}.layer_norm1.weight" in shapes:
        layers += 1
    try:
        vocabulary, width = shapes["embeddings.token_embedding.weight"]
        positions = shapes["embeddings.position_embedding.weight"][0]
        inner = shapes["encoder.layers.0.mlp.fc1.weight"][0]
    except KeyError as error:
        raise ModelFileBroken(f'{header.path}: tensor "{prefix}text_model.{error.args[0]}" is missing') from error
    return _config(vocabulary, width, positions, inner, layers, "quick_gelu", stated), sources


def openclip_tower(header: Header, prefix: str, stated: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Source]]:
    """(CLIPTextConfig's arguments, sources) of an encoder with OpenCLIP's names below `prefix`."""
    inside = header.under(prefix)
    layers = count_blocks(inside)
    embedding = inside.shape("token_embedding.weight")
    positions = inside.shape("positional_embedding")
    inner = inside.shape("transformer.resblocks.0.mlp.c_fc.weight")
    if embedding is None or positions is None or inner is None:
        raise ModelFileBroken(f'{header.path}: the text encoder below "{prefix}" is incomplete')
    sources = {
        "embeddings.token_embedding.weight": Source(f"{prefix}token_embedding.weight"),
        "embeddings.position_embedding.weight": Source(f"{prefix}positional_embedding"),
    }
    for kind in ("weight", "bias"):
        sources[f"final_layer_norm.{kind}"] = Source(f"{prefix}ln_final.{kind}")
    sources |= block_sources(prefix, layers, "encoder.layers")
    sources = {name: source for name, source in sources.items() if source.key in header}
    return _config(*embedding, positions[0], inner[0], layers, "gelu", stated), sources


def _config(
    vocabulary: int, width: int, positions: int, inner: int, layers: int, activation: str, stated: Mapping[str, Any]
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "max_position_embeddings": positions,
        "num_attention_heads": max(width // 64, 1),
        "hidden_act": activation,
        "projection_dim": width,
        "bos_token_id": START_ID,
        "eos_token_id": END_ID,
        "pad_token_id": 1,
    }
    return config | {key: stated[key] for key in _CONFIG_KEYS if key in stated}
