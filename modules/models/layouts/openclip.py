"""OpenCLIP's transformer blocks under transformers' names; its text and vision towers are built of the same ones."""

from __future__ import annotations

from modules.models.header import Header
from modules.models.layouts.blueprint import Source

_MODULES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def count_blocks(tower: Header) -> int:
    """How many blocks a tower has, given what lies below its prefix."""
    layers = 0
    while f"transformer.resblocks.{layers}.ln_1.weight" in tower:
        layers += 1
    return layers


def block_sources(prefix: str, layers: int, ours: str) -> dict[str, Source]:
    """Where the weights of `<ours>.0` … come from below `prefix`; queries, keys and values lie joined in one tensor."""
    sources = {}
    for layer in range(layers):
        theirs, own = f"{prefix}transformer.resblocks.{layer}", f"{ours}.{layer}"
        for kind in ("weight", "bias"):
            for module, name in _MODULES.items():
                sources[f"{own}.{name}.{kind}"] = Source(f"{theirs}.{module}.{kind}")
            for third, name in enumerate(("q_proj", "k_proj", "v_proj")):
                sources[f"{own}.self_attn.{name}.{kind}"] = Source(f"{theirs}.attn.in_proj_{kind}", third=third)
    return sources
