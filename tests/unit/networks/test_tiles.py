from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modules.networks.tiles import in_tiles, starts


@pytest.mark.parametrize("length, tile, overlap", [(8, 8, 2), (9, 8, 2), (100, 64, 16), (97, 64, 16), (300, 64, 16)])
def test_tiles_reach_from_end_to_end_and_overlap_at_least_as_asked(length: int, tile: int, overlap: int) -> None:
    places = starts(length, tile, overlap)
    assert places[0] == 0 and places[-1] + tile == length
    assert all(before + tile - after >= overlap for before, after in pairwise(places))


@pytest.mark.parametrize("size", [(8, 8), (8, 40), (27, 41), (5, 30)])
def test_what_looks_only_at_its_neighbourhood_is_the_same_in_tiles(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)

    def enlarge(part: Tensor) -> Tensor:
        return F.interpolate(part, scale_factor=8, mode="nearest") * 2

    assert torch.allclose(in_tiles(enlarge, x, tile=8, overlap=2), enlarge(x), atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (72, 136)])
def test_a_network_that_shrinks_fits_together_at_multiples_of_its_step(size: tuple[int, int]) -> None:
    x = torch.randn(1, 3, *size)

    def shrink(part: Tensor) -> Tensor:
        return F.avg_pool2d(part, 8)

    assert torch.allclose(in_tiles(shrink, x, tile=64, overlap=16, step=8), shrink(x), atol=1e-5)


def test_tiles_of_different_brightness_fade_into_each_other_without_a_seam() -> None:
    """Norms make tiles differ as a whole; where they meet, a pixel may differ from its neighbour by little of that."""
    number = iter(range(100))

    def tinted(part: Tensor) -> Tensor:
        return F.interpolate(torch.full_like(part, float(next(number) % 2)), scale_factor=8)

    sheet = in_tiles(tinted, torch.zeros(1, 1, 64, 160), tile=64, overlap=16)
    steps = sheet.diff(dim=-1).abs()
    assert sheet.max() == 1 and sheet.min() == 0
    assert steps.max() <= 1.5 / (16 * 8)  # a ramp over the overlap of 128 pixels
