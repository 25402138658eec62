"""img2img alternative test: what its run asks for, and that its search is Euler's method backwards."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from modules.extensions.api import GenerationRequest, ImageData, SearchStart
from tests.unit.extensions.recipes import module, run, script
from tests.unit.sampling import gaussian

NAME = "img2img alternative test"
ORIGINAL = {"original_prompt": "a red apple", "original_negative_prompt": "blurry", "steps": 30}


def request(**more) -> GenerationRequest:
    source = {"images": (ImageData.from_image(Image.new("RGB", (64, 64))),), "denoising_strength": 0.4}
    return GenerationRequest(prompt="a green apple", source=source, seed={"value": 5}, **more)


def test_sampler_prompts_steps_and_strength_become_those_of_the_search():
    (asked,) = run(NAME, request(sampling={"sampler": "Heun", "schedule": "Karras"}), ORIGINAL).asks[0].asked
    one = asked.request
    assert (one.sampling.sampler, one.sampling.schedule, one.sampling.steps) == ("Euler", "Automatic", 30)
    assert (one.prompt, one.negative_prompt, one.source.denoising_strength) == ("a red apple", "blurry", 1.0)
    assert asked.infotext == {
        "Decode prompt": "a red apple", "Decode negative prompt": "blurry", "Decode CFG scale": "1",
        "Decode steps": "30", "Randomness": "0", "Sigma Adjustment": "False",
    }  # fmt: skip


def test_what_is_not_overridden_stays_as_asked():
    keep = {f"override_{name}": False for name in ("sampler", "prompt", "steps", "strength")}
    (asked,) = run(NAME, request(sampling={"sampler": "Heun", "steps": 7}), {**ORIGINAL, **keep}).asks[0].asked
    one = asked.request
    assert (one.sampling.sampler, one.sampling.steps) == ("Heun", 7)
    assert (one.prompt, one.source.denoising_strength) == ("a green apple", 0.4)


def test_the_run_names_the_script_so_that_the_worker_searches():
    (asked,) = run(NAME, request(), ORIGINAL).asks[0].asked
    one = script(NAME)
    search = one.stage(None, one.Args(**asked.request.scripts[NAME])).noise_search()
    assert (search.prompt, search.negative_prompt, search.steps) == ("a red apple", "blurry", 30)


def searched(steps: int, **options) -> torch.Tensor:
    """What a search finds for Gaussian data whose flow is known, from level 0 to level 10."""
    search = module("img2img_alternative.reverse_euler").ReverseEuler("", "", 1.0, steps, **options)
    sigmas = torch.cat([torch.logspace(1, -2, steps, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    _, found = gaussian.finish(search.run(SearchStart(gaussian.denoiser, source(), sigmas)))
    return found


def source() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return gaussian.MEAN + gaussian.SPREAD * torch.randn(1, 4, 8, 8, generator=generator, dtype=torch.float64)


def test_with_sigma_adjustment_the_search_comes_to_the_noise_of_the_exact_flow_at_first_order():
    exact = gaussian.on_path(source(), 0.0, 10.0) / 10.0
    coarse, fine = ((searched(steps, adjusts_sigma=True) - exact).abs().max() for steps in (80, 160))
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.3)  # halving the step halves the error
    assert fine < 0.1


def test_without_it_what_is_found_has_unit_variance():
    assert searched(50).std().item() == pytest.approx(1.0)


def test_randomness_mixes_the_noise_of_the_seeds_in_at_unit_variance():
    make = module("img2img_alternative.reverse_euler").ReverseEuler
    found, drawn = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros_like(found)
    assert torch.equal(make("", "", 1.0, 5).starting(found, drawn, nothing, 14.6), found)
    assert torch.equal(make("", "", 1.0, 5, randomness=1.0).starting(found, drawn, nothing, 14.6), drawn)
    half = make("", "", 1.0, 5, randomness=0.5).starting(found, drawn, nothing, 14.6)
    assert half.std().item() == pytest.approx(1.0, abs=0.02)
