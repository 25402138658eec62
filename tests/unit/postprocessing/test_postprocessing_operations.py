"""What the operations of Extras make of a picture together: how many, how large, in which order, and what is said."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops, ImageOps

from modules.errors import InvalidRequest
from modules.generation.extras import ExtrasPicture, ExtrasRequest
from modules.images.data import ImageData
from modules.postprocessing.operations import OPERATIONS, Tools, in_order, process, with_existing

NONE = {"upscaler": "None"}


def request(**parts) -> ExtrasRequest:
    picture = ExtrasPicture(image=ImageData.from_image(Image.new("RGB", (8, 8))))
    return ExtrasRequest(pictures=(picture,), **{"upscale": NONE, **parts})


def resized(image: Image.Image, name: str, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def words(image: Image.Image) -> str:
    return f"a picture of {image.width} pixels"


def faces_in_red(image: Image.Image, name: str, weight: float) -> tuple[Image.Image, int]:
    """The left half as though it were a face: red, as bright as the weight."""
    made = image.copy()
    made.paste((round(255 * (1 - weight)), 0, 0), (0, 0, image.width // 2, image.height))
    return made, 1


TOOLS = Tools(resized, words, faces_in_red)


def gradient(width: int, height: int) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).rotate(90).resize((width, height)).convert("RGB")


def test_nothing_asked_leaves_the_picture_as_it_is():
    image = gradient(40, 30)
    (work,) = process(image, request(), TOOLS)
    assert work.image is image and work.facts == {}


def test_flipped_copies_stand_beside_the_picture_and_share_its_facts():
    image = gradient(40, 30)
    parts = {"upscale": {"upscaler": "Lanczos", "factor": 2.0}, "flips": {"vertical": True, "both": True}}
    works = process(image, request(**parts), TOOLS)
    first = works[0].image
    expected = (first, ImageOps.mirror(first), ImageOps.flip(first), first.rotate(180))
    assert all(ImageChops.difference(a.image, b).getbbox() is None for a, b in zip(works, expected, strict=True))
    assert {tuple(work.facts.items()) for work in works} == {
        (("Postprocess upscale by", "2"), ("Postprocess upscaler", "Lanczos")),
    }


def test_pieces_have_the_size_of_scale_to_even_when_nothing_is_enlarged():
    to = {**NONE, "mode": "to", "width": 64, "height": 64}
    works = process(gradient(300, 60), request(upscale=to, split={}, flips={}), TOOLS)
    assert {work.image.size for work in works} == {(64, 64)}
    assert len(works) % 2 == 0 and len(works) >= 10  # each piece and its mirror image


def test_the_debug_picture_of_a_focal_crop_comes_after_the_cut():
    to = {**NONE, "mode": "to", "width": 32, "height": 32}
    cut, shown = process(gradient(96, 48), request(upscale=to, focal_crop={"debug": True}), TOOLS)
    assert cut.image.size == (32, 32) and shown.image.size == (64, 32)


def test_a_picture_that_no_size_suits_stays_with_a_word_about_it():
    (work,) = process(gradient(400, 40), request(auto_size={}), TOOLS)
    assert work.image.size == (400, 40) and "400x40; the picture stays as it is" in work.notices[0]
    (fitting,) = process(gradient(100, 100), request(auto_size={}), TOOLS)
    assert fitting.image.size == (640, 640) and not fitting.notices


def test_the_settings_say_which_operations_come_first():
    assert [one.name for one in in_order()] == [
        "Upscale", "GFPGAN", "CodeFormer", "Split oversized images", "Auto focal point crop", "Auto-sized crop",
        "Create flipped copies", "Caption",
    ]  # fmt: skip
    moved = in_order(("Create flipped copies", "of an extension that is gone"))
    assert [one.name for one in moved][:2] == ["Create flipped copies", "Upscale"]
    assert len(moved) == len(OPERATIONS)


def test_a_cut_that_would_need_too_large_a_picture_is_refused_before_it_is_made():
    to = {**NONE, "mode": "to", "width": 16384, "height": 16384}
    with pytest.raises(InvalidRequest, match="megapixels"):
        process(gradient(400, 8), request(upscale=to, focal_crop={}), TOOLS)


def test_every_result_is_described_as_it_is_in_the_end():
    parts = {"upscale": {"upscaler": "Lanczos", "factor": 2.0}, "flips": {}, "caption": {}}
    works = process(gradient(40, 30), request(**parts), TOOLS)
    assert [work.caption for work in works] == ["a picture of 80 pixels"] * 2


def test_restored_faces_are_mixed_in_by_their_visibility_and_said():
    grey = Image.new("RGB", (40, 30), (100, 100, 100))
    (whole,) = process(grey, request(codeformer={"weight": 0.2}), TOOLS)
    assert whole.image.getpixel((0, 0)) == (204, 0, 0) and whole.image.getpixel((39, 0)) == (100, 100, 100)
    assert whole.facts == {"CodeFormer visibility": "1", "CodeFormer weight": "0.2"} and not whole.notices
    (half,) = process(grey, request(gfpgan={"visibility": 0.5}), TOOLS)
    assert half.image.getpixel((0, 0)) == (177, 50, 50)
    assert half.facts == {"GFPGAN visibility": "0.5"}
    (none,) = process(grey, request(gfpgan={"visibility": 0.0}, codeformer={"visibility": 0.0}), TOOLS)
    assert none.image is grey and none.facts == {}


def test_faces_are_restored_after_enlarging_gfpgan_first_and_transparency_stays():
    asked = []

    def restore(image: Image.Image, name: str, weight: float) -> tuple[Image.Image, int]:
        asked.append((name, image.size, image.mode))
        return image, 0

    clear = gradient(40, 30).convert("RGBA")
    clear.putalpha(77)
    parts = {"upscale": {"upscaler": "Lanczos", "factor": 2.0}, "codeformer": {}, "gfpgan": {}}
    (work,) = process(clear, request(**parts), Tools(resized, words, restore))
    assert asked == [("GFPGAN", (80, 60), "RGB"), ("CodeFormer", (80, 60), "RGB")]
    assert work.image.mode == "RGBA" and work.image.getpixel((5, 5))[3] == 77
    assert [notice.split(":")[0] for notice in work.notices] == ["GFPGAN", "CodeFormer"]  # no face was found


def test_a_focal_crop_goes_to_the_face_where_one_is_found_and_by_its_weight():
    plain = Image.new("RGB", (300, 100), (90, 90, 90))
    to = {**NONE, "mode": "to", "width": 100, "height": 100}
    only_faces = {"entropy_weight": 0.0, "edges_weight": 0.0, "debug": True}

    def cut(find, **part) -> list[int]:
        _, shown = process(plain, request(upscale=to, focal_crop={**only_faces, **part}), tools(find))
        green = [x for x in range(300) if shown.image.getpixel((x, 50)) == (0, 200, 0)]
        return [min(green), max(green)]

    def tools(find) -> Tools:
        return Tools(resized, words, faces_in_red, find)

    assert cut(lambda image: [(220.0, 30.0, 260.0, 70.0)]) == [190, 289]
    assert cut(lambda image: [(220.0, 30.0, 260.0, 70.0), (20.0, 30.0, 60.0, 70.0)]) == [90, 189]  # between both
    assert cut(lambda image: [(220.0, 30.0, 260.0, 70.0)], face_weight=0.0) == [100, 199]  # the middle
    assert cut(lambda image: []) == cut(None) == [100, 199]


@pytest.mark.parametrize(
    "action, text", [("Ignore", "new"), ("Keep", "old"), ("Prepend", "old new"), ("Append", "new old")]
)
def test_a_description_that_was_there_is_treated_as_the_settings_say(action: str, text: str):
    assert with_existing("new", "old", action) == text
    assert with_existing("new", "", action) == "new"
