"""The networks beside a model at their full size: MiDaS' DPT-hybrid, and OpenCLIP-H's vision tower."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, DPTConfig, DPTForDepthEstimation

from modules.models.header import Header, TensorInfo
from modules.models.layouts.blueprint import Part
from modules.models.layouts.depth import depth_part, depth_prefix
from modules.models.layouts.vision import vision_part
from tests.support import layouts


def header_of(layout: layouts.Layout) -> Header:
    return Header(Path("model.safetensors"), {key: TensorInfo(shape, "F16") for key, shape in layout.items()})


def assert_fits(part: Part, network: nn.Module, header: Header) -> None:
    """Every weight of the network has a tensor of its shape, and every tensor has its weight."""
    wanted = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    assert wanted.keys() == part.sources.keys()
    for name, source in part.sources.items():
        shape = header.tensors[source.key].shape
        shape = (shape[0] // 3, *shape[1:]) if source.third is not None else shape
        assert wanted[name] == (shape[::-1] if source.transposed else shape), name
    assert {source.key for source in part.sources.values()} == set(header)


def test_every_tensor_of_a_full_size_midas_has_its_place_in_transformers_network() -> None:
    header = header_of(layouts.prefixed("depth_model.model.", layouts.dpt_hybrid()))
    assert depth_prefix(header) == "depth_model.model."
    part = depth_part(header, "depth_model.model.")
    # the configuration of Intel/dpt-hybrid-midas
    assert part.config["backbone_out_indices"] == [2, 5, 8, 11] and part.config["image_size"] == 384
    assert part.config["neck_hidden_sizes"] == [256, 512, 768, 768]
    assert part.config["backbone_config"]["depths"] == [3, 4, 9] and part.config["num_attention_heads"] == 12
    assert_fits(part, DPTForDepthEstimation(DPTConfig(**part.config)), header)


def test_every_tensor_of_a_full_size_vision_tower_has_its_place_in_transformers_network() -> None:
    for width, layers, projection, patch, inner, heads, activation in (
        (1280, 32, 1024, 14, 5120, 16, "gelu"),  # OpenCLIP ViT-H
        (1024, 24, 768, 14, 4096, 16, "quick_gelu"),  # OpenAI's ViT-L
    ):
        tower = layouts.open_clip_vision(width=width, layers=layers, projection=projection, patch=patch, inner=inner)
        header = header_of(layouts.prefixed("embedder.model.visual.", tower))
        part = vision_part(header)
        assert (part.config["num_attention_heads"], part.config["hidden_act"]) == (heads, activation)
        with torch.device("meta"):
            assert_fits(part, CLIPVisionModelWithProjection(CLIPVisionConfig(**part.config)), header)
