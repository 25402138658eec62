"""Names and folders from patterns, and that none of them can do harm."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.generation.plan import HiresPlan
from modules.outputs.naming import Namer, NameRules, Subject, component, cut_to_bytes
from tests.unit.outputs.plans import plan

NOON = datetime(2024, 5, 6, 12, 30, 15)


def subject(**changes):
    values = {"width": 64, "height": 48, "plan": plan(), "index": 0, "seed": 7, "prompt": "Red cat, (best:1.2)",
              "negative_prompt": "dog", "now": NOON, "job_started": datetime(2024, 1, 2, 3, 4, 5)}  # fmt: skip
    return Subject(**{**values, **changes})


def fill(pattern, **changes):
    return Namer(subject(**changes)).fill(pattern)


@pytest.mark.parametrize(
    "pattern, text",
    [
        ("[seed]-[steps]-[cfg]", "7-20-7.0"),
        ("[width]x[height]", "64x48"),
        ("[sampler]|[scheduler]|[sampler_scheduler]", "DPM++ 2M|Karras|DPM++ 2M Karras"),
        ("[model_name] [model_hash] [vae_filename]", "dream ababababab soft"),
        ("[[model_name]]", "[dream]"),
        ("[SEED]", "7"),
        ("[date] [datetime] [job_timestamp]", "2024-05-06 20240506123015 20240102030405"),
        ("[datetime<%H.%M>]", "12.30"),
        ("[prompt]", "Red_cat,_(best_1.2)"),
        ("[prompt_spaces]", "Red cat, (best_1.2)"),
        ("[prompt_words]", "Red cat best 1 2"),
        ("[prompt_hash<4>]", hashlib.sha256(b"Red cat, (best:1.2)").hexdigest()[:4]),
        ("[hasprompt<Cat|none><dog|none>]", "catnone"),
        ("[styles]", "None"),
        ("[clip_skip] [batch_size] [basename]", "1 1 img"),
        ("[none]", ""),
        ("[unknown] [", "[unknown] ["),
        ("[prompt_hash<x>]", "[prompt_hash<x>]"),
        ("a-[batch_number]b", "b"),
        ("a-[seed_last]-[seed]", "-7"),
        ("[seed]-[denoising]x", "7x"),
        ("[generation_number]", ""),
        ("[user]", ""),
    ],
)  # fmt: skip
def test_patterns_have_a1111s_values(pattern, text):
    assert fill(pattern) == text


def test_a_batch_numbers_its_pictures():
    several = plan(count=4, batch_size=2)
    pattern = "[batch_number].[generation_number].[seed_first].[seed_last]"
    assert fill(pattern, plan=several, index=3) == "2.4.100.103"


def test_denoising_strength_of_the_second_pass_is_known():
    first = plan()
    hires = HiresPlan(upscaler="Latent", is_latent=True, upscaled=first.size, size=first.size,
                      denoising_strength=0.55, sampling=first.sampling)  # fmt: skip
    assert fill("x[denoising]", plan=first.model_copy(update={"hires": hires})) == "x0.55"


def test_the_pixels_give_the_image_hash():
    red = Image.new("RGB", (2, 2), "red")
    assert fill("[image_hash<6>]", image=lambda: red) == fill("[image_hash]", image=lambda: red)[:6]


def test_a_picture_without_a_plan_keeps_what_it_cannot_tell():
    assert fill("[seed]-[steps]", plan=None) == "7-[steps]"


def test_time_zones_are_applied_and_bad_ones_ignored():
    assert fill("[datetime<%H><Nowhere/Land>]") == "12"
    assert fill("[datetime<%Y><Asia/Tokyo>]") == "2024"


def test_styles_can_be_left_out_of_the_prompt():
    prompt = "oil painting of a cat, dramatic light"
    assert (
        fill("[prompt_no_styles]", prompt=prompt, style_texts=("oil painting of {prompt}, dramatic light",)) == "a cat"
    )


def test_forbidden_characters_become_underscores_and_length_is_limited():
    assert fill("[prompt_spaces]", prompt='a<b>c:d"e/f\\g|h?i*j#k\nl') == "a_b_c_d_e_f_g_h_i_j_k_l"
    assert fill("[prompt_spaces]", prompt="  x" * 100 + " ..") == ("  x" * 100).lstrip()[:128].rstrip(" .")
    assert Namer(subject(prompt="a:b/c"), NameRules(unix_only=True)).fill("[prompt]") == "a:b_c"


@pytest.mark.parametrize(
    "pattern, folder",
    [
        ("[date]", "2024-05-06"),
        ("by model/[model_name]/", "by model/dream"),
        ("../../etc", "etc"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\Windows", "C_/Windows"),
        ("a/./b//c", "a/b/c"),
        ("[prompt]", "__"),
        (" x ", "x"),
    ],
)  # fmt: skip
def test_a_folder_stays_below_its_root(pattern, folder):
    assert Namer(subject(prompt="../..")).folder(pattern) == PurePosixPath(folder)


@pytest.mark.parametrize("name", ["CON", "nul.txt", "com1", "Lpt9.png"])
def test_names_that_windows_reserves_are_changed(name):
    assert component(name) == f"_{name}"


@given(st.text(), st.text())
def test_no_prompt_and_no_pattern_gives_a_dangerous_name(prompt, pattern):
    namer = Namer(subject(prompt=prompt, user=prompt))
    for name in (namer.file_name(pattern), namer.file_name("[prompt][user]" + pattern), *namer.folder(pattern).parts):
        assert "/" not in name and "\\" not in name and "\0" not in name
        assert not name.startswith(".") and not name.endswith((".", " "))
        name.encode("utf-8")
    assert not namer.folder(pattern + "[prompt]").is_absolute()


@given(st.text())
def test_a_name_fits_the_file_system_and_is_not_cut_inside_a_character(stem):
    stem = stem.encode("utf-8", "replace").decode()
    cut = cut_to_bytes(stem * 20, ".png")
    assert len((cut + ".png").encode("utf-8")) <= 255
    assert (stem * 20).startswith(cut)
