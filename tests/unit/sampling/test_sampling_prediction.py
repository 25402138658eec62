"""Noise levels, times, and predictions of every kind turned into x0 or noise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modules.errors import InvalidRequest
from modules.sampling.prediction import (
    ConsistencyLevels,
    DiscreteLevels,
    FlowLevels,
    default_alphas_cumprod,
    denoise,
    predict_noise,
    rescale_to_zero_terminal_snr,
    with_options,
)

ALPHAS = default_alphas_cumprod()
LEVELS = DiscreteLevels.from_alphas(ALPHAS)


def test_stable_diffusions_alphas_and_levels_are_the_known_ones():
    assert ALPHAS[[0, 999]].tolist() == pytest.approx([0.99914998, 0.00466010], abs=5e-9)
    assert LEVELS.sigmas[[0, 999]].tolist() == pytest.approx([0.02916753, 14.61464214], rel=1e-6)
    assert ALPHAS.dtype == torch.float32


@given(time=st.floats(0, 999))
def test_a_time_turned_into_a_level_and_back_is_the_same_time(time):
    time = torch.tensor([time])
    assert torch.allclose(LEVELS.to_time(LEVELS.to_sigma(time)), time, atol=2e-3)


def test_levels_outside_the_table_are_the_first_and_the_last_time():
    assert LEVELS.to_time(torch.tensor([1e-4, 100.0])).tolist() == [0, 999]


def test_between_two_times_ln_sigma_is_interpolated():
    halfway = (LEVELS.sigmas[500] * LEVELS.sigmas[501]).sqrt()
    assert LEVELS.to_sigma(torch.tensor(500.5)).item() == pytest.approx(halfway.item(), rel=1e-6)
    assert LEVELS.to_time(halfway).item() == pytest.approx(500.5, abs=1e-3)


def test_quantised_times_are_the_nearest_whole_ones():
    quantised = DiscreteLevels.from_alphas(ALPHAS, quantized=True)
    assert quantised.to_time(LEVELS.to_sigma(torch.tensor([500.4, 500.6]))).tolist() == [500, 501]


def test_zero_terminal_snr_keeps_the_first_alpha_and_all_but_empties_the_last():
    rescaled = rescale_to_zero_terminal_snr(ALPHAS)
    assert rescaled[0].item() == pytest.approx(ALPHAS[0].item(), rel=1e-6)
    assert rescaled[-1].item() == pytest.approx(4.8973451890853435e-08)
    assert (rescaled[1:] < rescaled[:-1]).all()
    assert ALPHAS[-1].item() == pytest.approx(0.0046601, rel=1e-4)  # the model's own are left alone
    assert DiscreteLevels.from_alphas(rescaled).sigmas.isfinite().all()


def test_downcast_alphas_with_zero_snr_still_give_finite_levels():
    alphas = with_options(default_alphas_cumprod(), downcast=True, zero_terminal_snr=True)
    sigmas = DiscreteLevels.from_alphas(alphas).sigmas
    assert sigmas.isfinite().all() and (sigmas.diff() >= 0).all()


def test_downcast_alphas_are_half_precision():
    assert torch.equal(with_options(ALPHAS, downcast=True), ALPHAS.half())
    assert torch.equal(with_options(ALPHAS), ALPHAS)


def perfect(kind: str, x0: torch.Tensor, noise: torch.Tensor, told: list):
    """A network that knows the answer, in its own parametrisation."""

    def network(x, time):
        told.append((x, time))
        if kind == "epsilon":
            return noise
        if kind == "flow":
            return noise - x0
        alpha = alpha_of(time)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * x0

    return network


def alpha_of(time):
    """ᾱ at a fractional time, from the level there."""
    return (1 / (LEVELS.to_sigma(time) ** 2 + 1)).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("kind", ["epsilon", "v"])
def test_a_perfect_prediction_gives_back_the_clean_latents(kind):
    x0, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    sigma, told = torch.tensor([0.5, 7.0]), []
    x = x0 + noise * sigma.reshape(-1, 1, 1, 1)
    assert torch.allclose(denoise(kind, perfect(kind, x0, noise, told), x, sigma, LEVELS), x0, atol=1e-3)
    ((scaled, time),) = told
    assert torch.allclose(scaled, x / (sigma.reshape(-1, 1, 1, 1) ** 2 + 1).sqrt())  # networks see unit variance
    assert torch.allclose(time, LEVELS.to_time(sigma))


def test_a_perfect_flow_prediction_gives_back_the_clean_latents():
    x0, noise, sigma, told = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3), torch.tensor([0.3]), []
    network = perfect("flow", x0, noise, told)
    x = 0.7 * x0 + 0.3 * noise
    assert torch.allclose(denoise("flow", network, x, sigma, FlowLevels.from_shift()), x0, atol=1e-6)
    ((same, time),) = told
    assert torch.equal(same, x)
    assert time.tolist() == pytest.approx([300])


def test_a_scalar_level_is_told_for_every_picture():
    told, x = [], torch.ones(3, 1, 2, 2)
    denoise("epsilon", perfect("epsilon", 0, x, told), x, torch.tensor(2.0), LEVELS)
    assert told[0][1].shape == (3,)


@pytest.mark.parametrize("kind", ["epsilon", "v"])
def test_the_noise_is_found_whatever_the_network_predicts(kind):
    x0, noise, time = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3), torch.tensor([400.0])
    alpha = ALPHAS[400]
    x = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
    assert torch.allclose(predict_noise(kind, perfect(kind, x0, noise, []), x, time, ALPHAS), noise, atol=1e-4)


def test_flow_models_are_refused_on_the_discrete_grid_with_a_way_out():
    with pytest.raises(InvalidRequest, match="choose another sampler"):
        predict_noise("flow", lambda x, time: x, torch.zeros(1, 1, 1, 1), torch.tensor(5.0), ALPHAS)


def test_lcm_knows_every_twentieth_time():
    levels = ConsistencyLevels.from_alphas(ALPHAS)
    assert len(levels.sigmas) == 50
    assert torch.equal(levels.sigmas, LEVELS.sigmas[19::20])
    assert levels.to_time(LEVELS.sigmas[[0, 19, 500, 999]]).tolist() == [19, 19, 499, 999]


def test_lcms_denoiser_mixes_in_x_only_near_time_zero():
    levels = ConsistencyLevels.from_alphas(ALPHAS)
    x, sigma = torch.ones(1, 1, 1, 1), levels.sigmas[:1]  # time 19, scaled by 10: 190 against σ_data 0.5
    mixed = denoise("epsilon", lambda x, time: torch.zeros_like(x), x, sigma, levels)
    # c_out + c_skip with c_out = 190 / sqrt(190² + 1/4) and c_skip = 1/4 / (190² + 1/4).
    assert mixed.item() == pytest.approx(190 / (190**2 + 0.25) ** 0.5 + 0.25 / (190**2 + 0.25), rel=1e-6)
