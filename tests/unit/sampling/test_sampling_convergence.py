"""Samplers on Gaussian data, where the right answer is known: order of convergence, statistics, few steps, batches."""

from __future__ import annotations

import math

import pytest
import torch

from modules.sampling.sampler import SAMPLERS, SamplerOptions

from .gaussian import MEAN, SPREAD, flow_error, sample, timestep_error

ALL = SAMPLERS.names()


@pytest.mark.parametrize(
    "name, order",
    [
        ("Euler", 1),
        ("Euler a", 1),
        ("Heun", 2),
        ("DPM2", 2),
        ("DPM2 a", 2),
        ("DPM++ 2S a", 2),
        ("DPM++ SDE", 2),
        ("DPM++ 2M", 2),
        ("DPM++ 2M SDE", 2),
        ("DPM++ 2M SDE Heun", 2),
        ("DPM++ 3M SDE", 2),  # its first step is of first order, which leaves an error of second order
        ("DPM fast", 2),  # so does the first-order step at its end
    ],
)
def test_a_sampler_without_noise_converges_at_its_order(name, order):
    coarse, fine = (flow_error(name, steps) for steps in (60, 120))
    # Halving the step divides the error by 2 ** order.
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("name, order, slack", [("DDIM", 1, 0.1), ("DDIM CFG++", 1, 0.1), ("PLMS", 2, 0.3)])
def test_a_sampler_over_discrete_times_converges_at_its_order(name, order, slack):
    coarse, fine = (timestep_error(name, steps) for steps in (100, 200))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=slack)


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_gains_one_order_by_its_corrector(order, variant):
    coarse, fine = (
        timestep_error(
            "UniPC",
            steps,
            uni_pc_order=order,
            uni_pc_variant=variant,
            uni_pc_skip_type="logSNR",
            uni_pc_lower_order_final=False,
        )
        for steps in (50, 100)
    )
    assert math.log2(coarse / fine) == pytest.approx(order + 1, abs=0.25)


@pytest.mark.parametrize("skip_type", ["time_uniform", "time_quadratic", "logSNR"])
@pytest.mark.parametrize("variant", ["bh1", "bh2", "vary_coeff"])
def test_every_kind_of_unipc_comes_close_in_twenty_steps(variant, skip_type):
    # The data's spread is 0.5; the worst pair, vary_coeff over uniform times, ends 0.11 off.
    assert timestep_error("UniPC", 20, uni_pc_variant=variant, uni_pc_skip_type=skip_type) < 0.15


def test_lms_is_far_more_exact_than_euler_for_the_same_calls():
    assert flow_error("LMS", 60) < flow_error("Euler", 60) / 100


def test_the_adaptive_sampler_keeps_its_tolerance():
    # 0.05 relative a step; the errors of its steps do not add up to more than that here.
    assert flow_error("DPM adaptive", 1) < 0.05


@pytest.mark.parametrize("name", [name for name in ALL if name != "LCM"])
def test_twenty_steps_reproduce_the_data(name):
    _, latents = sample(name, 20, shape=(4, 48, 48), seeds=(1, 2))
    # 18432 numbers: their mean is known to SPREAD / sqrt(18432) = 0.004, and the flow scales start noise by a third.
    assert latents.mean().item() == pytest.approx(MEAN, abs=0.03)
    # Samplers of first order shrink the spread somewhat: Euler a most, by a fifth.
    assert latents.std().item() == pytest.approx(SPREAD, rel=0.22)


def test_lcm_ends_at_what_the_denoiser_says_last():
    seen, latents = sample("LCM", 8)
    assert torch.equal(latents, seen[-1].denoised)


@pytest.mark.parametrize("steps", [1, 2, 20])
@pytest.mark.parametrize("name", ALL)
def test_every_sampler_works_with_few_and_many_steps(name, steps):
    seen, latents = sample(name, steps)
    info = SAMPLERS.get(name)
    if name == "DPM adaptive":
        assert len(seen) > 5
    elif name == "DPM fast":
        assert len(seen) == {1: 1, 2: 1, 20: 7}[steps]  # steps are model calls there, up to three a step
    elif info.grid == "timesteps" and name != "UniPC":
        assert len(seen) == steps - 1  # A1111 ends at the first time of the grid
    else:
        assert len(seen) == steps
    assert latents.isfinite().all()
    assert [step.index for step in seen] == list(range(len(seen)))
    levels = [step.sigma for step in seen]
    if name != "Restart":
        assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("name", ALL)
def test_a_picture_in_a_batch_equals_the_same_picture_alone(name):
    if name == "DPM adaptive":
        pytest.skip("its step length follows the error of the whole batch, as in A1111")
    options = {"eta": 1.0} if "eta" in SAMPLERS.get(name).uses else {}
    _, together = sample(name, 8, seeds=(1, 2, 3), **options)
    _, alone = sample(name, 8, seeds=(2,), **options)
    assert torch.allclose(together[1], alone[0], atol=1e-5)


@pytest.mark.parametrize("name", [info.name for info in SAMPLERS if "eta" in info.uses])
def test_eta_decides_whether_fresh_noise_is_used(name):
    quiet, loud = (sample(name, 6, eta=eta)[1] for eta in (0.0, 1.0))
    assert not torch.allclose(quiet, loud, atol=0.01)


@pytest.mark.parametrize("name", [info.name for info in SAMPLERS if "eta" in info.uses])
def test_more_fresh_noise_than_fits_still_gives_numbers(name):
    assert torch.isfinite(sample(name, 6, eta=10.0)[1]).all()


@pytest.mark.parametrize("name", [info.name for info in SAMPLERS if "s_noise" in info.uses])
def test_s_noise_changes_the_result_where_it_is_listed(name):
    churn = {"s_churn": 10.0} if "s_churn" in SAMPLERS.get(name).uses else {}
    plain, louder = (sample(name, 6, s_noise=s_noise, **churn)[1] for s_noise in (1.0, 1.1))
    assert not torch.equal(plain, louder)


@pytest.mark.parametrize("name", ["Euler", "Heun", "DPM2"])
def test_churn_acts_between_its_limits_only(name):
    plain = sample(name, 6)[1]
    assert not torch.equal(plain, sample(name, 6, s_churn=5.0)[1])
    assert torch.equal(plain, sample(name, 6, s_churn=5.0, s_tmin=20.0)[1])  # every level is below 20


def test_options_a_sampler_does_not_list_have_no_effect():
    # A1111's Euler a takes s_noise and ignores it.
    assert torch.equal(sample("Euler a", 6, s_noise=1.1)[1], sample("Euler a", 6)[1])


@pytest.mark.parametrize("info", list(SAMPLERS), ids=ALL)
def test_a_sampler_lists_options_that_exist(info):
    assert info.uses <= SamplerOptions.__dataclass_fields__.keys()
    assert ("eta" in info.uses) == (info.eta_setting is not None)


@pytest.mark.parametrize("info", [info for info in SAMPLERS if info.grid == "sigmas"], ids=lambda info: info.name)
def test_no_level_at_all_leaves_the_latents_as_they_are(info):
    if info.ignores_schedule:
        pytest.skip("covers a span of its own")
    seen, latents = sample(info.name, 0)
    assert seen == []
    assert torch.equal(latents, torch.zeros_like(latents))  # the start is noise times level 0
