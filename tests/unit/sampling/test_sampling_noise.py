"""Random numbers: sources, variations, seed resize, the seed delta, batches, Brownian paths."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.sampling.brownian import BrownianPath
from modules.sampling.noise import ImageNoise, paste_centred, slerp
from modules.sampling.philox import Philox

SHAPE = (4, 8, 6)


def torch_randn(seed: int, shape=SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_philox_makes_the_numbers_of_an_nvidia_card():
    generator = Philox(0)
    first = [-0.9246624, -0.42534396, -2.6438458, 0.14518388, -0.12086651, -0.5797257]
    second = [0.18082589, -0.5522627, 0.9238134]
    assert generator.randn((6,)).tolist() == np.float32(first).tolist()
    assert generator.randn((3,)).tolist() == np.float32(second).tolist()  # a request takes the next counter


def test_philox_takes_seeds_of_64_bits():
    assert Philox(2**33 + 5).randn((3,)).tolist() == np.float32([-0.80933, 1.1234854, 0.17516822]).tolist()


def test_philox_fills_a_shape_in_c_order():
    numbers = Philox(1234).randn((4, 64, 64))
    assert numbers[0, 0, :4].tolist() == np.float32([-1.6164904, 0.5684552, -0.5102246, -0.9113394]).tolist()
    assert numbers.dtype == np.float32
    assert abs(numbers.mean()) < 0.02 and abs(numbers.std() - 1) < 0.02  # 16384 standard normal numbers


@pytest.mark.parametrize("source", ["GPU", "CPU"])
def test_a_picture_starts_from_torchs_numbers_for_its_seed(source):
    noise = ImageNoise(SHAPE, [3, 4], source=source).next()
    assert torch.equal(noise, torch.stack([torch_randn(3), torch_randn(4)]))


def test_nv_starts_from_philox():
    assert torch.equal(ImageNoise(SHAPE, [3], source="NV").next()[0], torch.from_numpy(Philox(3).randn(SHAPE)))


@pytest.mark.parametrize("source", ["GPU", "CPU", "NV"])
def test_later_draws_go_on_with_each_pictures_own_generator(source):
    batch, alone = ImageNoise(SHAPE, [1, 2], source=source), ImageNoise(SHAPE, [2], source=source)
    draws = [(batch.next()[1], alone.next()[0]) for _ in range(3)]
    assert all(torch.equal(together, single) for together, single in draws)
    assert not torch.equal(draws[0][0], draws[1][0])


def test_the_seed_delta_changes_all_draws_but_the_first():
    plain, shifted = ImageNoise(SHAPE, [5]), ImageNoise(SHAPE, [5], seed_delta=31337)
    assert torch.equal(plain.next(), shifted.next())
    assert torch.equal(shifted.next()[0], torch_randn(5 + 31337))  # starts anew, so its second draw is a first one
    assert not torch.equal(plain.next(), shifted.next())


def test_a_variation_turns_the_noise_towards_the_second_seeds():
    noise = ImageNoise(SHAPE, [1, 1], subseeds=[7, 8], variation_strength=0.4).next()
    assert torch.equal(noise[0], slerp(0.4, torch_randn(1), torch_randn(7)))
    assert torch.equal(noise[1], slerp(0.4, torch_randn(1), torch_randn(8)))


def test_a_missing_second_seed_is_seed_zero():
    noise = ImageNoise(SHAPE, [1, 2], subseeds=[7], variation_strength=0.4).next()
    assert torch.equal(noise[1], slerp(0.4, torch_randn(2), torch_randn(0)))


def test_the_full_variation_is_the_other_noise():
    # sin(0) / sin(ω) of the first and sin(ω) / sin(ω) of the second.
    assert torch.allclose(slerp(1.0, torch_randn(1), torch_randn(2)), torch_randn(2), atol=1e-5)


def test_slerp_keeps_the_length_of_columns():
    # Halfway between two unit vectors along dim 1 lies a unit vector.
    low, high = (torch.nn.functional.normalize(torch_randn(seed), dim=1) for seed in (1, 2))
    assert torch.allclose(slerp(0.5, low, high).norm(dim=1), torch.ones(4, 6), atol=1e-5)


def test_noise_that_is_nearly_the_same_is_mixed_with_its_weights_exchanged():
    low = torch_randn(1)
    assert torch.allclose(slerp(0.25, low, 2 * low), 0.25 * low + 0.75 * 2 * low)


def test_resizing_pastes_the_small_noise_into_the_middle():
    small = torch_randn(9, (4, 4, 4))
    noise = ImageNoise(SHAPE, [9], resize_from=(4, 4)).next()[0]
    assert torch.equal(noise[:, 2:6, 1:5], small)
    assert torch.equal(noise[:, :2], torch_randn(9)[:, :2])  # around it the noise of the full size


def test_resizing_from_larger_noise_keeps_its_middle():
    large = torch_randn(9, (4, 12, 10))
    assert torch.equal(ImageNoise(SHAPE, [9], resize_from=(12, 10)).next()[0], large[:, 2:10, 2:8])


def test_resizing_from_the_same_size_changes_nothing():
    plain, same = ImageNoise(SHAPE, [9]), ImageNoise(SHAPE, [9], resize_from=SHAPE[1:])
    assert torch.equal(plain.next(), same.next())
    assert torch.equal(plain.next(), same.next())


def test_an_odd_surplus_loses_one_column_more():
    pasted = paste_centred(torch.ones(1, 1, 5), onto=torch.zeros(1, 1, 2))
    # (2 − 5) // 2 = −2: from column 2 of the source, 5 − 4 = 1 column.
    assert pasted.tolist() == [[[1, 0]]]


def test_a_brownian_path_has_the_numbers_a1111_gets():
    # torchsde 0.2.6: BrownianTree(0.029167, zeros(3), 14.614642, entropy=1234)
    path = BrownianPath(0.029167, 14.614642, entropy=1234, draw=lambda seed: torch_randn(seed, (3,)))
    assert path.increment(2.5, 7.25).tolist() == [0.03804505988955498, 1.3406294584274292, -1.8008171319961548]
    assert path.increment(0.1, 0.2).tolist() == [0.5995154976844788, -0.004848267883062363, -0.32200613617897034]


@given(
    entropy=st.integers(0, 2**32 - 1),
    times=st.lists(st.floats(0.03, 14.6), min_size=2, max_size=6, unique=True),
)
@settings(max_examples=30, deadline=None)
def test_a_brownian_path_has_torchsdes_numbers(entropy, times):
    torchsde = pytest.importorskip("torchsde")  # only compared with here; the product has no need of it

    def draw(seed):
        return torch_randn(seed, (3,))

    ours = BrownianPath(0.029167, 14.614642, entropy=entropy, draw=draw)
    theirs = torchsde.BrownianTree(0.029167, torch.zeros(3), 14.614642, entropy=entropy)
    for start, end in pairwise(times):
        if round(start, 6) != round(end, 6):
            sign = 1 if start < end else -1
            assert torch.equal(ours.increment(start, end), theirs(*sorted((start, end))) * sign)


def test_increments_of_a_path_do_not_depend_on_what_was_asked_before():
    def path():
        return BrownianPath(0.0, 10.0, entropy=3, draw=lambda seed: torch_randn(seed, (2,)))

    asked = path()
    for number in range(200):  # more than it remembers
        asked.increment(number * 0.05, number * 0.05 + 0.03)
    assert torch.equal(asked.increment(1.2345, 4.5), path().increment(1.2345, 4.5))


def test_a_path_adds_up():
    path = BrownianPath(0.0, 10.0, entropy=3, draw=lambda seed: torch_randn(seed, (2,)))
    assert torch.allclose(path.increment(1.0, 3.0) + path.increment(3.0, 7.5), path.increment(1.0, 7.5), atol=1e-5)
    assert torch.equal(path.increment(7.5, 1.0), -path.increment(1.0, 7.5))
    assert torch.equal(path.increment(2.0, 2.0000001), torch.zeros(2))  # the same within the tolerance
    assert torch.equal(path.increment(-5.0, 99.0), path.increment(0.0, 10.0))


def test_an_increment_has_the_variance_of_its_length():
    path = BrownianPath(0.0, 10.0, entropy=3, draw=lambda seed: torch_randn(seed, (20000,)))
    assert path.increment(2.0, 5.0).std().item() == pytest.approx(math.sqrt(3.0), rel=0.02)  # 4 standard errors


@pytest.mark.parametrize("source", ["GPU", "CPU", "NV"])
def test_brownian_noise_of_a_picture_is_the_same_in_any_batch(source):
    sigma, sigma_next = torch.tensor(3.0), torch.tensor(2.0)
    batch = ImageNoise(SHAPE, [1, 2], source=source).brownian(0.03, 14.6)(sigma, sigma_next)
    alone = ImageNoise(SHAPE, [2], source=source).brownian(0.03, 14.6)(sigma, sigma_next)
    assert torch.equal(batch[1], alone[0])


def test_brownian_noise_has_unit_variance_whatever_the_distance():
    noise = ImageNoise((4, 64, 64), [1]).brownian(0.03, 14.6)
    for sigma, sigma_next in ((10.0, 2.0), (0.5, 0.4)):
        # 16384 numbers: the standard deviation is known to half a percent.
        assert noise(torch.tensor(sigma), torch.tensor(sigma_next)).std().item() == pytest.approx(1, abs=0.03)


def test_brownian_noise_ignores_the_seed_delta_and_the_draws_before():
    plain, other = ImageNoise(SHAPE, [1]), ImageNoise(SHAPE, [1], seed_delta=5)
    other.next()
    levels = torch.tensor(3.0), torch.tensor(2.0)
    assert torch.equal(plain.brownian(0.03, 14.6)(*levels), other.brownian(0.03, 14.6)(*levels))


def test_nv_draws_brownian_noise_from_philox():
    levels = torch.tensor(3.0), torch.tensor(2.0)
    nv, cpu = (ImageNoise(SHAPE, [1], source=source).brownian(0.03, 14.6)(*levels) for source in ("NV", "CPU"))
    assert not torch.allclose(nv, cpu)


def test_a_shared_path_depends_on_the_batch():
    levels = torch.tensor(3.0), torch.tensor(2.0)
    batch = ImageNoise(SHAPE, [1, 2], shares_path=True).brownian(0.03, 14.6)(*levels)
    alone = ImageNoise(SHAPE, [2], shares_path=True).brownian(0.03, 14.6)(*levels)
    assert batch.shape == (2, *SHAPE)
    assert not torch.equal(batch[1], alone[0])


def test_nothing_touches_torchs_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    noise = ImageNoise(SHAPE, [1], subseeds=[2], variation_strength=0.5, shares_path=True)
    noise.next()
    noise.brownian(0.03, 14.6)(torch.tensor(3.0), torch.tensor(2.0))
    assert torch.equal(torch.rand(3), expected)
