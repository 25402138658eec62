"""The page's spelling of a request: every leaf has a control or a reason, and values become the request they show."""

from __future__ import annotations

import pytest
from PIL import Image

from modules.errors import InvalidRequest
from modules.generation.request import GenerationRequest, MaskedContent, ResizeMode
from modules.images.data import ImageData
from modules.infotext.paste import paste
from modules.settings.schema import Settings
from modules.ui.controls import CONTROLS, GENERATION_TABS, MASK_MODES, SHARED, controls_of
from modules.ui.form import NOT_CARRIED, from_pasted, leaves, to_request


def defaults(tab: str) -> dict[str, object]:
    return {path: control.default for path, control in controls_of(tab).items()}


def no_picture(digest: str) -> ImageData:
    raise AssertionError("no picture was asked for")


def grey(width: int, height: int, **save: object) -> ImageData:
    return ImageData.from_image(Image.new("L", (width, height), 255), **save)


def test_every_leaf_of_a_request_has_a_control_or_a_reason_why_not():
    carried = {leaf for path, control in (SHARED | CONTROLS).items() for leaf in control.leaves(path)}
    assert carried | set(NOT_CARRIED) == set(leaves())
    assert not carried & set(NOT_CARRIED)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    from modules.ui.blocks import build
    from tests.browser.bare_app import BareApp

    return build(BareApp(tmp_path_factory.mktemp("data")))


@pytest.mark.parametrize("tab", GENERATION_TABS)
def test_a_tab_draws_each_of_its_controls_once(tab, blocks):
    ids = [block.elem_id for block in blocks.blocks.values() if block.elem_id]
    assert len(ids) == len(set(ids))
    for path in controls_of(tab):
        if path not in SHARED:
            assert f"{tab}_{CONTROLS[path].element}" in ids
    assert len(blocks.blocks) < 400


def test_defaults_of_txt2img_ask_for_the_same_as_a_request_without_anything():
    request = to_request("txt2img", defaults("txt2img"), no_picture)
    plain = GenerationRequest()
    assert request.sampling.schedule == "Automatic"  # said aloud, where the API may leave it out
    assert request.model_copy(update={"sampling": plain.sampling}) == plain
    assert request.sampling.model_copy(update={"schedule": None}) == plain.sampling


def test_parts_that_are_switched_off_leave_no_trace():
    values = defaults("txt2img") | {"hires.scale": 3.0, "refiner.checkpoint": "other", "seed.variation_strength": 0.5}
    request = to_request("txt2img", values, no_picture)
    assert request.hires is None and request.refiner is None and request.seed.variation_strength == 0


def test_parts_that_are_switched_on_are_asked_for_as_shown():
    values = defaults("txt2img") | {
        "hires.on": True, "hires.scale": 1.5,
        "refiner.on": True, "refiner.checkpoint": "other", "refiner.switch_at": 0.6,
        "seed.extra": True, "seed.variation": 7, "seed.variation_strength": 0.25, "seed.resize_from.width": 64,
        "seed.resize_from.height": 96, "overrides": ["Clip skip: 2"], "styles": ["a", "b"],
    }  # fmt: skip
    request = to_request("txt2img", values, no_picture)
    assert request.hires.scale == 1.5 and request.hires.checkpoint is None and request.hires.sampler is None
    assert (request.refiner.checkpoint, request.refiner.switch_at) == ("other", 0.6)
    assert (request.seed.variation, request.seed.variation_strength, str(request.seed.resize_from)) == (
        7,
        0.25,
        "64x96",
    )
    assert request.overrides == {"CLIP_stop_at_last_layers": 2}
    assert request.styles == ("a", "b")


def test_inpainting_carries_source_mask_and_options():
    kept = {"a": grey(96, 64), "b": grey(96, 64)}
    values = defaults("inpaint") | {
        "source.picture": {"image": "a", "mask": "b", "width": 96, "height": 64}, "source.inpaint.blur": 9,
        "source.inpaint.mode": MASK_MODES[1], "source.inpaint.area": "Only masked", "source.inpaint.content": "fill",
        "source.resize_mode": "Crop and resize",
    }  # fmt: skip
    source = to_request("inpaint", values, kept.__getitem__).source
    assert source.images == (kept["a"],) and source.inpaint.mask == kept["b"]
    assert (source.inpaint.blur_x, source.inpaint.blur_y, source.inpaint.invert, source.inpaint.only_masked) == (
        9,
        9,
        True,
        True,
    )
    assert source.inpaint.content is MaskedContent.FILL and source.resize_mode is ResizeMode.CROP


def test_img2img_takes_its_size_from_the_picture_when_resizing_by_a_factor():
    values = defaults("img2img") | {"source.picture": {"image": "a"}, "source.scale_on": True, "source.scale": 1.5}
    request = to_request("img2img", values, lambda digest: grey(100, 64))
    assert (request.size.width, request.size.height) == (144, 96)  # 150 is no multiple of 8
    assert request.source.inpaint is None


def test_a_mask_may_fit_a_photograph_that_is_stored_on_its_side():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show
    kept = {"a": grey(64, 96, exif=exif), "b": grey(96, 64)}
    values = defaults("inpaint") | {"source.picture": {"image": "a", "mask": "b"}}
    assert to_request("inpaint", values, kept.__getitem__).source.inpaint.mask == kept["b"]


def painted(width: int, height: int) -> ImageData:
    """A sketch with one red square, 8 pixels wide, in its left upper corner."""
    layer = Image.new("RGBA", (width, height))
    layer.paste((255, 0, 0, 255), (0, 0, 8, 8))
    return ImageData.from_image(layer)


def test_img2img_starts_from_the_picture_with_the_sketch_on_it_in_sketch_mode_only():
    kept = {"a": grey(64, 64), "b": painted(64, 64)}
    document = {"image": "a", "sketch": "b", "mode": "sketch"}
    image = to_request("img2img", defaults("img2img") | {"source.picture": document}, kept.__getitem__).source.images[0]
    assert (image.open().getpixel((7, 7)), image.open().getpixel((8, 8))) == ((255, 0, 0), (255, 255, 255))
    as_it_is = defaults("img2img") | {"source.picture": document | {"mode": "img2img"}}
    assert to_request("img2img", as_it_is, kept.__getitem__).source.images == (kept["a"],)


def test_inpaint_sketch_sends_the_painted_picture_and_the_strokes_as_its_mask():
    kept = {"a": grey(64, 64), "b": painted(64, 64)}
    values = defaults("inpaint") | {
        "source.picture": {"image": "a", "sketch": "b", "mask": None, "mode": "inpaint_sketch"},
        "source.inpaint.blur": 0, "source.inpaint.transparency": 50,
    }  # fmt: skip
    source = to_request("inpaint", values, kept.__getitem__).source
    mask = source.inpaint.mask.open()
    assert (mask.getpixel((7, 7)), mask.getpixel((8, 8)), mask.size) == (127, 0, (64, 64))
    assert source.images[0].open().getpixel((7, 7)) == (255, 128, 128)  # half transparent, so half of the red
    with pytest.raises(InvalidRequest, match="mask is empty"):  # colours count in their own mode alone
        to_request(
            "inpaint",
            values | {"source.picture": {"image": "a", "sketch": "b", "mask": None, "mode": "inpaint"}},
            kept.__getitem__,
        )


@pytest.mark.parametrize(
    "document, words",
    [
        (None, "needs a picture"),
        ({"image": "a", "mask": None}, "mask is empty"),
        ({"image": "a", "mask": "b"}, "10x10 pixels, the picture 64x64"),
    ],
)
def test_inpainting_without_picture_or_fitting_mask_is_refused_in_words(document, words):
    kept = {"a": grey(64, 64), "b": grey(10, 10)}
    with pytest.raises(InvalidRequest, match=words):
        to_request("inpaint", defaults("inpaint") | {"source.picture": document}, kept.__getitem__)


def test_a_value_out_of_range_is_refused_by_the_label_that_the_person_sees():
    with pytest.raises(InvalidRequest, match="Sampling steps") as refusal:
        to_request("txt2img", defaults("txt2img") | {"sampling.steps": 0}, no_picture)
    assert refusal.value.field == "sampling.steps"


def test_an_infotext_sets_the_fields_it_names_and_no_others():
    text = (
        "a cat\nNegative prompt: dog\nSteps: 33, Sampler: Euler a, Schedule type: Karras, CFG scale: 5.5, Seed: 42, "
        "Size: 640x384, Clip skip: 2, Denoising strength: 0.4, Hires upscale: 1.5, Hires upscaler: Latent"
    )
    values = from_pasted("txt2img", paste(text, tab="txt2img", settings=Settings()))
    wanted = {
        "prompt": "a cat", "negative_prompt": "dog", "sampling.steps": 33, "sampling.sampler": "Euler a",
        "sampling.schedule": "Karras", "sampling.cfg_scale": 5.5, "seed.value": 42, "size.width": 640,
        "size.height": 384, "hires.on": True, "hires.scale": 1.5, "hires.denoising_strength": 0.4, "refiner.on": False,
        "overrides": ["Clip skip: 2"],
    }  # fmt: skip
    assert {path: values[path] for path in wanted} == wanted
    assert "batch.count" not in values and "source.denoising_strength" not in values


def test_what_was_pasted_asks_for_the_same_again():
    text = (
        "a cat\nSteps: 9, Sampler: DDIM, CFG scale: 3, Seed: 5, Size: 64x72, Denoising strength: 0.3, Mask blur: 2, "
        "Mask mode: Inpaint not masked, Masked content: latent noise, Inpaint area: Only masked, Masked area padding: 8"
    )
    kept = {"a": grey(64, 64), "b": grey(64, 64)}
    values = defaults("inpaint") | from_pasted("inpaint", paste(text, tab="img2img", settings=Settings()))
    request = to_request("inpaint", values | {"source.picture": {"image": "a", "mask": "b"}}, kept.__getitem__)
    inpaint = request.source.inpaint
    assert (inpaint.blur_x, inpaint.invert, inpaint.content.value) == (2, True, "latent noise")
    assert (inpaint.only_masked, inpaint.padding, request.source.denoising_strength) == (True, 8, 0.3)
    assert (request.sampling.sampler, request.sampling.steps, str(request.size)) == ("DDIM", 9, "64x72")
