"""Batches of img2img: which pictures, masks and texts belong together, and what each picture's own job asks for."""

from __future__ import annotations

import pytest
from PIL import Image

from modules.batches import content, items_of, pictures_in, request_for, with_png_info
from modules.errors import InvalidRequest
from modules.generation.batch import BatchPicture, BatchRequest
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.infotext.parse import parse

INFOTEXT = (
    "a boat\nNegative prompt: fog\nSteps: 11, Sampler: Euler a, Schedule type: Karras, CFG scale: 3.5, Seed: 99, "
    "Size: 64x96, Model hash: 0123456789"
)


def named(*names: str) -> tuple[BatchPicture, ...]:
    return tuple(BatchPicture(name=name, image=ImageData(name.encode())) for name in names)


def picture(width: int, height: int, **save: object) -> ImageData:
    return ImageData.from_image(Image.new("RGB", (width, height)), **save)


def request(**changes: object) -> GenerationRequest:
    given = {"prompt": "sharp", "source": {"images": [picture(8, 8)]}, **changes}
    return GenerationRequest.model_validate(given)


def test_one_mask_is_for_all_pictures_and_of_several_each_is_for_the_picture_of_its_name():
    pictures = named("b.jpg", "a.png", "c.png")
    assert [item.mask.name for item in items_of(pictures, named("m.png"))] == ["m.png"] * 3
    items = items_of(pictures, named("a.jpg", "b.png"))
    assert [(item.picture.name, item.mask.name) for item in items] == [("b.jpg", "b.png"), ("a.png", "a.jpg")]
    with pytest.raises(InvalidRequest, match="no mask has the name of a picture"):
        items_of(pictures, named("x.png", "y.png"))


def test_a_folders_pictures_are_found_at_any_depth_by_name_and_links_out_of_it_are_not_followed(tmp_path):
    outside = tmp_path / "secret.png"
    outside.write_bytes(picture(8, 8).content)
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.PNG", "deep/a.webp", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "link.png").symlink_to(outside)
    assert [one.name for one in pictures_in(folder)] == ["b.PNG", "a.webp"]
    with pytest.raises(InvalidRequest, match="no picture in"):
        pictures_in(_empty(tmp_path))
    with pytest.raises(InvalidRequest, match="no folder"):
        pictures_in(tmp_path / "nowhere")


def _empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_a_file_that_became_a_link_since_it_was_listed_is_not_read(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(8, 8).content)
    (listed,) = pictures_in(tmp_path)
    assert content(listed).size == (8, 8)
    (tmp_path / "other").write_bytes(b"secret")
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").symlink_to(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        content(listed)


def test_each_picture_gets_its_own_size_when_resizing_by_a_factor_and_its_mask_is_brought_to_its_size():
    inpaint = {"mask": picture(8, 8)}
    batch = BatchRequest(
        request=request(source={"images": [picture(8, 8)], "inpaint": inpaint}),
        items=items_of(
            [BatchPicture(name="a.png", image=picture(100, 64))], [BatchPicture(name="m.png", image=picture(50, 32))]
        ),
        scale=1.5,
    )
    asked = request_for(batch, batch.items[0])
    assert (asked.size.width, asked.size.height) == (144, 96)  # 150 is no multiple of 8
    assert asked.source.images[0].size == asked.source.inpaint.mask.size == (100, 64)


def test_infotext_is_put_behind_the_prompts_and_replaces_what_else_was_chosen():
    asked = with_png_info(request(), parse(INFOTEXT), ("Prompt", "Seed", "Sampler", "Steps", "Model hash"))
    assert (asked.prompt, asked.negative_prompt) == ("sharp a boat", "")
    assert (asked.seed.value, asked.sampling.sampler, asked.sampling.schedule) == (99, "Euler a", "Karras")
    assert (asked.sampling.steps, asked.sampling.cfg_scale, asked.model.checkpoint) == (11, 7.0, "0123456789")
    broken = with_png_info(request(), parse(INFOTEXT.replace("Seed: 99", "Seed: many")), ("Seed", "Negative prompt"))
    assert (broken.seed.value, broken.negative_prompt) == (-1, " fog")
