from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, VQModel
from diffusers.loaders import single_file_utils

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.bert import build_bert_network
from modules.models.family import identify
from modules.models.header import Header, TensorInfo
from modules.models.layouts.blueprint import Blueprint, Part
from modules.models.ldm_config import LdmConfig
from modules.models.loader import NETWORKS
from modules.models.passages import build_t5_network
from modules.models.towers import build_text_network
from tests.support import layouts

FULL_SIZE: dict[str, tuple[Callable[[], layouts.Layout], str, str]] = {
    "SD 1.5": (layouts.sd1, "sd1", "base"),
    "SD 1.5 inpainting": (lambda: layouts.sd1(in_channels=9), "sd1", "inpainting"),
    "InstructPix2Pix": (lambda: layouts.sd1(in_channels=8), "sd1", "pix2pix"),
    "SD 2.1": (layouts.sd2, "sd2", "base"),
    "SD 2 inpainting": (lambda: layouts.sd2(in_channels=9), "sd2", "inpainting"),
    "SD 2 depth": (lambda: layouts.sd2(in_channels=5), "sd2", "depth"),
    "SD 2.1 unCLIP with ViT-H": (lambda: layouts.sd2(vector=2048), "sd2", "unclip"),
    "SD 2.1 unCLIP with ViT-L": (lambda: layouts.sd2(vector=1536), "sd2", "unclip"),
    "SDXL": (layouts.sdxl, "sdxl", "base"),
    "SDXL inpainting": (lambda: layouts.sdxl(in_channels=9), "sdxl", "inpainting"),
    "SDXL refiner": (layouts.sdxl_refiner, "sdxl", "refiner"),
    "SD x4 upscaler": (layouts.x4_upscaler, "x4-upscaler", "upscaler"),
    "CompVis super-resolution": (layouts.ldm_super_resolution, "ldsr", "upscaler"),
    "CompVis text2img-large": (layouts.ldm_text2img, "ldm", "base"),
    "SD 3 medium without text encoders": (lambda: layouts.sd3(texts=False), "sd3", "base"),
    "SD 3 medium with T5": (lambda: layouts.sd3(t5=True), "sd3", "base"),
    "SD 3.5 medium": (layouts.sd35_medium, "sd3", "base"),
    "SD 3.5 large": (layouts.sd35_large, "sd3", "base"),
}


def header_of(layout: layouts.Layout) -> Header:
    return Header(Path("model.safetensors"), {key: TensorInfo(shape, "F16") for key, shape in layout.items()})


def blueprint_of(header: Header, config: LdmConfig | None = None) -> Blueprint:
    family, match = identify(header)
    return family.blueprint(header, config or LdmConfig(), match)


def assert_fits(part: Part, build: Callable[[], torch.nn.Module], header: Header) -> set[str]:
    """Every weight of the network has a tensor of its shape in the file; the keys used."""
    with torch.device("meta"):
        wanted = {name.removeprefix("text_model."): tuple(w.shape) for name, w in build().state_dict().items()}
    assert wanted.keys() == part.sources.keys()
    for name, source in part.sources.items():
        shape = header.tensors[source.key].shape
        if source.third is not None:
            shape = (shape[0] // 3, *shape[1:])
        if source.squeezed and len(shape) > 1:
            shape = shape[:2]
        assert wanted[name] == shape, name
    return {source.key for source in part.sources.values()}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_full_size_layout_is_recognised(name: str) -> None:
    layout, family, variant = FULL_SIZE[name]
    found, match = identify(header_of(layout()))
    assert (found.name, match.variant) == (family, variant)


@pytest.mark.parametrize(
    "name",
    [
        *("SD 1.5 inpainting", "SD 2.1", "SD 2.1 unCLIP with ViT-H", "SDXL", "SDXL refiner"),
        *(
            "SD x4 upscaler",
            "CompVis super-resolution",
            "CompVis text2img-large",
            "SD 3 medium with T5",
            "SD 3.5 large",
        ),
    ],
)
def test_every_weight_of_full_size_networks_has_its_tensor_and_none_is_left_over(name: str) -> None:
    header = header_of(FULL_SIZE[name][0]())
    blueprint = blueprint_of(header)
    used = assert_fits(blueprint.unet, lambda: NETWORKS[blueprint.unet.network](blueprint.unet.config), header)
    autoencoder = VQModel if blueprint.autoencoder.network == "vq" else AutoencoderKL
    used |= assert_fits(blueprint.autoencoder, lambda: autoencoder(**blueprint.autoencoder.config), header)
    for tower in blueprint.towers:
        part = Part(tower.config, tower.sources)
        build = {"t5": build_t5_network, "bert": build_bert_network}.get(tower.network, build_text_network)
        used |= assert_fits(part, lambda tower=tower, build=build: build(dict(tower.config)), header)
        used |= {tower.projection.key} if tower.projection else set()
    left = {key for key in header if key not in used and not key.startswith(blueprint.ignored)}
    assert left == set()


@pytest.mark.parametrize("name", ["SD 1.5", "SD 2.1", "SDXL refiner"])
def test_unet_names_agree_with_diffusers_own_conversion(name: str) -> None:
    header = header_of(FULL_SIZE[name][0]())
    blueprint = blueprint_of(header)
    tensors = {key: torch.empty(info.shape, device="meta") for key, info in header.tensors.items()}
    for tensor in tensors.values():
        tensor.key = None  # type: ignore[attr-defined]
    by_id = {id(tensor): key for key, tensor in tensors.items()}
    config = {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None}
    theirs = single_file_utils.convert_ldm_unet_checkpoint(dict(tensors), config)
    labels = {
        ours for ours in blueprint.unet.sources if ours.startswith("class_embedding")
    }  # diffusers skips them here
    assert {ours: by_id[id(tensor)] for ours, tensor in theirs.items()} == {
        ours: source.key for ours, source in blueprint.unet.sources.items() if ours not in labels
    }


@pytest.mark.parametrize(
    "layout, words",
    [
        (
            lambda: (
                layouts.prefixed("first_stage_model.", layouts.vq_autoencoder())
                | layouts.prefixed("model.diffusion_model.", layouts.unet(in_channels=3, has_text=False))
            ),
            "is a latent diffusion model of CompVis with a VQ autoencoder, a family",
        ),
        (lambda: layouts.prefixed("model.diffusion_model.", layouts.unet()), "holds a UNet without text encoder"),
        (lambda: layouts.prefixed("model.diffusion_model.", {"double_blocks.0.img_mod.lin.bias": (9,)}), "is a Flux"),
    ],
)
def test_a_full_size_layout_of_another_family_is_refused_in_one_sentence(
    layout: Callable[[], layouts.Layout], words: str
) -> None:
    with pytest.raises(ModelUnsupported, match=re.escape(f"model.safetensors: {words}")):
        identify(header_of(layout()))


def test_sd3_without_its_text_encoders_says_which_and_where_they_go() -> None:
    with pytest.raises(ModelFileBroken, match=r"no text encoders clip_l and clip_g.*clip_g\.safetensors into models"):
        blueprint_of(header_of(layouts.sd35_medium()))


def test_t5_in_scaled_fp8_is_refused_rather_than_read_wrongly() -> None:
    scaled = {"text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.scale_weight": ()}
    with pytest.raises(ModelUnsupported, match="T5 is stored as scaled fp8"):
        blueprint_of(header_of(layouts.sd3(t5=True) | scaled))


def test_unclip_predicts_v_unless_something_says_otherwise() -> None:
    assert blueprint_of(header_of(layouts.sd2(vector=2048))).prediction == "v"
    assert blueprint_of(header_of(layouts.sd2(in_channels=5))).prediction == "epsilon"


def test_heads_come_from_the_family_and_yield_to_the_configuration() -> None:
    assert blueprint_of(header_of(layouts.sd1())).unet.config["attention_head_dim"] == (8, 8, 8, 8)
    assert blueprint_of(header_of(layouts.sd2())).unet.config["attention_head_dim"] == (5, 10, 20, 20)
    stated = LdmConfig(source="m.yaml", unet={"num_heads": 4, "norm_num_groups": 16})
    config = blueprint_of(header_of(layouts.sd1()), stated).unet.config
    assert config["attention_head_dim"] == (4, 4, 4, 4) and config["norm_num_groups"] == 16


def test_a_configuration_that_contradicts_the_tensors_is_refused() -> None:
    stated = LdmConfig(source="m.yaml", unet={"model_channels": 192})
    with pytest.raises(ModelFileBroken, match=r"m\.yaml: says model_channels is 192, the tensors say 320"):
        blueprint_of(header_of(layouts.sd1()), stated)


@pytest.mark.parametrize(
    "marker, prediction", [({"v_pred": ()}, "v"), ({}, "epsilon"), ({"v_pred": (), "ztsnr": ()}, "v")]
)
def test_marker_tensors_tell_the_prediction_of_sdxl(marker: layouts.Layout, prediction: str) -> None:
    blueprint = blueprint_of(header_of(layouts.sdxl() | marker))
    assert blueprint.prediction == prediction and blueprint.zero_terminal_snr == ("ztsnr" in marker)


def test_sd2_without_a_word_on_its_prediction_is_to_be_probed() -> None:
    assert blueprint_of(header_of(layouts.sd2())).prediction is None


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 320)}, "is a LoRA"),
        ({"decoder.conv_in.weight": (512, 4, 3, 3)}, "is a VAE"),
        ({"emb_params": (2, 768)}, "is a textual inversion"),
        ({"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}, "is a ControlNet"),
        ({"something": (1,)}, "of no family known here"),
        ({}, "holds no tensors"),
    ],
)
def test_what_is_no_checkpoint_is_told_for_what_it_is(keys: layouts.Layout, words: str) -> None:
    with pytest.raises(ModelUnsupported, match=re.escape(words)):
        identify(header_of(keys))
