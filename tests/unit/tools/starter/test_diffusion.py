"""The sampler and the schedule that judge the checkpoint."""

import pytest
import torch

from tools.starter.diffusion import dpmpp_2m, karras, training_sigmas


def test_the_schedule_is_stable_diffusions():
    sigmas = training_sigmas()
    assert float(sigmas[0]) == pytest.approx(0.0292, abs=1e-4)
    assert float(sigmas[-1]) == pytest.approx(14.6146, abs=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_karras_levels_fall_to_zero(steps):
    sigmas = karras(steps)
    assert len(sigmas) == steps + 1 and sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_sampling_from_a_gaussian_gives_that_gaussian():
    deviation = 0.5

    def denoise(x, sigma):
        return x * deviation**2 / (deviation**2 + sigma**2)

    sigmas = karras(40)
    x = torch.tensor([1.0, -2.0]) * sigmas[0]
    exact = x * deviation / (deviation**2 + sigmas[0] ** 2) ** 0.5
    assert torch.allclose(dpmpp_2m(denoise, x, sigmas), exact, rtol=0.08)  # the last step goes from 0.03 to 0 at once
