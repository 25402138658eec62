"""Models that are told of the picture beside its latents, depth and unCLIP: the engine, and against diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import modules.sampling  # noqa: F401 - registers the samplers
from modules.engine.engine import Engine
from modules.errors import ModelUnsupported
from modules.images.data import ImageData
from modules.models.catalog import Catalog
from modules.models.depth import load_depth_estimator
from modules.models.device import DevicePolicy
from modules.models.manager import ModelManager
from modules.models.places import ModelFolders
from modules.models.vision import load_image_encoder
from modules.prompts.tokenizer import open_clip_tokenizer
from tests.integration.test_families import (
    LATENTS,
    Generate,
    differs,
    generator,
    infotext,
    noise_picture,
    notices,
    picture,
)
from tests.support.checkpoints import write_random
from tests.support.diffusers_folders import WITH_PICTURES, save_folder, tiny_dpt
from tests.support.tiny import TINY, tiny_sd2_layout


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def pipelines(models: Path) -> dict[str, Any]:
    """Pipelines saved as checkpoints "sd2-depth" and "sd2-unclip"; beside them files in the original layout."""
    checkpoints = models / "Stable-diffusion"
    for kind in WITH_PICTURES:
        (checkpoints / "files").mkdir(parents=True, exist_ok=True)
        write_random(checkpoints / "files" / f"{kind}-file.safetensors", TINY[kind][0], seed=5)
    write_random(checkpoints / "files" / "blind-depth.safetensors", tiny_sd2_layout(in_channels=5), seed=6)
    write_random(checkpoints / "files" / "blind-unclip.safetensors", tiny_sd2_layout(vector=64), seed=7)
    return {kind: save_folder(checkpoints / kind, kind, seed=seed) for seed, kind in enumerate(WITH_PICTURES)}


@pytest.fixture
def generate(models: Path, pipelines: dict[str, Any]) -> Generate:
    catalog = Catalog(ModelFolders.below(models, models / "embeddings"))
    engine = Engine(ModelManager(DevicePolicy(use_cpu=("all",), no_half=True)), catalog=catalog)
    return generator(engine, catalog)


def source(image: Image.Image, strength: float = 0.5, **fields: Any) -> dict[str, Any]:
    return {"images": [ImageData.from_image(image)], "denoising_strength": strength} | fields


def pixels_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


@torch.no_grad()
def embed(pipeline: Any, text: str) -> Tensor:
    tokenizer = open_clip_tokenizer()
    ids = tokenizer.encode(text)
    tokens = [tokenizer.start_id, *ids, tokenizer.end_id, *[0] * (75 - len(ids))]
    return pipeline.text_encoder(torch.tensor([tokens])).last_hidden_state


def prepared(pipeline: Any) -> Any:
    """The pipeline with k-diffusion's levels and without a bar."""
    config = pipeline.scheduler.config
    pipeline.scheduler = EulerDiscreteScheduler.from_config(config, timestep_spacing="linspace")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# Depth


def test_a_depth_model_makes_the_picture_of_diffusers_pipeline(
    generate: Generate, pipelines: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    image, pipeline = noise_picture(4), prepared(pipelines["sd2-depth"])
    ours = picture(generate("sd2-depth", steps=4, prompt="a red apple", source=source(image)))
    with torch.no_grad():
        depth = pipeline.depth_estimator(pixels_of(image)).predicted_depth
        made = pipeline(
            prompt_embeds=embed(pipeline, "a red apple"),
            negative_prompt_embeds=embed(pipeline, ""),
            image=pixels_of(image),
            depth_map=depth,
            strength=0.75,  # diffusers runs 3 of 4 steps; A1111 one more than 0.5 * 4
            num_inference_steps=4,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
        ).images[0]
    assert np.abs(ours - np.floor(made * 255)).max() <= 1  # a level on the edge of rounding


def test_midas_in_the_checkpoints_own_names_is_the_network_of_transformers(models: Path, pipelines: dict) -> None:
    """Each tensor of the file by its MiDaS name where transformers' conversion puts it; a wrong place would show."""
    file = models / "Stable-diffusion" / "files" / "sd2-depth-file.safetensors"
    stored, network = load_file(file), load_depth_estimator(file, ()).network.state_dict()
    model = "depth_model.model.pretrained.model."
    for ours, theirs in {
        "dpt.embeddings.backbone.bit.encoder.stages.1.layers.0.conv2.weight": (
            f"{model}patch_embed.backbone.stages.1.blocks.0.conv2.weight"
        ),
        "dpt.encoder.layer.2.intermediate.dense.weight": f"{model}blocks.2.mlp.fc1.weight",
        "neck.reassemble_stage.layers.3.resize.weight": "depth_model.model.pretrained.act_postprocess4.4.weight",
        "neck.convs.2.weight": "depth_model.model.scratch.layer3_rn.weight",
        "neck.fusion_stage.layers.0.projection.weight": "depth_model.model.scratch.refinenet4.out_conv.weight",
        "neck.fusion_stage.layers.3.residual_layer2.convolution1.weight": (
            "depth_model.model.scratch.refinenet1.resConfUnit2.conv1.weight"
        ),
        "head.head.4.weight": "depth_model.model.scratch.output_conv.4.weight",
    }.items():
        assert torch.equal(network[ours], stored[theirs].float()), ours
    key = network["dpt.encoder.layer.1.attention.attention.key.weight"]
    assert torch.equal(key, stored[f"{model}blocks.1.attn.qkv.weight"].float().chunk(3)[1])


def test_the_depth_picture_of_a_request_counts_instead_of_an_estimate(generate: Generate) -> None:
    image = noise_picture(5)
    slope = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1)))
    deep = Image.fromarray(np.asarray(slope).astype(np.uint16) * 257)  # 16 bits a pixel, as depth maps often have
    estimated = picture(generate("sd2-depth", source=source(image)))
    given = [picture(generate("sd2-depth", source=source(image, depth=ImageData.from_image(d)))) for d in (slope, deep)]
    turned = slope.transpose(Image.Transpose.ROTATE_90)
    other = picture(generate("sd2-depth", source=source(image, depth=ImageData.from_image(turned))))
    assert differs(given[0], estimated) and differs(given[0], other)
    assert np.abs(given[0] - given[1]).max() <= 1


def test_a_depth_model_without_estimator_takes_that_of_models_midas_or_says_where_it_goes(
    generate: Generate, models: Path
) -> None:
    image = noise_picture(6)
    with pytest.raises(ModelUnsupported, match=r"blind-depth\.safetensors: is a depth model.* into .*midas, or send a"):
        generate("blind-depth", source=source(image))
    slope = Image.linear_gradient("L").resize((64, 64))
    given = picture(generate("blind-depth", source=source(image, depth=ImageData.from_image(slope))))
    own = load_file(models / "Stable-diffusion" / "files" / "sd2-depth-file.safetensors")
    prefix = "depth_model.model."
    (models / "midas").mkdir()
    midas = {key.removeprefix(prefix): value for key, value in own.items() if key.startswith(prefix)}
    torch.save(midas, models / "midas" / "dpt_hybrid-midas-501f0c75.pt")
    estimated = picture(generate("blind-depth", source=source(image)))
    assert differs(estimated, given)
    (models / "midas" / "dpt_hybrid-midas-501f0c75.pt").unlink()
    tiny_dpt(is_hybrid=False).save_pretrained(models / "midas" / "dpt-large")  # a folder as transformers saves it
    blind = models / "Stable-diffusion" / "files" / "blind-depth.safetensors"
    assert not load_depth_estimator(blind, (models / "midas",)).network.config.is_hybrid


def test_text_alone_gives_a_depth_model_a_flat_depth_and_hires_fix_goes_on_with_it(generate: Generate) -> None:
    hires = {"upscaler": "Lanczos", "scale": 1.5, "steps": 2, "denoising_strength": 0.5}
    assert picture(generate("blind-depth")).std() > 1
    assert picture(generate("blind-depth", hires=hires)).shape == (96, 96, 3)


# unCLIP


@pytest.mark.parametrize("level", [0, 300])
def test_an_unclip_model_varies_a_picture_as_diffusers_pipeline_does(
    generate: Generate, pipelines: dict[str, Any], models: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    image, pipeline = noise_picture(7), prepared(pipelines["sd2-unclip"])
    events = generate("sd2-unclip", steps=4, prompt="", source=source(image, 1.0, image_noise_level=level))
    seen = load_image_encoder(models / "Stable-diffusion" / "sd2-unclip", torch.float32).prepared(pixels_of(image))
    noise = torch.randn(LATENTS, generator=torch.Generator().manual_seed(1))[None]
    with torch.no_grad():
        # img2img at full strength begins with the source under all of the noise, where diffusers begins with noise
        latents = pipeline.vae.encode(pixels_of(image)).latent_dist.mode() * pipeline.vae.config.scaling_factor
        pipeline.scheduler.set_timesteps(4)
        highest = pipeline.scheduler.sigmas[0]
        made = pipeline(
            image=seen,
            prompt_embeds=embed(pipeline, ""),
            negative_prompt_embeds=embed(pipeline, ""),
            noise_level=level,
            height=64,
            width=64,
            num_inference_steps=4,
            guidance_scale=3.0,
            latents=latents + noise * highest,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
        ).images[0]
    assert np.abs(picture(events) - np.floor(made * 255)).max() <= 1  # a level on the edge of rounding
    assert ("Image noise level: 300" in infotext(events)) == (level == 300)


def test_an_unclip_model_sees_its_picture(generate: Generate) -> None:
    """The same latents under full noise, so that what differs is the embedding."""
    one, other = (picture(generate("sd2-unclip-file", source=source(noise_picture(n), 1.0))) for n in (8, 9))
    assert differs(one, other)
    batch = generate("sd2-unclip-file", prompt="a cat AND a dog", source=source(noise_picture(8), 1.0))
    assert picture(batch).std() > 1  # two rows for one picture


def test_an_unclip_file_without_encoder_of_pictures_goes_on_and_says_so(generate: Generate) -> None:
    events = generate("blind-unclip", source=source(noise_picture(8)))
    assert picture(events).std() > 1
    assert any("carries no encoder of pictures" in notice for notice in notices(events))


def test_the_vision_tower_in_openclips_names_is_that_of_transformers(tmp_path: Path) -> None:
    """A file written from a transformers network, name by name, gives its embeddings again."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, projection_dim=32, num_hidden_layers=2, num_attention_heads=1,
        image_size=32, patch_size=8, hidden_act="gelu",
    )  # fmt: skip
    network = CLIPVisionModelWithProjection(config).eval()
    state, prefix = network.state_dict(), "embedder.model.visual."
    tensors = {
        f"{prefix}class_embedding": state["vision_model.embeddings.class_embedding"],
        f"{prefix}positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        f"{prefix}conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        f"{prefix}proj": state["visual_projection.weight"].t().contiguous(),
    }
    for kind in ("weight", "bias"):
        tensors[f"{prefix}ln_pre.{kind}"] = state[f"vision_model.pre_layrnorm.{kind}"]
        tensors[f"{prefix}ln_post.{kind}"] = state[f"vision_model.post_layernorm.{kind}"]
        for layer in range(2):
            theirs, ours = f"vision_model.encoder.layers.{layer}", f"{prefix}transformer.resblocks.{layer}"
            joined = [state[f"{theirs}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            tensors[f"{ours}.attn.in_proj_{kind}"] = torch.cat(joined)
            tensors[f"{ours}.attn.out_proj.{kind}"] = state[f"{theirs}.self_attn.out_proj.{kind}"]
            tensors[f"{ours}.ln_1.{kind}"] = state[f"{theirs}.layer_norm1.{kind}"]
            tensors[f"{ours}.ln_2.{kind}"] = state[f"{theirs}.layer_norm2.{kind}"]
            tensors[f"{ours}.mlp.c_fc.{kind}"] = state[f"{theirs}.mlp.fc1.{kind}"]
            tensors[f"{ours}.mlp.c_proj.{kind}"] = state[f"{theirs}.mlp.fc2.{kind}"]
    save_file(tensors, tmp_path / "vision.safetensors")
    encoder = load_image_encoder(tmp_path / "vision.safetensors", torch.float32)
    pixels = pixels_of(noise_picture(3))
    with torch.no_grad():
        wanted = network(encoder.prepared(pixels)).image_embeds
    assert torch.allclose(encoder.encode(pixels, torch.device("cpu")), wanted, atol=1e-6)
