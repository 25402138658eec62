"""From an infotext to fields and override settings, and the round trip through the writer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.errors import InvalidRequest, UnknownName
from modules.generation.part import Size
from modules.generation.plan import NoisePlan, Plan, RefinerPlan
from modules.generation.request import (
    GenerationRequest,
    InpaintPart,
    MaskedContent,
    SourcePart,
)
from modules.images.data import ImageData
from modules.infotext.fields import ALSO_FILLED, FIELDS, NOT_CARRIED
from modules.infotext.paste import overrides_from_labels, paste
from modules.infotext.write import applied, infotext
from modules.prompts.styles import Style, StyleBook, StyleFile
from modules.settings.schema import Settings
from tests.unit.infotext.recorded import cases, plan_of

SETTINGS = Settings()


def pasted(text, tab="txt2img", **changes):
    return paste(text, tab=tab, settings=SETTINGS.model_copy(update=changes.pop("settings", {})), **changes)


def lines(**values):
    written = {"Steps": "20", "Sampler": "Euler", "Seed": "1", **{k.replace("_", " "): v for k, v in values.items()}}
    return "a cat\n" + ", ".join(f"{key}: {value}" for key, value in written.items())


def leaves(model=GenerationRequest, prefix=""):
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        part = next((kind for kind in kinds if isinstance(kind, type) and hasattr(kind, "model_fields")), None)
        yield from leaves(part, f"{prefix}{name}.") if part else (prefix + name,)


def test_every_part_of_a_request_is_in_the_table_or_knowingly_not_carried():
    carried = {field.path for field in FIELDS} | set(ALSO_FILLED)
    for leaf in leaves():
        assert (leaf in carried) != (leaf in NOT_CARRIED), leaf


def test_every_setting_named_in_the_table_exists():
    for field in FIELDS:
        assert field.setting is None or field.setting in Settings.model_fields, field.label


def test_every_settings_infotext_key_is_in_the_table():
    labels = {field.label: field.setting for field in FIELDS}
    for key, field in Settings.model_fields.items():
        extra = field.json_schema_extra or {}
        if extra.get("infotext"):
            assert labels[extra["infotext"]] == key


def test_no_key_stands_twice():
    labels = [field.label for field in FIELDS]
    assert len(labels) == len(set(labels))


def test_an_old_sampler_label_is_split():
    values = pasted(lines(Sampler="DPM++ 2M SDE Karras")).values
    assert (values["sampling.sampler"], values["sampling.schedule"]) == ("DPM++ 2M SDE", "Karras")


def test_what_the_text_does_not_say_is_left_alone():
    values = pasted("a cat\nSteps: 3, Seed: 1, Model: x").values
    assert "size.width" not in values and "sampling.sampler" not in values and "sampling.cfg_scale" not in values


def test_a_value_that_cannot_be_read_leaves_its_field_alone():
    values = pasted(lines(Steps="many", CFG_scale="7", Seed="1.0")).values
    assert "sampling.steps" not in values
    assert values["sampling.cfg_scale"] == 7 and values["seed.value"] == 1


def test_an_img2img_text_does_not_switch_hires_fix_on():
    assert not pasted(lines(Denoising_strength="0.5")).hires
    assert pasted(lines(Denoising_strength="0.5", Hires_upscale="2", Hires_upscaler="Latent")).hires
    assert pasted(lines(Denoising_strength="0.5", First_pass_size="64x64", Size="128x128")).hires


def test_the_tabs_take_what_is_theirs():
    text = lines(Denoising_strength="0.5", Mask_blur="6", Hires_upscale="2")
    assert "source.denoising_strength" not in pasted(text).values
    img2img = pasted(text, tab="img2img").values
    assert img2img["source.denoising_strength"] == 0.5 and img2img["source.inpaint.blur_y"] == 6
    assert not any(path.startswith("hires.") for path in img2img)


def test_settings_in_the_text_become_overrides_only_where_they_differ():
    text = lines(Clip_skip="2", ENSD="31337", RNG="NV", Eta="0", Tiling="True", VAE="v.pt")
    assert pasted(text).overrides == {
        "CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 31337, "randn_source": "NV", "eta_ancestral": 0,
        "tiling": True, "sd_vae": "v.pt",
    }  # fmt: skip
    assert pasted(text, settings={"randn_source": "NV", "tiling": True}).overrides.keys() == {
        "CLIP_stop_at_last_layers", "eta_noise_seed_delta", "eta_ancestral", "sd_vae",
    }  # fmt: skip


def test_restored_faces_are_pasted_with_what_restored_them():
    assert pasted(lines(Face_restoration="CodeFormer")).overrides == {"face_restoration": True}
    by_gfpgan = pasted(lines(Face_restoration="GFPGAN"))
    assert by_gfpgan.overrides == {"face_restoration": True, "face_restoration_model": "GFPGAN"}
    assert overrides_from_labels(by_gfpgan.override_labels()) == by_gfpgan.overrides
    in_use = {"face_restoration": True, "face_restoration_model": "GFPGAN"}
    assert pasted(lines(Face_restoration="GFPGAN"), settings=in_use).overrides == {}


def test_a_missing_key_overrides_a_changed_setting_back():
    assert pasted(lines(), settings={"randn_source": "CPU"}).overrides == {"randn_source": "GPU"}


def test_both_spellings_of_the_beta_keys_are_understood():
    for spelling in ("Beta_schedule_alpha", "Beta_scheduler_alpha"):
        assert pasted(lines(**{spelling: "0.4"})).overrides == {"beta_dist_alpha": 0.4}


def test_the_model_hash_selects_a_model_only_if_wanted():
    assert pasted(lines(Model_hash="abcdef1234")).overrides == {}
    wanted = pasted(lines(Model_hash="abcdef1234"), settings={"disable_weights_auto_swap": False})
    assert wanted.overrides == {"sd_model_checkpoint": "abcdef1234"}


def test_keys_can_be_skipped():
    read = pasted(lines(Clip_skip="2", Size="64x64"), settings={"infotext_skip_pasting": ("Clip skip", "Size", "Seed")})
    assert read.overrides == {} and not {"size.width", "size.height", "seed.value"} & read.values.keys()


def test_prompts_and_styles_can_be_skipped_too():
    text = "a cat, oil\nNegative prompt: blurry\n" + lines(Hires_prompt='"b, oil"', Hires_upscale="2").split("\n")[1]
    book = StyleBook((StyleFile("styles.csv", (Style("paint", "oil"),)),))
    assert pasted(text, styles=book).values["styles"] == ("paint",)
    every = ("Prompt", "Negative prompt", "Hires prompt", "Hires negative prompt", "Styles array")
    for key, path in zip(every, ("prompt", "negative_prompt", "hires.prompt", "hires.negative_prompt", "styles"),
                         strict=True):  # fmt: skip
        plain = pasted(text, styles=book).values
        assert pasted(text, styles=book, settings={"infotext_skip_pasting": (key,)}).values == {
            one: value for one, value in plain.items() if one != path
        }


def test_overrides_are_shown_as_labels_and_read_back():
    read = pasted(lines(Clip_skip="2", RNG="CPU"))
    assert set(read.override_labels()) == {"Clip skip: 2", "RNG: CPU"}
    assert overrides_from_labels(read.override_labels()) == read.overrides


def test_a_bad_override_label_is_refused():
    with pytest.raises(UnknownName, match="Clip skip"):
        overrides_from_labels(["Clipskip: 2"])
    with pytest.raises(InvalidRequest):
        overrides_from_labels(["nonsense"])
    with pytest.raises(InvalidRequest):
        overrides_from_labels(["Clip skip: 99"])


BOOK = StyleBook((StyleFile(None, (Style("oil", "oil of {prompt}", "flat"), Style("soft", "soft light"))),))


@pytest.mark.parametrize(
    "mode, prompt, styles",
    [
        ("Apply if any", "a cat", ("oil",)),
        ("Apply", "a cat", ("oil",)),
        ("Discard", "a cat", None),
        ("Ignore", "oil of a cat", None),
    ],
)
def test_styles_are_found_in_the_prompt(mode, prompt, styles):
    text = "oil of a cat\nNegative prompt: dog, flat\nSteps: 1, Seed: 2, Sampler: Euler"
    values = pasted(text, styles=BOOK, settings={"infotext_styles": mode}).values
    assert values["prompt"] == prompt and values.get("styles") == styles


def test_without_any_style_apply_clears_the_field_and_apply_if_any_does_not():
    assert pasted(lines(), styles=BOOK, settings={"infotext_styles": "Apply"}).values["styles"] == ()
    assert "styles" not in pasted(lines(), styles=BOOK).values


def test_hires_prompts_lose_the_same_styles():
    text = "a cat, soft light\nSteps: 1, Denoising strength: 0.5, Hires upscale: 2, Hires prompt: "
    same = pasted(text + '"a dog, soft light"', styles=BOOK).values
    assert (same["prompt"], same["hires.prompt"], same["styles"]) == ("a cat", "a dog", ("soft",))
    other = pasted(text + "a dog", styles=BOOK).values
    assert (other["prompt"], other["hires.prompt"]) == ("a cat, soft light", "a dog")
    equal = pasted(text + '"a cat, soft light"', styles=BOOK).values
    assert equal["hires.prompt"] == ""


def test_unknown_keys_are_left_to_scripts():
    read = pasted(lines(Script="X/Y/Z plot", X_Type="Seed", Grid="2x3"))
    assert read.scripts == {"Script": "X/Y/Z plot", "X Type": "Seed", "Grid-1": "2", "Grid-2": "3"}


def test_parts_that_are_not_in_use_are_left_out_of_the_request():
    made = pasted(lines(Size="64x96")).request(GenerationRequest())
    assert made.hires is None and made.refiner is None and made.source is None
    assert made.size == Size(width=64, height=96) and made.sampling.steps == 20
    assert made.seed.value == 1


def test_a_source_keeps_its_pictures_and_takes_its_values():
    picture = ImageData(b"x")
    base = GenerationRequest(source=SourcePart(images=(picture,), inpaint=InpaintPart(mask=picture)))
    text = lines(Denoising_strength="0.4", Mask_mode="Inpaint not masked", Masked_content="latent noise")
    source = pasted(text, tab="img2img").request(base).source
    assert source.images == (picture,) and source.denoising_strength == 0.4
    assert source.inpaint.invert and source.inpaint.content is MaskedContent.LATENT_NOISE


@pytest.mark.parametrize("case", [c for c in cases() if c["endpoint"] == "txt2img" and "infotext" not in c["payload"]],
                         ids=lambda case: case["id"])  # fmt: skip
def test_a_recorded_text_asks_for_the_request_it_came_from(case):
    payload = case["payload"]
    if case["id"] in ("grid-batch", "script-promptsfile"):
        pytest.skip("the first text is not of the first picture alone")
    made = pasted(case["infotexts"][0]).request(GenerationRequest())
    assert made.sampling.steps == payload["steps"] and made.sampling.cfg_scale == payload["cfg_scale"]
    assert made.sampling.sampler == payload.get("sampler_name", "Euler")
    assert made.seed.value == payload["seed"]
    assert (made.hires is not None) == payload.get("enable_hr", False)
    if made.hires is not None:
        assert made.hires.upscaler == payload["hr_upscaler"]
        assert made.hires.denoising_strength == payload["denoising_strength"]
        assert made.hires.resize_width == payload.get("hr_resize_x", 0)
        assert made.hires.prompt == payload.get("hr_prompt", "")
    assert (made.refiner.checkpoint.split(" ")[0] if made.refiner else None) == payload.get("refiner_checkpoint")
    wanted = payload.get("override_settings", {})
    carried = ("CLIP_stop_at_last_layers", "eta_noise_seed_delta", "randn_source", "sd_vae", "rho", "s_churn",
               "use_old_scheduling", "sd_noise_schedule", "beta_dist_alpha", "s_min_uncond_all")  # fmt: skip
    default = {key: getattr(SETTINGS, key) for key in carried}
    text = case["infotexts"][0]
    for key in carried:
        if key in wanted and wanted[key] != default[key] and not (key == "eta_noise_seed_delta" and "ENSD" not in text):
            assert made.overrides[key] == wanted[key]


def a_plan() -> Plan:
    return plan_of(next(case for case in cases() if case["id"] == "hires-resize"))


LINE = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))).map(str.strip)
PROMPT = (
    st.lists(LINE.filter(lambda line: not line.startswith("Negative prompt:")), max_size=4)
    .map("\n".join)
    .map(str.strip)
)
SHARE = st.integers(0, 100).map(lambda number: number / 100)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_every_field_survives_writing_and_pasting(data):
    draw = data.draw
    base = a_plan()
    first, hires = base.images[0], base.hires
    sides = st.integers(1, 512).map(lambda side: side * 8)
    own_prompt = draw(st.booleans())
    plan = base.model_copy(
        update={
            "images": (
                first.model_copy(
                    update={
                        "prompt": draw(PROMPT), "negative_prompt": draw(PROMPT), "seed": draw(st.integers(0, 2**32)),
                        "subseed": draw(st.integers(0, 2**32)), "hires_prompt": draw(PROMPT),
                    }
                ),
            ),
            "size": Size(width=draw(sides), height=draw(sides)),
            "noise": NoisePlan(
                variation_strength=draw(SHARE),
                resize_from=draw(st.none() | st.builds(Size, width=sides, height=sides)),
            ),
            "sampling": base.sampling.model_copy(
                update={"steps": draw(st.integers(1, 150)), "cfg_scale": draw(SHARE) * 30, "schedule": "Karras"}
            ),
            "refiner": draw(st.none() | st.just(RefinerPlan(model=base.model, switch_at=draw(SHARE)))),
            "hires": draw(st.none() | st.just(hires.model_copy(update={
                "denoising_strength": draw(SHARE), "steps_asked": draw(st.integers(0, 150)),
                "resize_width": draw(sides), "resize_height": draw(sides), "has_own_prompt": own_prompt,
            }))),
            "clip_skip": draw(st.integers(1, 12)),
            "tiling": draw(st.booleans()),
        }
    )  # fmt: skip
    made = pasted(infotext(plan, 0)).request(GenerationRequest())
    image = plan.images[0]
    assert (made.prompt, made.negative_prompt) == (image.prompt, image.negative_prompt)
    assert made.seed.value == image.seed and made.size == plan.size
    assert (made.sampling.steps, made.sampling.cfg_scale) == (plan.sampling.steps, plan.sampling.cfg_scale)
    if plan.noise.variation_strength:
        assert (made.seed.variation, made.seed.variation_strength) == (image.subseed, plan.noise.variation_strength)
    assert made.seed.resize_from == plan.noise.resize_from
    assert (made.refiner is None) == (plan.refiner is None)
    if plan.refiner:
        assert made.refiner.switch_at == plan.refiner.switch_at and made.refiner.checkpoint == plan.model.title
    assert (made.hires is None) == (plan.hires is None)
    if plan.hires:
        assert made.hires.denoising_strength == plan.hires.denoising_strength
        assert made.hires.steps == plan.hires.steps_asked
        assert (made.hires.resize_width, made.hires.resize_height) == (
            plan.hires.resize_width,
            plan.hires.resize_height,
        )
        own = plan.hires.has_own_prompt and image.hires_prompt != image.prompt
        assert made.hires.prompt == (image.hires_prompt if own else "")
    assert made.overrides.get("CLIP_stop_at_last_layers", 1) == plan.clip_skip
    assert made.overrides.get("tiling", False) == plan.tiling


@given(st.booleans(), st.integers(0, 64), st.booleans(), st.integers(0, 256), st.sampled_from(MaskedContent), SHARE)
def test_every_field_of_inpainting_survives(invert, blur, only_masked, padding, content, strength):
    base = plan_of(next(case for case in cases() if case["id"] == "inp-original-masked"))
    inpaint = base.source.inpaint.model_copy(
        update={"invert": invert, "blur_x": blur, "blur_y": blur, "only_masked": only_masked, "padding": padding,
                "content": content}
    )  # fmt: skip
    plan = base.model_copy(
        update={"source": base.source.model_copy(update={"inpaint": inpaint, "denoising_strength": strength})}
    )
    facts = applied(plan, "Inpaint area", "Masked area padding", "Masked content")
    picture = ImageData(b"")
    asked = GenerationRequest(
        source=SourcePart(images=(picture,), inpaint=InpaintPart(mask=picture, blur_x=0, blur_y=0))
    )
    source = pasted(infotext(plan, 0, facts), tab="img2img").request(asked).source
    assert source.denoising_strength == strength
    made = source.inpaint
    assert (made.invert, made.blur_x, made.blur_y, made.only_masked, made.content) == (
        invert, blur, blur, only_masked, content,
    )  # fmt: skip
    assert made.padding == (padding if only_masked else 32)


def test_an_old_label_of_the_hires_sampler_is_a_sampler_and_a_schedule():
    text = "a\nSteps: 5, Sampler: Euler a, Denoising strength: 0.5, Hires sampler: DPM++ 2M Karras, Hires upscale: 2"
    values = paste(text, tab="txt2img", settings=Settings()).values
    assert (values["hires.sampler"], values["hires.schedule"]) == ("DPM++ 2M", "Karras")
    explicit = paste(f"{text}, Hires schedule type: Beta", tab="txt2img", settings=Settings()).values
    assert (explicit["hires.sampler"], explicit["hires.schedule"]) == ("DPM++ 2M", "Beta")
