"""What each sampler does at a step: how often it calls and draws, and the odd rules kept from A1111."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from modules.errors import InvalidRequest, NotANumber
from modules.sampling.dpm_solver import StepLength, fast_orders
from modules.sampling.lms import adams_weights
from modules.sampling.prediction import DiscreteLevels, default_alphas_cumprod
from modules.sampling.restart import restart_path
from modules.sampling.sampler import SAMPLERS, SamplerOptions, SigmaRun, TimestepRun
from modules.sampling.schedules import sigmas_for
from modules.sampling.steps import ancestral_split

from .gaussian import NoisePredictor, NoNoise, denoiser, finish

LEVELS = DiscreteLevels.from_alphas(default_alphas_cumprod())


class Counting(NoNoise):
    """No noise, but it is counted how often it is asked for."""

    draws = 0
    path: tuple[float, float] | None = None

    def next(self):
        self.draws += 1
        return super().next()

    def brownian(self, sigma_min, sigma_max):
        self.path = (sigma_min, sigma_max)
        return super().brownian(sigma_min, sigma_max)


def run(name: str, *, sigmas=None, timesteps=None, is_img2img=False, **options):
    """A run over ten levels or times: (model calls, noise, steps, latents)."""
    x, info = torch.ones(1, 1, 2, 2), SAMPLERS.get(name)
    noise, options = Counting(x), SamplerOptions(**options)
    if info.grid == "timesteps":
        predictor = NoisePredictor(default_alphas_cumprod())
        times = tuple(range(1, 1000, 100)) if timesteps is None else timesteps
        steps, latents = finish(
            info.sample(TimestepRun(predictor, x, times, predictor.alphas_cumprod, noise, options, is_img2img))
        )
        return predictor.times, noise, steps, latents
    levels: list[float] = []

    def listening(x, sigma):
        levels.append(sigma[0].item())
        return denoiser(x, sigma)

    sigmas = sigmas_for("Karras", 10, LEVELS) if sigmas is None else sigmas
    steps, latents = finish(info.sample(SigmaRun(listening, x, sigmas, noise, options, 0.0292, 14.6146)))
    return levels, noise, steps, latents


@pytest.mark.parametrize(
    "name, calls, draws",
    [
        ("Euler", 10, 10),  # drawn at every step even without churn
        ("Euler a", 10, 9),  # none at the step to level 0
        ("Heun", 19, 10),
        ("DPM2", 19, 10),
        ("DPM2 a", 19, 9),
        ("DPM++ 2S a", 19, 9),
        ("DPM++ 2M", 10, 0),
        ("DPM++ SDE", 19, 0),
        ("LMS", 10, 0),
        ("LCM", 10, 9),
        ("Restart", 19, 0),  # below 20 steps plain Heun, and it draws only where it jumps up
        ("DPM fast", 10, 4),  # orders 3, 3, 3, 1; drawn after every one
        ("DDIM", 9, 9),  # one update less than times; drawn even with eta 0
        ("DDIM CFG++", 9, 9),
        ("PLMS", 10, 0),  # nine updates, the first with two calls
        ("UniPC", 10, 0),
    ],
)
def test_calls_and_draws_of_ten_steps_are_those_of_a1111(name, calls, draws):
    seen, noise, _, _ = run(name)
    assert (len(seen), noise.draws) == (calls, draws)


@pytest.mark.parametrize("info", [info for info in SAMPLERS if info.is_brownian], ids=lambda info: info.name)
def test_a_brownian_sampler_asks_for_a_path_over_the_full_schedule(info):
    _, noise, _, _ = run(info.name, sigmas=sigmas_for("Karras", 10, LEVELS)[6:])
    assert noise.path == (0.0292, 14.6146)


@pytest.mark.parametrize("info", list(SAMPLERS), ids=SAMPLERS.names())
def test_the_flag_for_two_calls_a_step_is_right(info):
    calls, _, steps, _ = run(info.name, sigmas=torch.linspace(10, 1, 11))
    if info.calls_per_step == 2:
        assert len(calls) == 2 * len(steps)
    elif info.name not in ("DPM fast", "DPM adaptive", "PLMS"):  # A1111 counts these once, whatever they call
        assert len(calls) == len(steps)


def test_a_step_tells_the_level_and_the_latents_it_started_from():
    _, _, steps, latents = run("Euler", sigmas=torch.tensor([4.0, 2.0, 0.0]))
    first, second = steps
    assert (first.sigma, second.sigma) == (4.0, 2.0)
    assert torch.equal(first.x, torch.ones(1, 1, 2, 2))
    assert torch.allclose(second.x, first.x + (first.x - first.denoised) / 4.0 * (2.0 - 4.0))
    assert torch.allclose(latents, second.denoised)  # Euler to level 0 is x0


@pytest.mark.parametrize("eta, up", [(0.0, 0.0), (1.0, math.sqrt(1 - 1 / 4)), (0.5, 0.5 * math.sqrt(1 - 1 / 4))])
def test_an_ancestral_split_makes_up_the_next_level(eta, up):
    # From 2 to 1: the full share is sqrt(1² (2² − 1²) / 2²) = sqrt(3/4).
    down, noise = ancestral_split(torch.tensor(2.0), torch.tensor(1.0), eta)
    assert noise.item() == pytest.approx(up)
    assert math.hypot(down.item(), noise.item()) == pytest.approx(1.0)


def test_adams_weights_of_even_points_are_the_textbooks():
    # Adams–Bashforth of order 4 with step −1: (55, −59, 37, −9) / 24, times the step.
    import numpy as np

    weights = adams_weights(np.array([3.0, 4.0, 5.0, 6.0], dtype=np.float32), 3.0, 2.0)
    assert weights == pytest.approx([-55 / 24, 59 / 24, -37 / 24, 9 / 24])


@pytest.mark.parametrize("calls", range(1, 31))
def test_the_orders_of_dpm_fast_add_up_to_the_calls(calls):
    orders = fast_orders(calls)
    assert sum(orders) == calls
    assert len(orders) == calls // 3 + 1
    assert set(orders[:-2]) <= {3}


def test_a_wanted_step_is_limited_and_a_bad_one_is_refused():
    control = StepLength(length=0.1, order=1.0)
    assert control.accepts(1e-9)  # next to no error: at most 1 + pi / 2 times as long
    assert control.length == pytest.approx(0.1 * (1 + math.pi / 2), rel=1e-3)
    assert not control.accepts(10.0)
    assert control.length < 0.2


def test_dpm_adaptive_says_so_when_the_network_gives_nan():
    info = SAMPLERS.get("DPM adaptive")
    x = torch.ones(1, 1, 2, 2)
    broken = SigmaRun(
        lambda x, sigma: x * float("nan"), x, torch.tensor([2.0, 1.0, 0.0]), NoNoise(x), SamplerOptions(), 1.0, 2.0
    )
    with pytest.raises(NotANumber, match="not a number"):
        finish(info.sample(broken))


@pytest.mark.parametrize("name", ["DPM fast", "DPM adaptive"])
def test_a_tail_of_one_level_is_denoised_in_one_call(name):
    # img2img at strength 0 runs one step, from the lowest level; there is no range to choose levels in.
    calls, _, steps, latents = run(name, sigmas=torch.tensor([0.5, 0.0]))
    assert (len(calls), len(steps)) == (1, 1)
    assert torch.equal(latents, steps[0].denoised)


@pytest.mark.parametrize("steps, jumps, count", [(19, 0, 19), (20, 1, 20), (30, 1, 30), (36, 2, 36), (50, 2, 50)])
def test_restart_jumps_up_once_from_20_steps_and_twice_from_36(steps, jumps, count):
    path = restart_path(sigmas_for("Karras", steps, LEVELS))
    rises = [
        (previous[1].item(), current[0].item()) for previous, current in pairwise(path) if current[0] > previous[1]
    ]
    assert len(rises) == jumps
    # The restarts' steps are paid for by a shorter main path: the count stays near what was asked.
    assert len(path) == pytest.approx(count, abs=1)
    for low, high in rises:
        # From the level nearest 0.1 up to the one nearest 2.
        assert low == pytest.approx(0.1, abs=0.05)
        assert high == pytest.approx(2.0, abs=0.8)


def test_unipc_tells_the_network_fractional_times():
    times, _, _, _ = run("UniPC")
    # From 1.0 to 0.001 in ten even steps, less 1/1000, times 1000: 999, 899.1, 799.2 …
    assert times == pytest.approx([999 - 99.9 * step for step in range(10)], abs=0.01)


def test_unipc_in_img2img_starts_at_the_last_time():
    times, _, _, _ = run("UniPC", timesteps=(1, 101, 201, 301), is_img2img=True)
    assert times[0] == pytest.approx(301, abs=0.01)
    assert len(times) == 4


def test_unipc_lowers_its_order_for_fewer_steps():
    assert torch.equal(*(run("UniPC", timesteps=(1, 501), uni_pc_order=order)[3] for order in (2, 7)))


@pytest.mark.parametrize(
    "options, what",
    [
        ({"uni_pc_variant": "bh3"}, "bh1, bh2, vary_coeff"),
        ({"uni_pc_skip_type": "even"}, "time_uniform, time_quadratic, logSNR"),
        ({"uni_pc_order": 0}, "starts at 1"),
    ],
)
def test_unipc_says_which_options_exist(options, what):
    with pytest.raises(InvalidRequest, match=what):
        run("UniPC", **options)


def test_ddim_cfgpp_moves_along_the_noise_without_the_prompt():
    class Split(NoisePredictor):
        """Guided noise 0, unguided noise 1."""

        def __call__(self, x, timestep):
            self.unconditional = torch.ones_like(x)
            return torch.zeros_like(x)

    alphas = default_alphas_cumprod()
    x = torch.full((1, 1, 2, 2), 3.0)
    info = SAMPLERS.get("DDIM CFG++")
    _, latents = finish(
        info.sample(TimestepRun(Split(alphas), x, (1, 501), alphas, NoNoise(x), SamplerOptions(eta=0.0)))
    )
    # x0 = x / sqrt(ᾱ[501]) with the guided noise, and then sqrt(1 − ᾱ[1]) of the other.
    expected = alphas[1].sqrt() * 3.0 / alphas[501].sqrt() + (1 - alphas[1]).sqrt()
    assert torch.allclose(latents, expected.expand_as(latents))
