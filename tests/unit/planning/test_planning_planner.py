"""From request to plan: every gap closed, or a message that names the field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.errors import InvalidImage, InvalidRequest, UnknownName
from modules.generation.plan import Plan
from modules.generation.request import MaskedContent
from modules.images.data import ImageData
from modules.models.faces import FaceFiles
from tests.unit.planning.conftest import ListedCatalog

Planned = Callable[..., Plan]


def picture(width: int = 64, height: int = 64) -> ImageData:
    return ImageData.from_image(Image.new("RGB", (width, height), "grey"))


def test_an_empty_request_is_planned_with_the_defaults(planned: Planned) -> None:
    made = planned()
    assert (made.model.name, made.vae, str(made.size)) == ("anything", None, "512x512")
    assert (made.sampling.sampler, made.sampling.schedule, made.sampling.steps) == ("DPM++ 2M", "Karras", 20)
    assert [(image.seed, image.subseed) for image in made.images] == [(7, 9)]


def test_the_same_request_plans_the_same_and_survives_json(planned: Planned) -> None:
    made = planned(prompt="a cat", batch={"size": 2, "count": 2}, overrides={"CLIP_stop_at_last_layers": 2})
    assert made == planned(prompt="a cat", batch={"size": 2, "count": 2}, overrides={"CLIP_stop_at_last_layers": 2})
    assert Plan.model_validate_json(made.model_dump_json()) == made


def test_seeds_count_up_from_picture_to_picture(planned: Planned) -> None:
    made = planned(batch={"size": 2, "count": 2})
    assert [image.seed for image in made.images] == [7, 8, 9, 10]
    assert [image.subseed for image in made.images] == [9, 10, 11, 12]
    assert [len(batch) for batch in made.batches] == [2, 2]


def test_with_a_variation_only_the_variation_seed_counts_up(planned: Planned) -> None:
    made = planned(seed={"value": 7, "variation": 9, "variation_strength": 0.1}, batch={"count": 3})
    assert [image.seed for image in made.images] == [7, 7, 7]
    assert [image.subseed for image in made.images] == [9, 10, 11]


def test_an_unset_seed_is_drawn_anew_every_time(planned: Planned) -> None:
    drawn = {planned(seed={}).images[0].seed for _ in range(5)}
    assert len(drawn) == 5  # equal draws out of four billion would be a wonder
    assert all(0 <= seed <= 4294967293 for seed in drawn)


def test_overrides_win_over_settings_and_fields_over_overrides(planned: Planned) -> None:
    settings = {"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "refined"}
    assert (planned(settings=settings).clip_skip, planned(settings=settings).model.name) == (2, "refined")
    overrides = {"CLIP_stop_at_last_layers": 3, "sd_model_checkpoint": "anything", "sd_vae": "sharp.safetensors"}
    made = planned(settings=settings, overrides=overrides)
    assert (made.clip_skip, made.model.name, made.vae and made.vae.name) == (3, "anything", "sharp.safetensors")
    made = planned(
        settings=settings, overrides=overrides, model={"clip_skip": 4, "checkpoint": "refined", "vae": "None"}
    )
    assert (made.clip_skip, made.model.name, made.vae) == (4, "refined", None)
    assert made.options.CLIP_stop_at_last_layers == 4


def test_the_noise_multiplier_is_read_from_the_request_or_the_settings_but_not_from_overrides(planned: Planned) -> None:
    source: dict[str, Any] = {"images": [picture()]}
    overridden = planned(source=source, overrides={"initial_noise_multiplier": 0.5})
    assert overridden.source.initial_noise_multiplier == 1.0  # A1111 reads it before it applies overrides
    assert planned(source=source, settings={"initial_noise_multiplier": 0.5}).source.initial_noise_multiplier == 0.5
    asked = planned(source=source | {"initial_noise_multiplier": 0.8}, settings={"initial_noise_multiplier": 0.5})
    assert asked.source.initial_noise_multiplier == 0.8


@pytest.mark.parametrize(
    "fields, field, words",
    [
        ({"sampling": {"sampler": "Eulr a"}}, "sampling.sampler", 'did you mean "Euler a"'),
        ({"sampling": {"sampler": "Euler", "schedule": "Karas"}}, "sampling.sampler", 'did you mean "Karras"'),
        ({"model": {"checkpoint": "anythin"}}, "model.checkpoint", 'did you mean "anything"'),
        (
            {"overrides": {"CLIP_stop_at_last_layer": 2}},
            "overrides.CLIP_stop_at_last_layer",
            "CLIP_stop_at_last_layers",
        ),
        ({"hires": {"upscaler": "Lanczoz"}}, "hires.upscaler", 'did you mean "Lanczos"'),
        ({"refiner": {"checkpoint": "refind"}}, "refiner.checkpoint", 'did you mean "refined"'),
    ],
)
def test_an_unknown_name_suggests_the_nearest_and_names_its_field(
    planned: Planned, fields: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(UnknownName, match=words) as caught:
        planned(**fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"overrides": {"CLIP_stop_at_last_layers": 99}}, "overrides.CLIP_stop_at_last_layers"),
        ({"overrides": {"eta_ancestral": "lots"}}, "overrides.eta_ancestral"),
        ({"size": {"width": 8, "height": 512}}, "size.width"),
        ({"size": {"width": 16384, "height": 16384}}, "size"),
        ({"hires": {"scale": 8.0}, "size": {"width": 2048, "height": 2048}}, "hires"),
        ({"prompt": "x" * 300_000}, "prompt"),
        ({"batch": {"size": 64, "count": 1000}}, "batch.count"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_field(planned: Planned, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        planned(**fields)
    assert caught.value.field == field


def test_what_is_no_picture_is_refused_before_anything_runs(planned: Planned) -> None:
    with pytest.raises(InvalidImage):
        planned(source={"images": [ImageData(b"no picture")]})


def test_hires_fix_and_a_source_exclude_each_other(planned: Planned) -> None:
    with pytest.raises(InvalidRequest, match="img2img"):
        planned(source={"images": [picture()]}, hires={})


def test_a_size_that_is_no_multiple_of_eight_is_kept_and_said(planned: Planned) -> None:
    made = planned(size={"width": 70, "height": 64})
    assert str(made.size) == "70x64"  # infotext shows what was asked, as in A1111
    assert made.notices == ("the size 70x64 is not a multiple of 8; the picture is 64x64",)


def test_a_distilled_model_is_run_as_asked_and_what_it_is_made_for_is_said(planned: Planned) -> None:
    model = {"checkpoint": "anything_Lightning"}
    made = planned(model=model, sampling={"cfg_scale": 7, "steps": 20})
    assert (made.sampling.cfg_scale, made.sampling.steps) == (7, 20)
    (said,) = made.notices
    assert said.startswith(
        '"anything_Lightning" is a Lightning model by its name, made for 2 to 8 steps at a CFG scale'
    )
    assert planned(model=model, sampling={"cfg_scale": 1.5, "steps": 6}).notices == ()


def test_styles_surround_the_prompts_and_comments_vanish(planned: Planned) -> None:
    made = planned(prompt="a cat # not a dog", negative_prompt="blur", styles=("oil",))
    assert made.images[0].prompt == "oil painting of a cat \n"  # a comment leaves its line break, as in A1111
    assert made.images[0].negative_prompt == "blur, photo"
    assert planned(prompt="a #1 cat", settings={"enable_prompt_comments": False}).images[0].prompt == "a #1 cat"


def test_an_unknown_style_changes_nothing_and_is_said(planned: Planned) -> None:
    made = planned(prompt="a cat", styles=("oul",))
    assert made.images[0].prompt == "a cat"
    assert made.notices == ('no style named "oul"; did you mean "oil"?; it was ignored',)


def test_the_hires_pass_follows_the_first_where_nothing_else_is_asked(planned: Planned) -> None:
    first = planned(sampling={"sampler": "Euler a", "schedule": "Karras", "steps": 9}, hires={"scale": 2})
    assert (first.hires.sampling.sampler, first.hires.sampling.schedule) == ("Euler a", "Karras")
    assert (first.hires.sampling.steps, str(first.hires.size), first.hires.is_latent) == (9, "1024x1024", True)


def test_an_automatic_schedule_is_the_hires_samplers_own_default(planned: Planned) -> None:
    made = planned(sampling={"sampler": "Euler"}, hires={"sampler": "DPM++ 2M SDE", "steps": 5, "upscaler": "lanczos"})
    assert (made.sampling.schedule, made.hires.sampling.schedule) == ("Automatic", "Exponential")
    assert (made.hires.sampling.steps, made.hires.upscaler, made.hires.is_latent) == (5, "Lanczos", False)


def test_the_old_hires_rule_takes_the_size_as_the_final_one(planned: Planned) -> None:
    made = planned(
        settings={"use_old_hires_fix_width_height": True}, size={"width": 1024, "height": 1024}, hires={"scale": 3}
    )
    assert (str(made.size), str(made.hires.size)) == ("512x512", "1024x1024")
    assert (made.hires.resize_width, made.hires.resize_height) == (1024, 1024)


def test_several_source_pictures_are_a_batch_of_that_many(planned: Planned) -> None:
    made = planned(source={"images": [picture(), picture()]}, batch={"size": 4, "count": 3})
    assert (made.batch_size, len(made.images)) == (2, 6)
    with pytest.raises(InvalidRequest, match="set the batch size to 3"):
        planned(source={"images": [picture()] * 3}, batch={"size": 2})


def test_an_inpainting_request_keeps_its_mask_for_the_engine(planned: Planned) -> None:
    made = planned(source={"images": [picture()], "inpaint": {"mask": picture(), "content": MaskedContent.FILL}})
    assert made.source.inpaint.content is MaskedContent.FILL
    assert made.source.inpaint.mask == picture()
    assert made.saving.kind == "img2img"


def test_saving_follows_the_request_then_the_settings(planned: Planned) -> None:
    assert (planned().saving.samples, planned().saving.grid) == (True, True)
    assert (planned(save=False).saving.samples, planned(save=False).saving.grid) == (False, False)
    assert planned(settings={"samples_save": False}).saving.samples is False


def test_a_configured_checkpoint_that_is_gone_gives_way_with_a_word(planned: Planned) -> None:
    made = planned(settings={"sd_model_checkpoint": "deleted.safetensors"})
    assert made.model.name == "anything"
    assert "deleted.safetensors" in made.notices[0]


def test_without_any_checkpoint_the_message_says_where_to_put_one(planned: Planned) -> None:
    with pytest.raises(InvalidRequest, match="models/Stable-diffusion"):
        planned(catalog=ListedCatalog(names=()))


def test_the_lora_of_the_settings_joins_every_prompt_that_does_not_name_it(planned: Planned) -> None:
    settings = {"sd_lora": "detail", "extra_networks_default_multiplier": 0.5}
    assert planned(prompt="a cat", settings=settings).images[0].prompt == "a cat<lora:detail:0.5>"
    assert planned(prompt="a <lora:detail:1> cat", settings=settings).images[0].prompt == "a <lora:detail:1> cat"
    settings = {"sd_hypernetwork": "detail", "extra_networks_default_multiplier": 0.5}
    assert planned(prompt="a cat", settings=settings).images[0].prompt == "a cat<hypernet:detail:0.5>"
    named = "a <hypernet:detail:1> cat"
    assert planned(prompt=named, settings=settings).images[0].prompt == named


def test_faces_are_restored_when_that_is_asked_and_can_be_done(planned: Planned) -> None:
    faces = FaceFiles({"GFPGAN": Path("g.pth")}, detector=Path("d.pth"))
    with_gfpgan = {"face_restoration_model": "gfpgan", "face_restoration": True}
    made = planned(faces=faces, settings=with_gfpgan)
    assert made.restore_faces and not made.notices
    assert made.saving.options["face_restoration_model"] == "GFPGAN"
    assert not planned(faces=faces, settings=with_gfpgan, restore_faces=False).restore_faces
    assert planned(faces=faces, overrides={"face_restoration_model": "GFPGAN"}, restore_faces=True).restore_faces


def test_faces_that_cannot_be_restored_are_said_and_not_claimed(planned: Planned) -> None:
    made = planned(restore_faces=True)
    (notice,) = made.notices
    assert made.restore_faces is False
    assert "codeformer-v0.1.0.pth and detection_Resnet50_Final.pth" in notice and "models/Codeformer" in notice
    faces = FaceFiles({"GFPGAN": Path("g.pth")}, detector=Path("d.pth"))
    (notice,) = planned(faces=faces, restore_faces=True).notices
    assert "choose GFPGAN in the settings" in notice
    with pytest.raises(UnknownName, match='did you mean "CodeFormer"') as raised:
        planned(faces=faces, restore_faces=True, overrides={"face_restoration_model": "CodeFromer"})
    assert raised.value.field == "overrides.face_restoration_model"


def test_a_plan_says_how_its_previews_are_drawn(planned: Planned) -> None:
    assert planned().previews.method == "Approx NN" and planned().previews.every == 10
    settings = {"show_progress_type": "TAESD", "show_progress_every_n_steps": -1, "live_previews_image_format": "webp"}
    made = planned(settings=settings, overrides={"show_progress_grid": False}).previews
    assert (made.method, made.every, made.file_format, made.grid) == ("TAESD", -1, "webp", False)


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_a_seed_that_no_generator_takes_is_refused(planned: Planned, seed: int) -> None:
    with pytest.raises(InvalidRequest, match="below 2\\^64"):
        planned(seed={"value": seed})


def test_a_sampler_on_discrete_times_takes_fewer_steps_than_there_are_times(planned: Planned) -> None:
    with pytest.raises(InvalidRequest, match="at most 999"):
        planned(sampling={"sampler": "DDIM", "steps": 1000})
