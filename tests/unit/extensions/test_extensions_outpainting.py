"""Outpainting: how the canvas grows, what is repainted, and that the old picture stays."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.errors import InvalidRequest
from modules.extensions.api import GenerationRequest, ImageData
from tests.unit.extensions.recipes import module, run

POOR, MK2 = "Poor man's outpainting", "Outpainting mk2"


def request(width: int = 128, height: int = 128, **more) -> GenerationRequest:
    picture = Image.new("RGB", (width, height), (10, 200, 30))
    source = {"images": (ImageData.from_image(picture),), "denoising_strength": 0.8}
    return GenerationRequest(
        prompt="a garden", source=source, seed={"value": 5}, size={"width": 128, "height": 128}, **more
    )


def red(one: GenerationRequest, place: int) -> Image.Image:
    """What an inpainting that repaints the whole mask would give."""
    image = one.source.images[place].open().convert("RGB")
    mask = one.source.inpaint.latent_mask.open().convert("L")
    image.paste((255, 0, 0), mask=mask)
    return image


@pytest.mark.parametrize(
    "directions, size", [(("left", "right", "up", "down"), (256, 256)), (("left",), (192, 128)), (("up",), (128, 192))]
)
def test_the_chosen_sides_grow_and_both_measures_become_multiples_of_64(directions, size):
    done = run(POOR, request(), {"pixels": 64, "mask_blur": 0, "directions": directions}, paint=red)
    assert done.shown[0].image.size == size


def test_the_old_picture_stays_where_it_was_and_the_new_edge_is_painted():
    done = run(POOR, request(), {"pixels": 64, "mask_blur": 0}, paint=red)
    image = done.shown[0].image
    assert image.getpixel((128, 128)) == (10, 200, 30)
    assert image.getpixel((4, 4)) == (255, 0, 0) and image.getpixel((250, 128)) == (255, 0, 0)


def test_only_tiles_with_new_area_are_run_with_seeds_that_count():
    done = run(POOR, request(256, 128), {"pixels": 32, "mask_blur": 2, "directions": ["right"]}, paint=red)
    assert len(done.requests) == 1  # three tiles across 320 pixels; only the last touches the 64 new ones
    assert done.requests[0].source.inpaint.blur_x == 4 and done.requests[0].source.inpaint.content == "fill"
    assert done.requests[0].save is False and done.requests[0].seed.value == 5


def test_tiles_that_leave_no_step_are_refused():
    with pytest.raises(InvalidRequest, match="cannot overlap by 128"):
        run(POOR, request(), {"pixels": 128})


def test_mk2_grows_one_side_after_the_other_and_keeps_the_picture():
    done = run(MK2, request(), {"pixels": 64, "mask_blur": 8, "directions": ["left", "down"]}, paint=red)
    image = done.shown[0].image
    assert image.size == (192, 192) and len(done.requests) == 2
    left, down = done.requests
    assert (left.source.inpaint.blur_x, left.source.inpaint.blur_y) == (32, 0)
    assert (down.source.inpaint.blur_x, down.source.inpaint.blur_y) == (0, 32)
    assert (left.size.width, left.size.height) == (128, 128) and (down.size.width, down.size.height) == (192, 128)
    assert image.getpixel((185, 5)) == (10, 200, 30)
    assert image.getpixel((3, 60)) == (255, 0, 0) and image.getpixel((100, 190)) == (255, 0, 0)


def test_mk2_makes_whole_batches_and_repeats_with_a_grid():
    done = run(MK2, request(batch={"size": 2, "count": 2}), {"pixels": 64, "directions": ["right"]}, paint=red)
    assert [one.role for one in done.shown] == ["grid", "sample", "sample", "sample", "sample"]
    assert [one.seed.value for one in done.requests] == [5, 7]


def test_matched_noise_has_the_colours_of_the_picture_and_leaves_it_alone():
    noise = module("outpainting_mk2.noise")
    known = np.zeros((64, 64), bool)
    known[:, :32] = True
    image = np.zeros((64, 64, 3))
    image[:, :32] = np.random.default_rng(1).uniform(0.2, 0.4, (64, 32, 3))
    filled = noise.matched_noise(image, known, 1.0, 0.05)
    assert (filled[:, :32] == image[:, :32]).all()
    new = filled[:, 32:]
    assert new.min() >= 0.2 and new.max() <= 0.4  # the distribution of the known half
    assert new.std() > 0.03, "noise, not one colour"
    assert (noise.matched_noise(image, known, 1.0, 0.05) == filled).all(), "the same picture, the same noise"
