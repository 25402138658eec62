from __future__ import annotations

from pathlib import Path

import pytest

from modules.errors import InvalidRequest
from modules.extensions.dispatch import arguments
from modules.extensions.loader import Extensions
from modules.generation.request import BatchPart, GenerationRequest, SeedPart

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script():
    return Extensions([ROOT / "extensions"]).scripts.get("Prompts from file or textbox")


def run(script, prompts, base=None, **args):
    recipe = script.recipe(base or GenerationRequest(), arguments(script, {"prompts": prompts, **args}), None)
    return [asked.request for asked in next(recipe).asked]


def test_every_line_that_is_not_empty_is_a_job(script):
    assert [one.prompt for one in run(script, "a dog\n\n  a cat  \n")] == ["a dog", "a cat"]


def test_parameters_in_a_line_are_set(script):
    line = '--prompt a "big" dog --negative_prompt blurry --steps 7 --width 640 --seed 5 --cfg_scale 3.5 --sampler_name k_heun --tiling true'  # noqa: E501
    (one,) = run(script, line)
    assert (one.prompt, one.negative_prompt) == ("a big dog", "blurry")
    assert (one.sampling.steps, one.size.width, one.seed.value, one.sampling.cfg_scale) == (7, 640, 5, 3.5)
    assert (one.sampling.sampler, one.tiling) == ("k_heun", True)


@pytest.mark.parametrize("line", ["--steps many", "a dog --no_such_thing 1", 'an unclosed "quote --steps 3', "--steps"])
def test_a_line_that_cannot_be_read_is_a_prompt(script, line):
    assert run(script, line)[0].prompt == line


def test_the_main_prompt_stands_beside_the_lines(script):
    base = GenerationRequest(prompt="by a lake", negative_prompt="ugly")
    assert run(script, "a dog", base)[0].prompt == "a dog by a lake"
    (one,) = run(script, "--prompt a dog --negative_prompt dark", base, position="end")
    assert (one.prompt, one.negative_prompt) == ("by a lake a dog", "ugly dark")


def test_seeds_go_on_from_line_to_line_when_asked(script):
    base = GenerationRequest(seed=SeedPart(value=10), batch=BatchPart(size=2, count=3))
    assert [one.seed.value for one in run(script, "a\nb\nc", base, iterate_seed=True)] == [10, 16, 22]
    assert [one.seed.value for one in run(script, "a\nb", base)] == [10, 10]


def test_a_random_seed_can_be_the_same_for_all_lines(script):
    first, second = run(script, "a\nb", same_seed=True)
    assert first.seed.value == second.seed.value != -1


def test_a_line_cannot_choose_where_files_go(script):
    with pytest.raises(InvalidRequest, match="output folder"):
        run(script, "--prompt a --outpath_samples /etc")


def test_no_line_at_all_is_an_error(script):
    with pytest.raises(InvalidRequest, match="no line to run"):
        run(script, " \n ")
