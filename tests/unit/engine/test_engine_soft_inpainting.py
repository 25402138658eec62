"""The arithmetic of soft inpainting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modules.engine.soft_inpainting import SoftInpaintingArgs, mix, overlay_mask, ranked
from modules.errors import InvalidRequest


def test_a_mix_is_one_end_or_the_other_where_the_mask_says_so() -> None:
    source, latents = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    opening = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    mixed = mix(source, latents, opening, contrast=4)
    assert torch.allclose(mixed[..., 0], source[..., 0], atol=1e-4)
    assert torch.allclose(mixed[..., 1], latents[..., 1], atol=1e-4)


def test_a_mix_of_unrelated_latents_keeps_their_length() -> None:
    source, latents = torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1)
    source[0, 0], latents[0, 1] = 1.0, 1.0
    plain = (source + latents) / 2
    mixed = mix(source, latents, torch.full((1, 1, 1), 0.5), contrast=4)
    assert plain.norm() == pytest.approx(0.707, abs=0.01)
    assert mixed.norm() == pytest.approx(1.0, abs=0.01)  # the power mean of 1 and 1


def test_the_rank_filter_leaves_a_flat_area_alone() -> None:
    assert ranked(np.full((6, 5), 3.5), 0.25, 0.75) == pytest.approx(np.full((6, 5), 3.5))


def test_the_rank_filter_takes_the_highest_or_the_middle_of_a_neighbourhood() -> None:
    values = np.zeros((9, 9))
    values[4, 4] = 1.0
    assert ranked(values, 0.9, 1.0)[4, 4] > 0.6  # the one high value fills most of the top window
    assert ranked(values, 0.25, 0.75)[4, 4] == 0.0  # and none of the middle


def test_what_did_not_change_is_kept_from_the_source() -> None:
    args = SoftInpaintingArgs(enabled=True)
    kept = overlay_mask(np.zeros((8, 8)), np.ones((8, 8)), args, (64, 64))
    changed = overlay_mask(np.full((8, 8), 50.0), np.ones((8, 8)), args, (64, 64))
    assert (kept.size, kept.getextrema(), changed.getextrema()[0] > 250) == ((64, 64), (0, 0), True)


def test_arguments_come_as_a_list_or_by_name_and_must_be_numbers() -> None:
    assert SoftInpaintingArgs.of({"args": [True, 2]}) == SoftInpaintingArgs(True, 2)
    assert SoftInpaintingArgs.of({"enabled": True, "contrast": 8}) == SoftInpaintingArgs(True, contrast=8)
    with pytest.raises(InvalidRequest, match='"bias" must be a number'):
        SoftInpaintingArgs.of({"args": [True, "much"]})
