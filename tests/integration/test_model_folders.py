"""Checkpoints that are folders of diffusers, through the whole engine and against the pipelines that saved them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import modules.sampling  # noqa: F401 - registers the samplers
from modules.engine.engine import Engine
from modules.images.data import ImageData
from modules.models.catalog import Catalog
from modules.models.device import DevicePolicy
from modules.models.manager import ModelManager
from modules.models.places import ModelFolders
from modules.prompts.tokenizer import clip_tokenizer, open_clip_tokenizer
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
from tests.support.diffusers_folders import save_folder

KINDS = ("sd1", "sd2-v", "sdxl")


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder of folders, and the pipelines saved in them; half of them in shards."""
    place = tmp_path_factory.mktemp("folders")
    sizes = {kind: f"{n * 300 + 1}KB" for n, kind in enumerate((*KINDS, "sdxl-refiner"))}
    return place, {kind: save_folder(place / kind, kind, max_shard_size=size) for kind, size in sizes.items()}


@pytest.fixture(scope="module")
def generate(pipelines: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Generate:
    loras = tmp_path_factory.mktemp("loras")
    module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    random = torch.Generator().manual_seed(1)
    lora = {f"{module}.lora_up.weight": torch.randn(64, 4, generator=random), f"{module}.alpha": torch.tensor(4.0)}
    lora[f"{module}.lora_down.weight"] = torch.randn(4, 64, generator=random)
    save_file(lora, loras / "some-lora.safetensors")
    catalog = Catalog(ModelFolders(checkpoints=(pipelines[0],), loras=(loras,)))
    engine = Engine(ModelManager(DevicePolicy(use_cpu=("all",), no_half=True)), catalog=catalog)
    return generator(engine, catalog)


@torch.no_grad()
def embed(pipeline: Any, text: str) -> tuple[Tensor, Tensor | None]:
    """What the pipeline's own text encoders make of a text, as its `encode_prompt` takes it."""
    networks = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2")]
    states, pooled = [], None
    for network in (one for one in networks if one is not None):
        is_small = network.config.hidden_act == "quick_gelu"
        tokenizer, pad = (clip_tokenizer(), 49407) if is_small else (open_clip_tokenizer(), 0)
        ids = tokenizer.encode(text)
        tokens = torch.tensor([[tokenizer.start_id, *ids, tokenizer.end_id, *[pad] * (75 - len(ids))]])
        out = network(tokens, output_hidden_states=True)
        states.append(out.hidden_states[-2] if hasattr(pipeline, "text_encoder_2") else out.last_hidden_state)
        pooled = out.text_embeds if hasattr(out, "text_embeds") else pooled
    return torch.cat(states, dim=-1), pooled


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_makes_the_picture_of_the_pipeline_that_saved_it(
    generate: Generate, pipelines: tuple[Path, dict[str, Any]], kind: str
) -> None:
    ours = generate(kind, steps=4, prompt="a red apple", negative_prompt="blurry")
    pipeline = pipelines[1][kind]
    pipeline.scheduler = EulerDiscreteScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="linspace", steps_offset=1
    )
    (positive, pooled), (negative, negative_pooled) = embed(pipeline, "a red apple"), embed(pipeline, "blurry")
    call = {"prompt_embeds": positive, "negative_prompt_embeds": negative}
    if pooled is not None:
        call |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": negative_pooled}
    noise = torch.randn(LATENTS, generator=torch.Generator().manual_seed(1))[None]
    pipeline.set_progress_bar_config(disable=True)
    size = {"height": 64, "width": 64, "num_inference_steps": 4, "guidance_scale": 3.0}
    made = pipeline(**call, **size, latents=noise, output_type="np").images[0]
    assert np.abs(picture(ours) - np.floor(made * 255)).max() <= 1  # a level on the edge of rounding
    assert f"Model: {kind}" in infotext(ours) and "Model hash: " not in infotext(ours)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_changes_pictures_and_repaints_the_masked_half(generate: Generate, kind: str) -> None:
    image, mask = noise_picture(3), Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    changed = picture(generate(kind, source={"images": [ImageData.from_image(image)], "denoising_strength": 0.5}))
    inpaint = {"mask": ImageData.from_image(mask), "blur_x": 0, "blur_y": 0}
    painted = picture(generate(kind, source={"images": [ImageData.from_image(image)], "inpaint": inpaint}))
    given = np.asarray(image).astype(int)
    assert differs(changed, given) and differs(painted[:, 32:], given[:, 32:])
    assert np.array_equal(painted[:, :32], given[:, :32])


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_finds_its_layers_in_a_folder(generate: Generate, kind: str) -> None:
    events = generate(kind, prompt="a cat<lora:some-lora:1>")
    assert notices(events) == [] and differs(picture(events), picture(generate(kind)))


def test_a_refiner_in_a_folder_takes_over(generate: Generate) -> None:
    events = generate("sdxl", steps=4, refiner={"checkpoint": "sdxl-refiner", "switch_at": 0.5})
    assert "Refiner: sdxl-refiner, Refiner switch at: 0.5" in infotext(events)
    assert differs(picture(events), picture(generate("sdxl", steps=4)))
