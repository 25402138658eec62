"""T5's encoder seen through its tensors, in transformers' naming. Raffel et al. 2020 (arXiv:1910.10683); v1.1 gates."""

from __future__ import annotations

from typing import Any

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.header import Header
from modules.models.layouts.blueprint import Source


def t5_tower(header: Header, prefix: str) -> tuple[dict[str, Any], dict[str, Source]]:
    """(T5Config's arguments, sources by the names of `T5Stack`) of the encoder below `prefix`.

    Raises ModelFileBroken when tensors that tell its sizes are missing.
    """
    inside = header.under(prefix)
    table = next((key for key in ("shared.weight", "encoder.embed_tokens.weight") if key in inside), None)
    bias = inside.shape("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
    q = inside.shape("encoder.block.0.layer.0.SelfAttention.q.weight")
    gated = inside.shape("encoder.block.0.layer.1.DenseReluDense.wi_0.weight")
    inner = gated or inside.shape("encoder.block.0.layer.1.DenseReluDense.wi.weight")
    if table is None or bias is None or q is None or inner is None:
        raise ModelFileBroken(f'{header.path}: the T5 text encoder below "{prefix}" is incomplete')
    if any(key.endswith((".scale_weight", "scaled_fp8")) for key in inside):
        raise ModelUnsupported(f"{header.path}: its T5 is stored as scaled fp8; use the fp16 or the plain fp8 one")
    layers = 0
    while f"encoder.block.{layers}.layer.0.SelfAttention.q.weight" in inside:
        layers += 1
    vocabulary, width = inside.tensors[table].shape
    config: dict[str, Any] = {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": q[0] // bias[1],
        "d_ff": inner[0],
        "num_layers": layers,
        "num_heads": bias[1],
        "relative_attention_num_buckets": bias[0],
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "dropout_rate": 0.0,
    }
    sources = {
        key.removeprefix("encoder."): Source(prefix + key)
        for key in inside
        if key.startswith(("encoder.block.", "encoder.final_layer_norm."))
    }
    return config, sources | {"embed_tokens.weight": Source(prefix + table)}
