"""Schedules: A1111's values, options, and what holds for every one of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.errors import InvalidRequest, UnknownName
from modules.sampling.prediction import ConsistencyLevels, DiscreteLevels, FlowLevels, default_alphas_cumprod
from modules.sampling.schedules import SCHEDULES, ScheduleOptions, sigmas_for

LEVELS = DiscreteLevels.from_alphas(default_alphas_cumprod())
NAMES = SCHEDULES.names()

TEN_STEPS = {
    "Uniform": "14.6146 7.8399 4.6092 2.9183 1.9502 1.3449 .9324 .6250 .3687 .0292 0",
    "Normal": "14.6146 7.8399 4.6092 2.9183 1.9502 1.3449 .9324 .6250 .3687 .0292 0",
    "Karras": "14.6146 9.1029 5.4784 3.1686 1.7494 .9141 .4469 .2014 .0819 .0292 0",
    "Exponential": "14.6146 7.3249 3.6712 1.8400 .9222 .4622 .2317 .1161 .0582 .0292 0",
    "Polyexponential": "14.6146 7.3249 3.6712 1.8400 .9222 .4622 .2317 .1161 .0582 .0292 0",
    "SGM Uniform": "14.6146 8.3072 5.0924 3.3251 2.2797 1.6156 1.1629 .8319 .5712 .3437 0",
    "KL Optimal": "14.6146 4.5650 2.6329 1.7864 1.2948 .9616 .7116 .5094 .3356 .1783 .0292",
    "Align Your Steps": "14.615 6.1135 3.5651 2.3939 1.6500 1.1358 .7425 .4450 .1692 .0290 0",
    "Simple": "14.6146 8.3028 5.0878 3.3211 2.2765 1.6129 1.1606 .8299 .5693 .3417 0",
    "DDIM": "8.3907 5.1344 3.3478 2.2929 1.6237 1.1682 .8357 .5741 .3462 .0413 0",
    "Beta": "14.6146 13.9278 12.4910 10.5976 8.4424 6.2014 4.0462 2.1528 .7160 .0292 0",
}
"""Computed with A1111 1.10.1."""


def test_the_drop_down_lists_a1111s_schedules_in_its_order():
    assert NAMES == (
        "Automatic",
        "Uniform",
        "Karras",
        "Exponential",
        "Polyexponential",
        "SGM Uniform",
        "KL Optimal",
        "Align Your Steps",
        "Simple",
        "Normal",
        "DDIM",
        "Beta",
    )


@pytest.mark.parametrize("name", TEN_STEPS)
def test_ten_steps_have_a1111s_levels(name):
    expected = [float(value) for value in TEN_STEPS[name].split()]
    assert sigmas_for(name, 10, LEVELS).tolist() == pytest.approx(expected, abs=6e-5)  # four decimals are known


def test_automatic_stands_for_uniform():
    assert torch.equal(sigmas_for("Automatic", 7, LEVELS), sigmas_for("Uniform", 7, LEVELS))


@pytest.mark.parametrize("spelling", ["sgm_uniform", "SGMUniform", "SGM Uniform", "sgm uniform"])
def test_a_schedule_is_found_by_label_internal_name_and_alias(spelling):
    assert SCHEDULES.get(spelling).label == "SGM Uniform"


def test_forges_turbo_is_no_schedule_here():
    with pytest.raises(UnknownName, match='no schedule named "Turbo"'):
        sigmas_for("Turbo", 10, LEVELS)


@pytest.mark.parametrize("name", NAMES)
@given(steps=st.integers(1, 120))
@settings(max_examples=25, deadline=None)
def test_levels_fall_and_end_in_zero(name, steps):
    sigmas = sigmas_for(name, steps, LEVELS)
    assert sigmas.dtype == torch.float32
    assert (sigmas[1:] < sigmas[:-1]).all()
    if name == "KL Optimal":
        assert sigmas[-1].item() == pytest.approx(LEVELS.sigmas[0].item(), rel=1e-4)
    else:
        assert sigmas[-1] == 0
    if name == "DDIM":
        assert len(sigmas) >= steps + 1  # every (1000 // steps)-th level: sometimes more than asked
    else:
        assert len(sigmas) == steps + 1


@pytest.mark.parametrize("steps, levels", [(10, 10), (30, 31), (7, 8)])
def test_the_ddim_schedule_may_have_more_levels_than_asked(steps, levels):
    assert len(sigmas_for("DDIM", steps, LEVELS)) == levels + 1


@pytest.mark.parametrize("name", NAMES)
def test_no_steps_are_the_level_zero(name):
    assert sigmas_for(name, 0, LEVELS).tolist() == [0]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("KL Optimal", "DDIM")])
def test_discarding_makes_one_level_more_and_drops_the_last_but_one(name):
    longer = sigmas_for(name, 11, LEVELS).tolist()
    assert sigmas_for(name, 10, LEVELS, discard_penultimate=True).tolist() == [*longer[:-2], 0]


def test_align_your_steps_uses_the_table_as_it_stands_for_eleven_steps():
    assert sigmas_for("Align Your Steps", 11, LEVELS)[1].item() == pytest.approx(6.475)
    sdxl = ScheduleOptions(is_sdxl=True)
    assert sigmas_for("Align Your Steps", 11, LEVELS, sdxl)[1].item() == pytest.approx(6.315)


@pytest.mark.parametrize("name", ["Karras", "Exponential", "Polyexponential", "KL Optimal", "Beta"])
def test_limits_can_be_set(name):
    sigmas = sigmas_for(name, 10, LEVELS, ScheduleOptions(sigma_min=0.5, sigma_max=5.0))
    lowest = sigmas[-1] if name == "KL Optimal" else sigmas[-2]
    assert sigmas[0].item() == pytest.approx(5.0, rel=1e-5)
    assert lowest.item() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("name", ["SGM Uniform", "Normal"])
def test_limits_move_the_ends_of_schedules_over_time(name):
    # Its times are fractional, and levels between trained times are interpolated in ln σ.
    assert sigmas_for(name, 10, LEVELS, ScheduleOptions(sigma_max=5.0))[0].item() == pytest.approx(5.0, rel=1e-4)


@pytest.mark.parametrize("name", ["Uniform", "Align Your Steps", "Simple", "DDIM"])
def test_some_schedules_ignore_limits(name):
    assert torch.equal(sigmas_for(name, 10, LEVELS, ScheduleOptions(sigma_max=5.0)), sigmas_for(name, 10, LEVELS))


def test_the_old_karras_range_is_one_tenth_to_ten():
    sigmas = sigmas_for("Karras", 10, LEVELS, ScheduleOptions(old_karras_sigmas=True))
    assert (sigmas[0].item(), sigmas[-2].item()) == pytest.approx((10, 0.1), rel=1e-5)


def test_rho_bends_karras_and_polyexponential_only():
    bent = {name for name in NAMES if not torch.equal(sigmas_for(name, 10, LEVELS), _with_rho(name, 3.0))}
    assert bent == {"Karras", "Polyexponential"}


def _with_rho(name: str, rho: float) -> torch.Tensor:
    return sigmas_for(name, 10, LEVELS, ScheduleOptions(rho=rho))


def test_beta_with_both_parameters_one_is_a_straight_line():
    sigmas = sigmas_for("Beta", 5, LEVELS, ScheduleOptions(beta_alpha=1.0, beta_beta=1.0))
    steps = (sigmas[:-2] - sigmas[1:-1]).tolist()
    assert steps == pytest.approx([steps[0]] * 4, rel=1e-5)


def test_limits_that_do_not_fall_are_refused_with_the_settings_to_change():
    with pytest.raises(InvalidRequest, match=r'from sigma 1 down to 2.*"sigma min" and "sigma max"'):
        sigmas_for("Karras", 10, LEVELS, ScheduleOptions(sigma_min=2.0, sigma_max=1.0))


def test_lcm_spaces_its_own_fifty_levels():
    levels = ConsistencyLevels.from_alphas(default_alphas_cumprod())
    sigmas = sigmas_for("Automatic", 50, levels)
    assert torch.allclose(sigmas[:-1], levels.sigmas.flip(0), rtol=1e-5)
    assert sigmas_for("Karras", 4, levels)[-2].item() == pytest.approx(levels.sigmas[0].item(), rel=1e-5)


def test_flow_models_start_at_pure_noise():
    sigmas = sigmas_for("SGM Uniform", 4, FlowLevels.from_shift(3.0))
    assert sigmas[0] == 1
    assert len(sigmas) == 5
