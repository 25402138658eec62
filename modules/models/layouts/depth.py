"""MiDaS' DPT-hybrid seen through its tensors: transformers' configuration for it, transformers' names for its weights.

Ranftl et al. 2021 (arXiv:2103.13413): a ResNet in front of a vision transformer. Stable Diffusion 2's depth checkpoint
carries it under `depth_model.model.`; MiDaS' own file (`dpt_hybrid-midas-….pt`) has the same names without prefix.
"""

from __future__ import annotations

import re
from typing import Any

from modules.errors import ModelFileBroken
from modules.models.header import Header
from modules.models.layouts.blueprint import Part, Source

PREFIXES = ("depth_model.model.", "")
_CLS = "pretrained.model.cls_token"
_NAMES = (
    (r"pretrained\.model\.(cls_token)", r"dpt.embeddings.\1"),
    (r"pretrained\.model\.pos_embed", r"dpt.embeddings.position_embeddings"),
    (r"pretrained\.model\.patch_embed\.backbone\.stem\.conv\.", r"dpt.embeddings.backbone.bit.embedder.convolution."),
    (r"pretrained\.model\.patch_embed\.backbone\.stem\.norm\.", r"dpt.embeddings.backbone.bit.embedder.norm."),
    (
        r"pretrained\.model\.patch_embed\.backbone\.stages\.(\d+)\.blocks\.",
        r"dpt.embeddings.backbone.bit.encoder.stages.\1.layers.",
    ),
    (r"pretrained\.model\.patch_embed\.proj\.", r"dpt.embeddings.projection."),
    (r"pretrained\.model\.blocks\.(\d+)\.norm1\.", r"dpt.encoder.layer.\1.layernorm_before."),
    (r"pretrained\.model\.blocks\.(\d+)\.norm2\.", r"dpt.encoder.layer.\1.layernorm_after."),
    (r"pretrained\.model\.blocks\.(\d+)\.attn\.proj\.", r"dpt.encoder.layer.\1.attention.output.dense."),
    (r"pretrained\.model\.blocks\.(\d+)\.mlp\.fc1\.", r"dpt.encoder.layer.\1.intermediate.dense."),
    (r"pretrained\.model\.blocks\.(\d+)\.mlp\.fc2\.", r"dpt.encoder.layer.\1.output.dense."),
    (r"pretrained\.model\.norm\.", r"dpt.layernorm."),
)
_JOINED = re.compile(r"pretrained\.model\.blocks\.(\d+)\.attn\.qkv\.(weight|bias)")
_READOUT = re.compile(r"pretrained\.act_postprocess(\d)\.(0\.project\.0|3|4)\.(weight|bias)")
_LEVEL = re.compile(r"scratch\.layer(\d)_rn\.(weight)")
_FUSION = re.compile(r"scratch\.refinenet(\d)\.(?:(out_conv)|resConfUnit(\d)\.conv(\d))\.(weight|bias)")
_HEAD = re.compile(r"scratch\.output_conv\.(\d)\.(weight|bias)")


def depth_prefix(header: Header) -> str | None:
    """The prefix under which a file keeps a DPT-hybrid, or None when it has none."""
    return next((prefix for prefix in PREFIXES if f"{prefix}{_CLS}" in header), None)


def depth_part(header: Header, prefix: str) -> Part:
    """The network below `prefix`, with DPTConfig's arguments; raises ModelFileBroken when it is incomplete."""
    inside = header.under(prefix)
    sources: dict[str, Source] = {}
    for key in inside:
        if match := _JOINED.fullmatch(key):
            for third, part in enumerate(("query", "key", "value")):
                name = f"dpt.encoder.layer.{match[1]}.attention.attention.{part}.{match[2]}"
                sources[name] = Source(prefix + key, third=third)
        elif (name := _name(key)) is not None:
            sources[name] = Source(prefix + key)
    try:
        return Part(_config(inside), sources, network="dpt")
    except KeyError as error:
        raise ModelFileBroken(f'{header.path}: tensor "{prefix}{error.args[0]}" is missing') from error


def _name(key: str) -> str | None:
    for pattern, ours in _NAMES:
        if match := re.match(pattern, key):
            return match.expand(ours) + key[match.end() :]
    if match := _READOUT.fullmatch(key):
        stage, what = int(match[1]) - 1, {"3": "projection", "4": "resize"}
        if match[2] in what:
            return f"neck.reassemble_stage.layers.{stage}.{what[match[2]]}.{match[3]}"
        return f"neck.reassemble_stage.readout_projects.{stage}.0.{match[3]}"
    if match := _LEVEL.fullmatch(key):
        return f"neck.convs.{int(match[1]) - 1}.{match[2]}"
    if match := _FUSION.fullmatch(key):
        layer = f"neck.fusion_stage.layers.{4 - int(match[1])}"
        where = "projection" if match[2] else f"residual_layer{match[3]}.convolution{match[4]}"
        return f"{layer}.{where}.{match[5]}"
    if match := _HEAD.fullmatch(key):
        return f"head.head.{match[1]}.{match[2]}"
    return None


def _config(inside: Header) -> dict[str, Any]:
    shape = {key: info.shape for key, info in inside.tensors.items()}
    backbone = "pretrained.model.patch_embed.backbone"
    layers = _count(inside, "pretrained.model.blocks.{}.norm1.weight")
    stages = _count(inside, backbone + ".stages.{}.blocks.0.conv1.weight")
    width = shape[_CLS][-1]
    grid = round((shape["pretrained.model.pos_embed"][1] - 1) ** 0.5)
    levels = [shape[f"scratch.layer{level}_rn.weight"] for level in (1, 2, 3, 4)]
    return {
        "is_hybrid": True,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(width // 64, 1),
        "intermediate_size": shape["pretrained.model.blocks.0.mlp.fc1.weight"][0],
        "image_size": grid * 16,
        "backbone_out_indices": [layers * quarter // 4 - 1 for quarter in (1, 2, 3, 4)],
        "reassemble_factors": [1, 1, 1, 0.5],
        "neck_hidden_sizes": [level[1] for level in levels],
        "fusion_hidden_size": levels[0][0],
        "backbone_featmap_shape": [1, shape["pretrained.model.patch_embed.proj.weight"][1], grid, grid],
        "backbone_config": {
            "global_padding": "same",
            "layer_type": "bottleneck",
            "depths": [_count(inside, f"{backbone}.stages.{n}.blocks.{{}}.conv1.weight") for n in range(stages)],
            "hidden_sizes": [shape[f"{backbone}.stages.{n}.blocks.0.conv3.weight"][0] for n in range(stages)],
            "embedding_size": shape[f"{backbone}.stem.conv.weight"][0],
            "out_features": [f"stage{n + 1}" for n in range(stages)],
            "embedding_dynamic_padding": True,
        },
    }


def _count(inside: Header, key: str) -> int:
    count = 0
    while key.format(count) in inside:
        count += 1
    return count
