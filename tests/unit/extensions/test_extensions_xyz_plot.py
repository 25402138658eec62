"""X/Y/Z plot: how values are read, what each axis changes, and what the sheets look like."""

from __future__ import annotations

import pytest
from PIL import Image

from modules.errors import InvalidRequest, UnknownName
from modules.extensions.api import GenerationRequest, NewPicture
from modules.infotext.parse import parse
from tests.unit.extensions.recipes import FakeTools, module, run, script

values = module("xyz_plot.values")
axes = module("xyz_plot.axes")

NAME = "X/Y/Z plot"
REQUEST = GenerationRequest(prompt="a red apple", negative_prompt="a worm", size={"width": 64, "height": 32})
SEEDED = REQUEST.model_copy(update={"seed": REQUEST.seed.model_copy(update={"value": 5})})


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1, 2,3", [1, 2, 3]),
        ("-1, 5", [-1, 5]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("1-10 (+3)", [1, 4, 7, 10]),
        ("10-1 (-3)", [10, 7, 4, 1]),
        ("1-100 [5]", [1, 25, 50, 75, 100]),  # evenly spread, cut to whole numbers
        ("3, 10-12, 20-40 [2]", [3, 10, 11, 12, 20, 40]),
        ("-3-2 (+2)", [-3, -1, 1]),
        ("7-7 [1]", [7]),
    ],
)
def test_whole_numbers_are_read_as_lists_ranges_and_counts(text, expected):
    assert values.whole_numbers(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0.5, 7", [0.5, 7]),
        ("1-2 (+0.25)", [1, 1.25, 1.5, 1.75, 2]),
        ("0-1 (+0.1)", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]),  # eleven, whatever floats do
        ("0-1 [5]", [0, 0.25, 0.5, 0.75, 1]),
        ("1-3", [1, 2, 3]),
    ],
)
def test_numbers_are_read_with_both_ends_of_a_range(text, expected):
    assert values.numbers(text) == expected


def test_quotes_keep_a_comma_inside_a_value_and_empty_values_are_left_out():
    assert values.texts('apple, "pear, green" , , plum') == ["apple", "pear, green", "plum"]


@pytest.mark.parametrize("text", ["x", "1-5 (-1)", "1.5", "1-999999999"])
def test_what_is_no_whole_number_or_range_is_refused_in_words(text):
    with pytest.raises(ValueError, match=r"range|fraction|step|most"):
        values.whole_numbers(text)


def test_the_axes_stand_in_the_order_in_which_clients_count_them():
    labels = [axis.label for axis in axes.axes_of("txt2img")]
    assert labels[:7] == ["Nothing", "Seed", "Var. seed", "Var. strength", "Steps", "Hires steps", "CFG Scale"]
    assert "Image CFG Scale" not in labels and "Image CFG Scale" in [a.label for a in axes.axes_of("img2img")]
    assert "Hires steps" not in [axis.label for axis in axes.axes_of("img2img")]


HIRES = GenerationRequest.model_validate({**SEEDED.model_dump(), "hires": {}, "refiner": {"checkpoint": "r"}})
SAMPLES = {
    "Seed": ("7", "seed.value", 7), "Var. seed": ("8", "seed.variation", 8),
    "Var. strength": ("0.5", "seed.variation_strength", 0.5), "Steps": ("9", "sampling.steps", 9),
    "Hires steps": ("9", "hires.steps", 9), "CFG Scale": ("3.5", "sampling.cfg_scale", 3.5),
    "Prompt S/R": ("red", "prompt", "a red apple"), "Prompt order": ("red", "prompt", "a red apple"),
    "Sampler": ("Heun", "sampling.sampler", "Heun"), "Hires sampler": ("Heun", "hires.sampler", "Heun"),
    "Checkpoint name": ("m", "model.checkpoint", "m"),
    "Negative Guidance minimum sigma": ("2", "sampling.s_min_uncond", 2.0),
    "Sigma Churn": ("2", "sampling.s_churn", 2.0), "Sigma min": ("2", "sampling.s_tmin", 2.0),
    "Sigma max": ("2", "sampling.s_tmax", 2.0), "Sigma noise": ("2", "sampling.s_noise", 2.0),
    "Schedule type": ("Karras", "sampling.schedule", "Karras"),
    "Schedule min sigma": ("0.1", "overrides.sigma_min", 0.1), "Schedule max sigma": ("9", "overrides.sigma_max", 9.0),
    "Schedule rho": ("5", "overrides.rho", 5.0), "Beta schedule alpha": ("1", "overrides.beta_dist_alpha", 1.0),
    "Beta schedule beta": ("1", "overrides.beta_dist_beta", 1.0), "Eta": ("0.5", "sampling.eta", 0.5),
    "Clip skip": ("2", "model.clip_skip", 2), "Denoising": ("0.3", "hires.denoising_strength", 0.3),
    "Extra noise": ("0.1", "overrides.img2img_extra_noise", 0.1), "Hires upscaler": ("x", "hires.upscaler", "x"),
    "VAE": ("auto", "model.vae", "Automatic"), "Styles": ('"a, b"', "styles", ("a", "b")),
    "UniPC Order": ("50", "overrides.uni_pc_order", 19),  # one less than the steps, at most
    "Face restore": ("gfpgan", "restore_faces", True),
    "Token merging ratio": ("0.5", "overrides.token_merging_ratio", 0.5),
    "Token merging ratio high-res": ("0.5", "overrides.token_merging_ratio_hr", 0.5),
    "Always discard next-to-last sigma": ("yes", "overrides.always_discard_next_to_last_sigma", True),
    "SGM noise multiplier": ("True", "overrides.sgm_noise_multiplier", True),
    "Refiner checkpoint": ("m", "refiner.checkpoint", "m"), "Refiner switch at": ("0.5", "refiner.switch_at", 0.5),
    "RNG source": ("CPU", "overrides.randn_source", "CPU"), "FP8 mode": ("Enable", "overrides.fp8_storage", "Enable"),
    "Size": ("96x32", "size.width", 96),
    "[Hypertile] Unet First pass Enabled": ("True", "overrides.hypertile_enable_unet", True),
    "[Hypertile] Unet Second pass Enabled": ("True", "overrides.hypertile_enable_unet_secondpass", True),
    "[Hypertile] Unet Max Depth": ("2", "overrides.hypertile_max_depth_unet", 2),
    "[Hypertile] Unet Max Tile Size": ("128", "overrides.hypertile_max_tile_unet", 128),
    "[Hypertile] Unet Swap Size": ("1", "overrides.hypertile_swap_size_unet", 1),
    "[Hypertile] VAE Enabled": ("True", "overrides.hypertile_enable_vae", True),
    "[Hypertile] VAE Max Depth": ("2", "overrides.hypertile_max_depth_vae", 2),
    "[Hypertile] VAE Max Tile Size": ("64", "overrides.hypertile_max_tile_vae", 64),
    "[Hypertile] VAE Swap Size": ("1", "overrides.hypertile_swap_size_vae", 1),
}  # fmt: skip


@pytest.mark.parametrize(
    "label",
    [axis.label for axis in axes.axes_of("txt2img") if axis.label not in ("Nothing", "Initial noise multiplier")],
)
def test_every_axis_writes_its_value_where_the_planner_reads_it(label):
    written, path, expected = SAMPLES[label]
    axis = next(axis for axis in axes.AXES if axis.label == label)
    read = axis.read(written)
    found = axis.put(HIRES, read[0], read)
    for part in path.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == expected


def test_an_axis_of_something_that_the_job_does_not_have_says_what_it_needs():
    with pytest.raises(InvalidRequest, match=r"X axis, Hires steps: it needs Hires\. fix"):
        run(NAME, SEEDED, {"x_type": "Hires steps", "x_values": "3"})


def test_search_and_replace_works_in_both_prompts_and_refuses_what_is_in_neither():
    done = run(NAME, SEEDED, {"x_type": "Prompt S/R", "x_values": "a, the"})
    assert [(r.prompt, r.negative_prompt) for r in done.requests] == [
        ("a red apple", "a worm"), ("the red thepple", "the worm"),
    ]  # fmt: skip
    with pytest.raises(InvalidRequest, match='"pear" is neither in the prompt'):
        run(NAME, SEEDED, {"x_type": "Prompt S/R", "x_values": "pear, plum"})


def test_prompt_order_puts_every_permutation_at_the_places_first_seen():
    done = run(NAME, SEEDED, {"x_type": "Prompt order", "x_values": "apple, red"})
    assert [request.prompt for request in done.requests] == ["a apple red", "a red apple"]


def test_three_axes_make_every_combination_once_with_the_dear_axis_outermost():
    done = run(
        NAME,
        SEEDED,
        {
            "x_type": "Checkpoint name",
            "x_values": "one, two",
            "y_type": "Steps",
            "y_values": "3, 4",
            "z_type": "CFG Scale",
            "z_values": "5, 6",
        },
    )
    seen = [(r.model.checkpoint, r.sampling.cfg_scale, r.sampling.steps) for r in done.requests]
    assert seen == [(m, c, s) for m in ("one", "two") for c in (5, 6) for s in (3, 4)]


def test_one_seed_is_drawn_for_all_cells_and_a_rerun_with_it_asks_for_the_same():
    first = run(NAME, REQUEST, {"x_type": "Steps", "x_values": "3, 4"})
    seeds = {(request.seed.value, request.seed.variation) for request in first.requests}
    assert len(seeds) == 1 and -1 not in seeds.pop()
    args = {"x_type": "Seed", "x_values": "-1, 7, -1"}
    assert [r.seed.value for r in run(NAME, SEEDED, args).requests] == [
        r.seed.value for r in run(NAME, SEEDED, args).requests
    ]
    assert all(ask.reuses for ask in first.asks)


def test_seeds_stay_random_when_asked():
    done = run(NAME, REQUEST, {"x_type": "Steps", "x_values": "3, 4", "keeps_random_seeds": True})
    assert {request.seed.value for request in done.requests} == {-1}


def test_varied_seeds_count_along_the_axes():
    done = run(
        NAME,
        SEEDED,
        {
            "x_type": "Steps",
            "x_values": "3, 4",
            "y_type": "CFG Scale",
            "y_values": "5-7",
            "vary_seeds_x": True,
            "vary_seeds_y": True,
        },
    )
    assert sorted(request.seed.value for request in done.requests) == [5, 6, 7, 8, 9, 10]


def test_a_wrong_value_is_found_before_the_first_picture_is_made():
    tools = FakeTools()
    with pytest.raises(UnknownName, match="Eulr"):
        run(NAME, SEEDED, {"x_type": "Sampler", "x_values": "Heun, Eulr"}, tools=tools)
    with pytest.raises(InvalidRequest, match="megapixels"):
        run(NAME, SEEDED, {"x_type": "Seed", "x_values": "1-9999", "y_type": "Steps", "y_values": "1-20"})


def test_axes_are_found_by_name_and_by_the_place_that_clients_send():
    by_place = run(NAME, SEEDED, {"x_type": 4, "x_values": "3, 4"})  # 4 is Steps
    assert [request.sampling.steps for request in by_place.requests] == [3, 4]
    listed = run(NAME, SEEDED, {"x_type": "Sampler", "x_values": "ignored", "x_list": ["Euler", "Heun"]})
    assert [request.sampling.sampler for request in listed.requests] == ["Euler", "Heun"]


def test_the_sheet_holds_each_cell_at_its_place_and_tells_the_axes():
    done = run(
        NAME,
        SEEDED,
        {
            "x_type": "Steps",
            "x_values": "10, 20",
            "y_type": "Seed",
            "y_values": "1, -1",
            "draw_legend": False,
            "margin": 4,
        },
    )
    (sheet,) = done.shown
    assert isinstance(sheet, NewPicture) and sheet.basename == "xyz_grid" and sheet.role == "grid"
    assert sheet.image.size == (2 * 64 + 4, 2 * 32 + 4)
    assert [sheet.image.getpixel((x, 60))[0] for x in (10, 66, 100)] == [10, 255, 20]  # a white margin between
    found = parse(sheet.infotext).values
    assert (found["X Type"], found["X Values"], found["Y Type"], found["Y Values"]) == (
        "Steps",
        "10, 20",
        "Seed",
        "1, -1",
    )
    assert found["Script"] == NAME and found["Fixed Y Values"].startswith("1, ") and "-1" not in found["Fixed Y Values"]
    assert sheet.infotext.endswith(", Version: v1.10.1")


def test_legends_take_room_above_and_beside_the_cells():
    args = {"x_type": "Steps", "x_values": "10, 20"}
    plain = run(NAME, SEEDED, {**args, "draw_legend": False}).shown[0].image
    with_legend = run(NAME, SEEDED, args).shown[0].image
    assert with_legend.width == plain.width and with_legend.height > plain.height  # no row labels, so nothing beside
    both = run(NAME, SEEDED, {**args, "y_type": "CFG Scale", "y_values": "1, 2"}).shown[0].image
    assert both.width == plain.width + 64 * 3 // 4


def test_sub_grids_and_sub_images_are_shown_when_asked_and_grids_always_saved():
    args = {"x_type": "Steps", "x_values": "3, 4", "z_type": "CFG Scale", "z_values": "1-3"}
    main, *planes = run(NAME, SEEDED, args).shown
    assert main.is_shown and [plane.is_shown for plane in planes] == [False] * 3
    everything = run(NAME, SEEDED, {**args, "include_sub_grids": True, "include_sub_images": True}).shown
    assert [type(one) is NewPicture for one in everything] == [True] * 4 + [False] * 6
    assert all(one.is_shown for one in everything[:4])
    assert [one.infotext.split("Steps: ")[1][0] for one in everything[4:]] == list("343434")


def test_a_cell_that_fails_stays_empty_and_the_others_are_there():
    def paint(request: GenerationRequest, place: int) -> Image.Image | None:
        return None if request.sampling.steps == 3 else Image.new("RGB", (64, 32), "red")

    done = run(NAME, SEEDED, {"x_type": "Steps", "x_values": "3, 4", "draw_legend": False}, paint=paint)
    (sheet,) = done.shown
    assert all(ask.skips_failures for ask in done.asks)
    assert sheet.image.getpixel((10, 10)) == (255, 255, 255) and sheet.image.getpixel((70, 10)) == (255, 0, 0)


def test_a_batch_becomes_the_cells_own_grid_and_a_single_picture_without_grids():
    batch = SEEDED.model_copy(update={"batch": SEEDED.batch.model_copy(update={"size": 4})})
    args = {"x_type": "Steps", "x_values": "3, 4", "draw_legend": False}
    assert run(NAME, batch, args).shown[0].image.size == (2 * 128, 64)
    single = run(NAME, batch, args, tools=FakeTools({"return_grid": False}))
    assert single.shown[0].image.size == (2 * 64, 32) and {r.batch.size for r in single.requests} == {1}


def test_the_arguments_stand_in_the_order_in_which_clients_send_them():
    assert list(script(NAME).Args.model_fields) == [
        "x_type", "x_values", "x_list", "y_type", "y_values", "y_list", "z_type", "z_values", "z_list", "draw_legend",
        "include_sub_images", "include_sub_grids", "keeps_random_seeds", "vary_seeds_x", "vary_seeds_y", "vary_seeds_z",
        "margin", "values_as_text",
    ]  # fmt: skip
