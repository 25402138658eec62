"""What the operations of Extras make of a picture together: how many, how large, in which order, and what is said."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageOps

from modules.errors import InvalidRequest
from modules.generation.extras import ExtrasPicture, ExtrasRequest
from modules.images.data import ImageData
from modules.postprocessing.operations import OPERATIONS, in_order, process, with_existing

NONE = {"upscaler": "None"}


def request(**parts) -> ExtrasRequest:
    picture = ExtrasPicture(image=ImageData.from_image(Image.new("RGB", (8, 8))))
    return ExtrasRequest(pictures=(picture,), **{"upscale": NONE, **parts})


def resized(image: Image.Image, name: str, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def words(image: Image.Image) -> str:
    return f"a picture of {image.width} pixels"


def gradient(width: int, height: int) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).rotate(90).resize((width, height)).convert("RGB")


def test_nothing_asked_leaves_the_picture_as_it_is():
    image = gradient(40, 30)
    (work,) = process(image, request(), resized, words)
    assert work.image is image and work.facts == {}


def test_flipped_copies_stand_beside_the_picture_and_share_its_facts():
    image = gradient(40, 30)
    parts = {"upscale": {"upscaler": "Lanczos", "factor": 2.0}, "flips": {"vertical": True, "both": True}}
    works = process(image, request(**parts), resized, words)
    first = works[0].image
    expected = (first, ImageOps.mirror(first), ImageOps.flip(first), first.rotate(180))
    assert all(ImageChops.difference(a.image, b).getbbox() is None for a, b in zip(works, expected, strict=True))
    assert {tuple(work.facts.items()) for work in works} == {
        (("Postprocess upscale by", "2"), ("Postprocess upscaler", "Lanczos")),
    }


def test_pieces_have_the_size_of_scale_to_even_when_nothing_is_enlarged():
    to = {**NONE, "mode": "to", "width": 64, "height": 64}
    works = process(gradient(300, 60), request(upscale=to, split={}, flips={}), resized, words)
    assert {work.image.size for work in works} == {(64, 64)}
    assert len(works) % 2 == 0 and len(works) >= 10  # each piece and its mirror image


def test_the_debug_picture_of_a_focal_crop_comes_after_the_cut():
    to = {**NONE, "mode": "to", "width": 32, "height": 32}
    cut, shown = process(gradient(96, 48), request(upscale=to, focal_crop={"debug": True}), resized, words)
    assert cut.image.size == (32, 32) and shown.image.size == (64, 32)


def test_a_picture_that_no_size_suits_stays_with_a_word_about_it():
    (work,) = process(gradient(400, 40), request(auto_size={}), resized, words)
    assert work.image.size == (400, 40) and "400x40; the picture stays as it is" in work.notices[0]
    (fitting,) = process(gradient(100, 100), request(auto_size={}), resized, words)
    assert fitting.image.size == (640, 640) and not fitting.notices


def test_the_settings_say_which_operations_come_first():
    assert [one.name for one in in_order()] == [
        "Upscale", "Split oversized images", "Auto focal point crop", "Auto-sized crop", "Create flipped copies",
        "Caption",
    ]  # fmt: skip
    moved = in_order(("Create flipped copies", "of an extension that is gone"))
    assert [one.name for one in moved][:2] == ["Create flipped copies", "Upscale"]
    assert len(moved) == len(OPERATIONS)


def test_a_cut_that_would_need_too_large_a_picture_is_refused_before_it_is_made():
    to = {**NONE, "mode": "to", "width": 16384, "height": 16384}
    with pytest.raises(InvalidRequest, match="megapixels"):
        process(gradient(400, 8), request(upscale=to, focal_crop={}), resized, words)


def test_every_result_is_described_as_it_is_in_the_end():
    parts = {"upscale": {"upscaler": "Lanczos", "factor": 2.0}, "flips": {}, "caption": {}}
    works = process(gradient(40, 30), request(**parts), resized, words)
    assert [work.caption for work in works] == ["a picture of 80 pixels"] * 2


@pytest.mark.parametrize(
    "action, text", [("Ignore", "new"), ("Keep", "old"), ("Prepend", "old new"), ("Append", "new old")]
)
def test_a_description_that_was_there_is_treated_as_the_settings_say(action: str, text: str):
    assert with_existing("new", "old", action) == text
    assert with_existing("new", "", action) == "new"
