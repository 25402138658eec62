"""Enlarging by diffusion models, on small ones in the real file layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerDiscreteScheduler,
    LDMSuperResolutionPipeline,
    StableDiffusionUpscalePipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from diffusers.loaders import single_file_utils
from PIL import Image
from safetensors.torch import load_file

from modules.models.device import DevicePolicy
from modules.models.manager import ModelManager
from modules.upscaling import diffusion
from modules.upscaling.catalog import Upscalers
from tests.support.checkpoints import write_random
from tests.support.tiny import tiny_ldsr_layout, tiny_x4_upscaler_layout
from tests.support.upscalers import real_esrgan
from tests.unit.models.conftest import ref_to

SHORT = diffusion.Manner("DPM++ 2M", 2, noises=True)


@pytest.fixture(scope="module")
def x4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("upscalers") / "x4.safetensors", tiny_x4_upscaler_layout(), seed=3)


@pytest.fixture(scope="module")
def models() -> ModelManager:
    return ModelManager(DevicePolicy(use_cpu=("all",), no_half=True))


@pytest.fixture(scope="module")
def ldsr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("upscalers") / "ldsr.safetensors", tiny_ldsr_layout(), seed=4)


def noise_picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_picture_is_the_one_that_diffusers_pipeline_makes(x4: Path, models: ModelManager) -> None:
    image, tensors = noise_picture(24, 16), load_file(x4)
    with models.use(ref_to(x4)) as model, torch.no_grad():
        ours = np.asarray(diffusion.run(model, image, diffusion.Manner("Euler", 4, noises=True))).astype(int)
        config, vae_config = (
            {key: value for key, value in network.config.items() if key != "_use_default_values"}
            for network in (model.unet, model.vae)
        )
        config |= {"layers_per_block": 1, "class_embed_type": None, "addition_embed_type": None}
        unet = UNet2DConditionModel.from_config(config)
        converted = single_file_utils.convert_ldm_unet_checkpoint(dict(tensors), dict(config))
        converted["class_embedding.weight"] = tensors["model.diffusion_model.label_emb.weight"]
        unet.load_state_dict(converted)
        vae = AutoencoderKL.from_config(vae_config | {"scaling_factor": 0.08333})
        vae.load_state_dict(single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), dict(vae.config)))
        (tower,) = model.towers
        states = tower.network(torch.tensor([[49406, 49407, *[0] * 75]]), output_hidden_states=True).hidden_states
        text = tower.network.final_layer_norm(states[-2])
    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "scaled_linear"}
    pipeline = StableDiffusionUpscalePipeline(
        vae=vae.float().eval(),
        text_encoder=None,
        tokenizer=None,
        unet=unet.float().eval(),
        low_res_scheduler=DDPMScheduler(**betas),
        scheduler=EulerDiscreteScheduler(
            **betas, timestep_spacing="linspace", prediction_type="v_prediction", steps_offset=1
        ),
    )
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        image=image,
        prompt_embeds=text,
        num_inference_steps=4,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(diffusion.SEED),
        output_type="np",
    ).images[0]
    assert ours.shape == (64, 96, 3) == made.shape
    assert np.abs(ours - np.round(made * 255)).max() <= 1


def test_a_large_picture_is_denoised_in_tiles_that_leave_no_seam(x4: Path, models: ModelManager) -> None:
    image = Image.linear_gradient("L").resize((96, 72)).convert("RGB")
    with models.use(ref_to(x4)) as model:
        whole = np.asarray(diffusion.run(model, image, SHORT)).astype(int)
        tiled = np.asarray(diffusion.run(model, image, SHORT, tile=64, overlap=8)).astype(int)
    assert tiled.shape == whole.shape == (288, 384, 3)
    assert not np.array_equal(tiled, whole)  # it really ran in tiles: norms and attention see less

    def jump(pixels: np.ndarray, column: int) -> float:
        return float(np.abs(pixels[:, column] - pixels[:, column - 1]).mean())

    edges = [128, 256]  # where tiles begin and end: 32 and 64 pixels of the small picture
    usual = np.median([jump(tiled, column) for column in range(8, 376)])
    assert max(jump(tiled, edge) for edge in edges) <= 3 * usual


def test_any_size_comes_out_four_times_as_large_and_the_same_every_time(x4: Path, models: ModelManager) -> None:
    image = noise_picture(19, 13)
    with models.use(ref_to(x4)) as model:
        first, second = (diffusion.run(model, image, SHORT) for _ in range(2))
    assert first.size == (76, 52) and np.array_equal(np.asarray(first), np.asarray(second))


def test_it_is_offered_beside_other_networks_under_its_files_name(x4: Path, models: ModelManager) -> None:
    upscalers = Upscalers({"ESRGAN": [x4]}, models=models)
    assert "x4" in upscalers.names()
    assert upscalers.find("X4").upscale(noise_picture(16, 16), 2).size == (32, 32)  # one pass of 4, made smaller


def test_other_upscalers_are_told_from_diffusion_models(x4: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(real_esrgan(), tmp_path / "esrgan.safetensors")
    assert diffusion.is_diffusion(x4, 0) and not diffusion.is_diffusion(tmp_path / "esrgan.safetensors", 0)


def test_ldsr_makes_the_picture_that_diffusers_pipeline_makes(ldsr: Path, models: ModelManager) -> None:
    image, tensors = noise_picture(32, 32), load_file(ldsr)
    with models.use(ref_to(ldsr)) as model:
        assert model.family == "ldsr" and isinstance(model.vae, VQModel)
        ours = np.asarray(diffusion.run(model, image, diffusion.Manner("Euler", 4, noises=False))).astype(int)
        config, vae_config = (
            {key: value for key, value in network.config.items() if key != "_use_default_values"}
            for network in (model.unet, model.vae)
        )
    unet = UNet2DModel.from_config(config)
    unet.load_state_dict(convert_ldm_unet(tensors))
    vq = VQModel.from_config(vae_config | {"scaling_factor": 1.0})
    book = tensors["first_stage_model.quantize.embedding.weight"]
    vq.load_state_dict(
        single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), dict(vq.config))
        | {"quantize.embedding.weight": book}
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear", timestep_spacing="linspace", steps_offset=1
    )
    scheduler.scale_model_input = (
        lambda both, t: torch.cat(  # the pipeline scales the small picture too; LDM does not
            [EulerDiscreteScheduler.scale_model_input(scheduler, both[:, :3], t), both[:, 3:]], dim=1
        )
    )
    pipeline = LDMSuperResolutionPipeline(vqvae=vq.float().eval(), unet=unet.float().eval(), scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(diffusion.SEED)
    made = pipeline(image, num_inference_steps=4, generator=generator, output_type="np").images[0]
    assert ours.shape == (128, 128, 3) == made.shape
    assert (np.abs(ours - np.round(made * 255)) <= 1).mean() > 0.999  # a latent between two words of the codebook


def convert_ldm_unet(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tiny UNet's weights in diffusers' names, block by block: one residual block a level, attention in the last.

    Attention keeps queries, keys and values of a head together (guided-diffusion's QKVAttentionLegacy).
    """
    given = {k.removeprefix("model.diffusion_model."): v.float() for k, v in tensors.items() if "diffusion_model" in k}
    resnets = {
        "input_blocks.1.0": "down_blocks.0.resnets.0",
        "input_blocks.3.0": "down_blocks.1.resnets.0",
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.2": "mid_block.resnets.1",
        **{f"output_blocks.{n}.0": f"up_blocks.{n // 2}.resnets.{n % 2}" for n in range(4)},
    }
    layers = {
        "in_layers.0": "norm1",
        "in_layers.2": "conv1",
        "emb_layers.1": "time_emb_proj",
        "out_layers.0": "norm2",
        "out_layers.3": "conv2",
        "skip_connection": "conv_shortcut",
    }
    attentions = {
        "input_blocks.3.1": "down_blocks.1.attentions.0",
        "middle_block.1": "mid_block.attentions.0",
        "output_blocks.0.1": "up_blocks.0.attentions.0",
        "output_blocks.1.1": "up_blocks.0.attentions.1",
    }
    names = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "input_blocks.2.0.op": "down_blocks.0.downsamplers.0.conv",
        "output_blocks.1.2.conv": "up_blocks.0.upsamplers.0.conv",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
        **{f"{old}.{a}": f"{new}.{b}" for old, new in resnets.items() for a, b in layers.items()},
        **{f"{old}.norm": f"{new}.group_norm" for old, new in attentions.items()},
    }
    made = {
        f"{names[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v
        for k, v in given.items()
        if k.rpartition(".")[0] in names
    }
    for old, new in attentions.items():
        heads = given[f"{old}.qkv.weight"].shape[0] // 3 // 32
        for leaf in ("weight", "bias"):
            joined = given[f"{old}.qkv.{leaf}"].flatten(1) if leaf == "weight" else given[f"{old}.qkv.{leaf}"]
            by_head = joined.reshape(heads, 3, 32, *joined.shape[1:])
            for third, name in enumerate(("to_q", "to_k", "to_v")):
                made[f"{new}.{name}.{leaf}"] = by_head[:, third].reshape(-1, *joined.shape[1:])
            out = given[f"{old}.proj_out.{leaf}"]
            made[f"{new}.to_out.0.{leaf}"] = out.flatten(1) if leaf == "weight" else out
    return made


def test_ldsr_enlarges_any_size_with_the_steps_that_are_set(ldsr: Path, models: ModelManager) -> None:
    image = noise_picture(19, 13)
    few, more = (diffusion.enlarge(ldsr, image, models=models, tile=0, overlap=0, ldsr_steps=n) for n in (2, 3))
    assert few.size == (76, 52) and not np.array_equal(np.asarray(few), np.asarray(more))


def test_ldsr_has_a1111s_name_whatever_its_file_is_called(ldsr: Path, models: ModelManager) -> None:
    upscalers = Upscalers({"LDSR": [ldsr]}, models=models, ldsr_steps=2)
    assert upscalers.names()[-1] == "LDSR" and upscalers.find("ldsr").path == str(ldsr)
    assert upscalers.find("LDSR").upscale(noise_picture(16, 16), 4).size == (64, 64)
