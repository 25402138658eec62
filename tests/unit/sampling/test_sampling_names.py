"""Sampler and schedule names, discrete grids, and the steps of img2img."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modules.errors import UnknownName
from modules.sampling.grid import Img2ImgSteps, img2img_steps, path_limits, tail_start, timestep_grid
from modules.sampling.names import effective_schedule, resolve
from modules.sampling.sampler import SAMPLERS
from modules.sampling.schedules import SCHEDULES


def test_the_drop_down_lists_a1111s_samplers_in_its_order():
    assert SAMPLERS.names() == (
        "DPM++ 2M",
        "DPM++ SDE",
        "DPM++ 2M SDE",
        "DPM++ 2M SDE Heun",
        "DPM++ 2S a",
        "DPM++ 3M SDE",
        "Euler a",
        "Euler",
        "LMS",
        "Heun",
        "DPM2",
        "DPM2 a",
        "DPM fast",
        "DPM adaptive",
        "Restart",
        "DDIM",
        "DDIM CFG++",
        "PLMS",
        "UniPC",
        "LCM",
    )


def test_listing_samplers_and_resolving_names_does_not_load_torch():
    code = (
        "import modules.sampling, sys; from modules.sampling.names import resolve; resolve('Euler a Karras');"
        "from modules.sampling.grid import timestep_grid; timestep_grid(20); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "sampler, schedule, expected",
    [
        ("DPM++ 2M Karras", None, ("DPM++ 2M", "Automatic")),  # Karras is its default
        ("DPM++ 2M Karras", "Exponential", ("DPM++ 2M", "Automatic")),  # the label's own schedule wins
        ("Euler a Karras", None, ("Euler a", "Karras")),
        ("DPM++ 2M SDE Exponential", None, ("DPM++ 2M SDE", "Automatic")),
        ("DPM++ 2M SDE Karras", None, ("DPM++ 2M SDE", "Karras")),
        ("DPM++ 2M SDE Heun Exponential", None, ("DPM++ 2M SDE Heun", "Automatic")),
        ("Euler SGMUniform", None, ("Euler", "SGM Uniform")),
        ("Euler sgm_uniform", None, ("Euler", "SGM Uniform")),
        ("Euler a", "Automatic", ("Euler a", "Automatic")),
        ("Euler a", "", ("Euler a", "Automatic")),
        ("Euler a", "karras", ("Euler a", "Karras")),
        ("DPM++ 2M", "Karras", ("DPM++ 2M", "Automatic")),
        ("DPM++ 2M", "Uniform", ("DPM++ 2M", "Uniform")),
        ("k_euler_a", "align_your_steps", ("Euler a", "Align Your Steps")),
        ("k_euler_ancestral", None, ("Euler a", "Automatic")),
        ("euler a", None, ("Euler a", "Automatic")),
        ("DDIM", "DDIM", ("DDIM", "DDIM")),
    ],
)
def test_labels_aliases_and_old_labels_are_understood(sampler, schedule, expected):
    assert resolve(sampler, schedule) == expected


def test_an_unknown_sampler_is_an_error_with_a_suggestion():
    with pytest.raises(UnknownName, match='no sampler named "Eulr a"; did you mean "Euler a"'):
        resolve("Eulr a")


def test_an_unknown_schedule_is_an_error_with_a_suggestion():
    with pytest.raises(UnknownName, match='no schedule named "Kerras"; did you mean "Karras"'):
        resolve("Euler", "Kerras")


def test_a_lenient_reader_takes_a1111s_substitutes():
    assert resolve("No Such Sampler", "No Such Schedule", is_strict=False) == ("DPM++ 2M", "Automatic")


@pytest.mark.parametrize("name", SAMPLERS.names())
@pytest.mark.parametrize("label", SCHEDULES.names())
def test_every_sampler_takes_every_schedule_as_a_suffix(name, label):
    resolved = resolve(f"{name} {label}")
    assert resolved.sampler == name
    assert effective_schedule(*resolved) == effective_schedule(name, label)


@given(text=st.text())
def test_any_text_has_a_lenient_reading(text):
    resolved = resolve(text, text, is_strict=False)
    assert resolved.sampler in SAMPLERS
    assert resolved.schedule in SCHEDULES


def test_every_alias_leads_to_its_sampler():
    for info in SAMPLERS:
        assert {resolve(alias).sampler for alias in info.aliases} == {info.name}


@pytest.mark.parametrize(
    "steps, expected",
    [
        (7, (1, 143, 285, 427, 569, 711, 853, 995)),
        (10, tuple(range(1, 1000, 100))),
        (1, (1,)),
        (1000, (*range(1, 1000), 999)),
    ],
)
def test_discrete_grids_are_those_of_a1111(steps, expected):
    assert timestep_grid(steps) == expected


@pytest.mark.parametrize("steps, count, last", [(20, 20, 951), (30, 31, 991), (50, 50, 981)])
def test_a_discrete_grid_may_have_one_time_more_than_steps(steps, count, last):
    grid = timestep_grid(steps)
    assert (len(grid), grid[-1]) == (count, last)


@pytest.mark.parametrize(
    "steps, strength, is_exact, run, schedule, start",
    [
        (20, 0.75, False, 16, 20, 4),
        (20, 0.5, False, 11, 20, 9),
        (20, 0.05, False, 2, 20, 18),
        (20, 0.0, False, 1, 20, 19),
        (20, 1.0, False, 20, 20, 0),
        (20, 0.7, True, 20, 28, 8),
        (15, 0.35, True, 15, 42, 27),
    ],
)
def test_img2img_runs_a1111s_steps(steps, strength, is_exact, run, schedule, start):
    planned = img2img_steps(steps, strength, is_exact=is_exact)
    assert (planned.encoded + 1, planned.schedule, tail_start(planned)) == (run, schedule, start)


def test_exact_steps_at_strength_zero_change_nothing():
    assert img2img_steps(20, 0.0, is_exact=True) == Img2ImgSteps(schedule=0, encoded=19)


@given(steps=st.integers(1, 150), strength=st.floats(0.01, 1.0), is_exact=st.booleans())
def test_img2img_never_starts_before_the_schedule(steps, strength, is_exact):
    planned = img2img_steps(steps, strength, is_exact=is_exact)
    assert 0 <= tail_start(planned) < planned.schedule


def test_a_path_reaches_from_the_lowest_positive_level_to_the_highest():
    assert path_limits(torch.tensor([8.0, 2.0, 0.5, 0.0])) == (0.5, 8.0)
    assert path_limits(torch.zeros(1)) == (0.0, 0.0)
