"""Samplers on flow models: on Gaussian data, whose best denoiser is known, each must end in the data's distribution."""

from __future__ import annotations

import pytest
import torch

import modules.sampling  # noqa: F401 - registers the samplers
from modules.errors import InvalidRequest
from modules.sampling.flow import as_exploding, renoised
from modules.sampling.noise import ImageNoise
from modules.sampling.prediction import DiscreteLevels, FlowLevels, default_alphas_cumprod
from modules.sampling.sampler import SAMPLERS, SamplerOptions, SigmaRun
from modules.sampling.schedules import SCHEDULES, sigmas_for
from tests.unit.sampling.gaussian import MEAN, SPREAD, flow_denoiser, sample_flow

OVER_LEVELS = [name for name in SAMPLERS.names() if SAMPLERS.get(name).grid == "sigmas"]
ADDING_NOISE = [name for name in OVER_LEVELS if SAMPLERS.get(name).adds_noise]


@pytest.mark.parametrize("name", OVER_LEVELS)
def test_a_sampler_brings_noise_to_the_datas_distribution(name: str) -> None:
    steps = 60 if name not in ("LCM",) else 12
    latents = sample_flow(name, steps)
    assert latents.mean().item() == pytest.approx(MEAN, abs=0.06)  # 4096 numbers of deviation 0.5: 0.008 is chance
    if name == "LCM":  # each step jumps to x0's mean: by design it narrows the distribution
        assert 0 < latents.std().item() < SPREAD
    else:
        assert latents.std().item() == pytest.approx(SPREAD, rel=0.12)


@pytest.mark.parametrize("name", ["Euler", "Heun", "DPM2"])
def test_churn_keeps_the_distribution(name: str) -> None:
    latents = sample_flow(name, 60, s_churn=20.0)
    assert latents.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert latents.std().item() == pytest.approx(SPREAD, rel=0.12)


def test_eulers_step_is_the_same_in_both_coordinates() -> None:
    levels = FlowLevels.from_shift()
    sigmas = sigmas_for("Uniform", 10, levels)[1:]  # σ = 1 has no counterpart
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    run = SigmaRun(flow_denoiser, x, sigmas, ImageNoise((4, 8, 8), (1,)), SamplerOptions(), 0.003, 1.0, process="flow")
    ends = []
    for one in (run, as_exploding(run)):
        steps = SAMPLERS.get("Euler").sample(one)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                ends.append(end.value)
                break
    assert torch.allclose(*ends, atol=1e-5)


def test_an_ancestral_step_leaves_the_next_levels_share_of_noise() -> None:
    sigma, sigma_next = torch.tensor(0.8), torch.tensor(0.5)
    for eta in (0.0, 0.5, 1.0):
        down, scale, up = renoised(sigma, sigma_next, eta)
        assert (1 - down) * scale == pytest.approx(1 - 0.5)
        assert (down * scale) ** 2 + up**2 == pytest.approx(0.5**2)
        assert down <= sigma_next
    assert renoised(sigma, sigma_next, 0.0)[2] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("label", [name for name in SCHEDULES.names() if name != "Align Your Steps"])
def test_a_schedule_stays_between_noise_and_picture(label: str) -> None:
    sigmas = sigmas_for(label, 12, FlowLevels.from_shift())
    assert sigmas[0] <= 1 and (sigmas.diff() < 0).all() and sigmas[-1] >= 0


def test_align_your_steps_has_no_levels_for_flow_models() -> None:
    with pytest.raises(InvalidRequest, match="choose another one, say Automatic"):
        sigmas_for("Align Your Steps", 10, FlowLevels.from_shift())


def test_noise_enters_as_the_process_says() -> None:
    latents, noise, sigma = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0), torch.tensor(0.25)
    assert torch.equal(FlowLevels.from_shift().noised(latents, noise, sigma), torch.full((1, 1, 2, 2), 1.25))
    exploding = DiscreteLevels.from_alphas(default_alphas_cumprod())
    assert torch.equal(exploding.noised(latents, noise, sigma), torch.full((1, 1, 2, 2), 1.5))
