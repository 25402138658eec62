"""`webuiapi`, a client that others wrote for A1111, driving the real server unmodified."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

webuiapi = pytest.importorskip("webuiapi")

SMALL = {"width": 64, "height": 64, "steps": 3, "sampler_name": "Euler", "prompt": "a red apple"}


@pytest.fixture(scope="module")
def api(server):
    place = urlsplit(server.url)
    return webuiapi.WebUIApi(host=place.hostname, port=place.port, sampler="Euler", steps=3)


@pytest.fixture(scope="module")
def made(api):
    """A picture with its parameters, as the client got it."""
    return api.txt2img(**SMALL, seed=7, negative_prompt="blurry", cfg_scale=6)


def test_txt2img_gives_the_picture_its_parameters_and_info(made):
    assert made.image.size == (64, 64)
    assert made.parameters["seed"] == 7
    assert (made.info["all_seeds"], made.info["sampler_name"], made.info["steps"]) == ([7], "Euler", 3)
    assert re.fullmatch(r"20\d{12}", made.info["job_timestamp"])
    assert made.image.info["parameters"].startswith("a red apple\nNegative prompt: blurry\nSteps: 3, Sampler: Euler")


def test_the_same_seed_gives_the_same_picture_and_another_one_does_not(api, made):
    again = api.txt2img(**SMALL, seed=7, negative_prompt="blurry", cfg_scale=6)
    other = api.txt2img(**SMALL, seed=8, negative_prompt="blurry", cfg_scale=6)
    assert np.array_equal(made.image, again.image)
    assert not np.array_equal(made.image, other.image)


def test_a_batch_gives_as_many_pictures_with_seeds_that_follow_each_other(api):
    batch = api.txt2img(**SMALL, seed=20, batch_size=2, n_iter=2)
    assert len(batch.images) == 4
    assert batch.info["all_seeds"] == [20, 21, 22, 23]


def test_hires_fix_enlarges(api):
    large = api.txt2img(
        **SMALL, seed=7, enable_hr=True, hr_scale=2, hr_upscaler=webuiapi.HiResUpscaler.Latent, denoising_strength=0.7
    )
    assert large.image.size == (128, 128)


def test_img2img_starts_from_the_picture(api, made):
    near = api.img2img(images=[made.image], **SMALL, seed=1, denoising_strength=0.01)
    far = api.img2img(images=[made.image], **SMALL, seed=1, denoising_strength=1.0)
    source = np.asarray(made.image, dtype=float)
    assert np.abs(source - np.asarray(near.image)).mean() < np.abs(source - np.asarray(far.image)).mean()
    assert near.parameters["init_images"] is None  # not sent back unless asked for


def test_inpainting_leaves_everything_outside_the_mask_as_it_was(api, made):
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    painted = api.img2img(
        images=[made.image],
        mask_image=mask,
        mask_blur=0,
        inpainting_fill=1,
        inpaint_full_res=False,
        denoising_strength=1.0,
        seed=3,
        **SMALL,
    )
    before, after = np.asarray(made.image), np.asarray(painted.image)
    assert np.array_equal(before[:, :32], after[:, :32])
    assert not np.array_equal(before[:, 32:], after[:, 32:])


def test_extras_enlarge_one_picture_and_several(api, made):
    one = api.extra_single_image(made.image, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2)
    assert one.image.size == (128, 128)
    several = api.extra_batch_images([made.image, one.image], upscaler_1="Nearest", upscaling_resize=1.5)
    assert [image.size for image in several.images] == [(96, 96), (192, 192)]


def test_png_info_reads_what_was_written(api, made):
    said = api.png_info(made.image)
    assert said.info == made.info["infotexts"][0]
    assert said.parameters["Seed"] == "7"


def test_interrogating_says_what_is_missing(api, made):
    with pytest.raises(RuntimeError) as caught:
        api.interrogate(made.image)
    status, text = caught.value.args
    assert status == 501 and "a BLIP model is needed" in text
    with pytest.raises(RuntimeError) as caught:
        api.interrogate(made.image, model="owl")
    assert caught.value.args[0] == 404


def test_options_are_read_changed_and_sent_back_whole(api):
    options = api.get_options()
    quality = options["jpeg_quality"]
    try:
        api.set_options({"jpeg_quality": 71})
        assert api.get_options()["jpeg_quality"] == 71
    finally:
        api.set_options(options)  # what old clients do: everything, to change one thing
    assert api.get_options()["jpeg_quality"] == quality


def test_another_checkpoint_is_chosen_by_its_title(api):
    before = api.util_get_current_model()
    names = api.util_get_model_names()
    assert names
    api.util_set_model(names[-1])
    try:
        assert api.util_get_current_model().startswith(names[-1])  # loaded once, its title has its hash, as in A1111
        info = api.txt2img(**SMALL, seed=1).info
        assert names[-1].startswith(info["sd_model_name"])
    finally:
        api.set_options({"sd_model_checkpoint": before})


def test_an_error_reaches_the_client_in_words(api):
    with pytest.raises(RuntimeError) as caught:
        api.txt2img(**{**SMALL, "sampler_name": "Euler", "script_name": "no such script"})
    assert caught.value.args[0] == 422
    assert "Script 'no such script' not found" in caught.value.args[1]


def test_everything_else_that_the_client_lists_answers(api):
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    assert "Lanczos" in {one["name"] for one in api.get_upscalers()}
    assert {"name": "Latent"} in api.get_latent_upscale_modes()
    assert set(api.get_scripts()) == {"txt2img", "img2img"}
    assert set(api.get_embeddings()) == {"loaded", "skipped"}
    assert api.get_memory()["ram"]["used"] > 0
    assert api.get_cmd_flags()["nowebui"] is True
    for listed in (api.get_sd_vae, api.get_loras, api.get_hypernetworks, api.get_face_restorers,
                   api.get_realesrgan_models, api.get_prompt_styles):  # fmt: skip
        assert isinstance(listed(), list)
    assert api.refresh_checkpoints() is None
    assert api.interrupt() == {}
    assert api.skip() is None
    api.util_wait_for_ready(check_interval=0.1)
    assert api.get_progress()["state"]["job_count"] == 0
