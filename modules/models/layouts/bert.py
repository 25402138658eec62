"""The text encoder that CompVis trained with its text-to-image model, seen through its tensors (x-transformers' names).

The network is diffusers' LDMBertEncoder: 32 layers 1280 wide with BERT's tokens, learned along with the UNet.
"""

from __future__ import annotations

from typing import Any

from modules.errors import ModelFileBroken
from modules.models.header import Header
from modules.models.layouts.blueprint import Source

HEAD_WIDTH = 64
_ATTENTION = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_PLAIN = {"token_emb": "embed_tokens", "pos_emb.emb": "embed_positions", "norm": "layer_norm"}


def bert_tower(header: Header, prefix: str) -> tuple[dict[str, Any], dict[str, Source]]:
    """(LDMBertConfig's arguments, sources) of the encoder below `prefix`; raises ModelFileBroken when it is incomplete.

    The file numbers attention and feed-forward in one row; each comes after a norm of its own.
    """
    inside = header.under(prefix)
    shapes = [
        inside.shape(key)
        for key in (
            "token_emb.weight",
            "pos_emb.emb.weight",
            "attn_layers.layers.0.1.to_q.weight",
            "attn_layers.layers.1.1.net.0.0.weight",
        )
    ]
    if any(shape is None for shape in shapes):
        raise ModelFileBroken(f'{header.path}: the text encoder below "{prefix}" is incomplete')
    (vocabulary, width), (positions, _), (rows, _), (inner, _) = shapes  # type: ignore[misc]
    layers = 0
    while f"attn_layers.layers.{2 * layers}.1.to_q.weight" in inside:
        layers += 1
    config: dict[str, Any] = {
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "encoder_layers": layers,
        "encoder_ffn_dim": inner,
        "encoder_attention_heads": rows // HEAD_WIDTH,
        "head_dim": HEAD_WIDTH,
        "d_model": width,
        "dropout": 0.0,
    }
    modules = dict(_PLAIN)
    for layer in range(layers):
        attention, feed = (f"attn_layers.layers.{2 * layer + part}" for part in (0, 1))
        modules |= {
            f"{attention}.1.{theirs}": f"layers.{layer}.self_attn.{ours}" for theirs, ours in _ATTENTION.items()
        }
        modules |= {
            f"{attention}.0.0": f"layers.{layer}.self_attn_layer_norm",
            f"{feed}.0.0": f"layers.{layer}.final_layer_norm",
            f"{feed}.1.net.0.0": f"layers.{layer}.fc1",
            f"{feed}.1.net.2": f"layers.{layer}.fc2",
        }
    sources = {}
    for key in inside:
        module, _, leaf = key.rpartition(".")
        if module in modules:
            sources[f"{modules[module]}.{leaf}"] = Source(prefix + key)
    return config, sources
