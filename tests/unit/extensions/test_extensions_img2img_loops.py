"""SD upscale and loopback: what each of their runs is given, and what comes back."""

from __future__ import annotations

import pytest
from PIL import Image

from modules.extensions.api import GenerationRequest, ImageData
from tests.unit.extensions.recipes import FakeTools, run


def request(image: Image.Image, **more) -> GenerationRequest:
    source = {"images": (ImageData.from_image(image),), "denoising_strength": 0.6}
    return GenerationRequest(source=source, seed={"value": 5}, size={"width": 64, "height": 64}, **more)


def strengths(done) -> list[float]:
    return [round(one.source.denoising_strength, 4) for one in done.requests]


def test_sd_upscale_shows_what_is_transparent_over_the_background_of_the_settings():
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    tools = FakeTools({"img2img_background_color": "#0000ff"})
    done = run("SD upscale", request(clear), {"overlap": 0, "upscaler": "None"}, tools=tools)
    assert done.requests[0].source.images[0].open().convert("RGB").getpixel((9, 9)) == (0, 0, 255)


def test_sd_upscale_counts_seeds_by_batches_and_repeats_by_one():
    wide = Image.new("RGB", (256, 64))
    done = run("SD upscale", request(wide, batch={"size": 2, "count": 2}), {"overlap": 0, "upscaler": "None"})
    assert [one.seed.value for one in done.requests] == [5, 6, 6, 7]
    assert [one.image.size for one in done.shown] == [(256, 64)] * 2


@pytest.mark.parametrize(
    "curve, middle", [("Linear", 0.4), ("Aggressive", 0.6 - 0.4 * 0.5**0.5), ("Lazy", 0.6 - 0.4 * (1 - 0.5**0.5))]
)
def test_loopback_runs_from_the_first_strength_to_the_last_along_its_curve(curve: str, middle: float):
    done = run(
        "Loopback",
        request(Image.new("RGB", (64, 64))),
        {"loops": 3, "final_denoising_strength": 0.2, "curve": curve},
    )
    assert strengths(done) == [0.6, round(middle, 4), 0.2]
    assert [one.seed.value for one in done.requests] == [5, 6, 7]
    assert done.shown[0].role == "grid" and len(done.shown) == 4


def test_each_repeat_of_loopback_starts_anew_and_keeps_its_last_picture():
    done = run(
        "Loopback",
        request(Image.new("RGB", (64, 64)), batch={"size": 3, "count": 2}),
        {"loops": 2, "final_denoising_strength": 0.2},
    )
    assert strengths(done) == [0.6, 0.2, 0.6, 0.2] and [one.seed.value for one in done.requests] == [5, 6, 7, 8]
    assert [one.seed for one in done.shown[1:]] == [6, 8]


def test_every_loop_is_matched_to_the_colours_of_the_first_picture():
    first = Image.new("RGB", (64, 64), (200, 10, 10))
    done = run("Loopback", request(first), {"loops": 3, "final_denoising_strength": 0.2})
    references = [one.source.color_reference.open().getpixel((0, 0)) for one in done.requests]
    assert references == [(200, 10, 10)] * 3
    assert done.requests[1].source.images[0].open().getpixel((0, 0)) != (200, 10, 10)  # it starts from the last result


@pytest.mark.parametrize(
    "shows, saves, sheets", [(True, True, [True]), (True, False, [True]), (False, True, [False]), (False, False, [])]
)
def test_the_sheet_of_a_loopback_is_made_when_it_is_to_be_shown_or_saved(shows: bool, saves: bool, sheets: list[bool]):
    tools = FakeTools({"return_grid": shows, "grid_save": saves})
    done = run(
        "Loopback",
        request(Image.new("RGB", (64, 64))),
        {"loops": 2, "final_denoising_strength": 0.2},
        tools=tools,
    )
    assert [one.is_shown for one in done.shown if one.role == "grid"] == sheets
    assert sum(one.role == "sample" for one in done.shown) == 2
