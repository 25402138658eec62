"""A job once more: new seeds, and what the page needs to show it for editing."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from modules.generation.part import Size
from modules.generation.plan import ImagePlan, InpaintPlan, ModelRef, NoisePlan, Plan, SamplingPlan, SourcePlan
from modules.generation.request import GenerationRequest, MaskedContent, ResizeMode, SeedPart
from modules.images.data import ImageData
from modules.infotext.parse import parse
from modules.jobs.again import page_of_plan, page_of_request, with_new_seeds


def plan(**changes) -> Plan:
    pictures = [(10, 70), (11, 71), (2**32 - 1, 72)]
    values = {
        "model": ModelRef(path="tiny.safetensors", title="tiny", name="tiny"),
        "vae": None,
        "size": Size(width=64, height=96),
        "batch_size": 2,
        "images": tuple(
            ImagePlan(index=k, seed=seed, subseed=subseed, prompt="a fox", negative_prompt="blurry")
            for k, (seed, subseed) in enumerate(pictures)
        ),
        "noise": NoisePlan(),
        "sampling": SamplingPlan(sampler="Euler a", schedule="Automatic", steps=12, cfg_scale=5.0),
        "main_prompt": "a fox",
        "main_negative_prompt": "blurry",
    }
    return Plan(**{**values, **changes})


@pytest.fixture
def picture() -> ImageData:
    buffer = io.BytesIO()
    Image.new("L", (64, 96), 255).save(buffer, "PNG")
    return ImageData(buffer.getvalue())


def test_new_seeds_keep_their_distances_and_stay_in_range():
    images = with_new_seeds(plan(), 100).images
    assert [image.seed for image in images] == [100, 101, (2**32 - 1 + 90) % 2**32]
    assert [image.subseed for image in images] == [70, 71, 72], "variation seeds are not in use"


def test_variations_of_one_seed_get_new_variation_seeds_only():
    again = with_new_seeds(plan(noise=NoisePlan(variation_strength=0.2)), 500)
    assert [image.seed for image in again.images] == [10, 11, 2**32 - 1]
    assert [image.subseed for image in again.images] == [500, 501, 502]


def test_a_plan_comes_back_to_the_page_with_its_batch_and_its_parameters():
    page = page_of_plan(plan())
    assert (page["tab"], page["source"], page["mask"]) == ("txt2img", False, False)
    assert page["leaves"] == {"batch.size": 2, "batch.count": 2}
    text = parse(page["infotext"])
    assert (text.prompt, text.negative_prompt, text.values["Seed"], text.values["Steps"]) == (
        "a fox",
        "blurry",
        "10",
        "12",
    )


def test_an_inpaint_plan_comes_back_to_its_tab_with_what_infotext_leaves_out(picture):
    inpaint = InpaintPlan(
        mask=picture, latent_mask=None, blur_x=7, blur_y=7, invert=True, content=MaskedContent.FILL, only_masked=True,
        padding=48, rounded=True,
    )  # fmt: skip
    source = SourcePlan(
        images=(picture,), denoising_strength=0.4, resize_mode=ResizeMode.CROP, initial_noise_multiplier=1.0,
        inpaint=inpaint,
    )  # fmt: skip
    page = page_of_plan(plan(source=source))
    assert (page["tab"], page["source"], page["mask"]) == ("inpaint", True, True)
    assert page["leaves"]["source.inpaint.blur_x"] == 7 and page["leaves"]["source.inpaint.only_masked"] is True
    assert page["leaves"]["source.resize_mode"] == "Crop and resize"
    img2img = page_of_plan(plan(source=source.model_copy(update={"inpaint": None})))
    assert (img2img["tab"], img2img["mask"]) == ("img2img", False)


def test_a_scripts_request_comes_back_with_its_fields_and_the_scripts_name():
    request = GenerationRequest(prompt="x", seed=SeedPart(value=5), scripts={"X/Y/Z plot": {"x_values": "1,2"}})
    page = page_of_request(request)
    assert page["script"] == "X/Y/Z plot"
    assert (page["leaves"]["prompt"], page["leaves"]["seed.value"]) == ("x", 5)
