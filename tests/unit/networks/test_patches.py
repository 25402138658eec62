"""Tiling and token merging: what they change, and that they leave nothing behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import nn

from modules.networks.attention import context_hooks, use_kernel
from modules.networks.tiling import wrap_around
from modules.networks.token_merging import MeansFromSums, merged_tokens
from modules.networks.unet import build_unet


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return build_unet(
        {
            "block_out_channels": (32, 64),
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "attention_head_dim": (4, 4),
        }
    ).eval()


@torch.no_grad()
def run(unet: UNet2DConditionModel, x: torch.Tensor) -> torch.Tensor:
    return unet(x, torch.tensor([500.0]), torch.ones(1, 77, 32)).sample


def test_a_wrapped_network_has_no_edges(unet: UNet2DConditionModel) -> None:
    x = torch.randn(1, 4, 8, 8)
    plain = run(unet, x)
    with wrap_around(unet):
        moved = run(unet, x.roll((2, 4), dims=(2, 3)))
        assert torch.allclose(moved, run(unet, x).roll((2, 4), dims=(2, 3)), atol=1e-4)
    assert torch.equal(run(unet, x), plain)


def test_wrapping_is_undone_after_an_error() -> None:
    layer = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
    with pytest.raises(ValueError, match="boom"), wrap_around(layer):
        assert layer[0].padding_mode == "circular"
        raise ValueError("boom")
    assert layer[0].padding_mode == "zeros"


def test_merging_tokens_changes_the_answer_repeatably_and_is_undone(unet: UNet2DConditionModel) -> None:
    x = torch.randn(1, 4, 16, 16)
    plain = run(unet, x)
    with merged_tokens(unet, 0.5):
        merged = run(unet, x)
        assert torch.equal(run(unet, x), merged)  # nothing random
        assert not torch.allclose(merged, plain, atol=1e-5)
    assert torch.equal(run(unet, x), plain)
    with merged_tokens(unet, 0.0):
        assert torch.equal(run(unet, x), plain)


def test_a_hook_changes_what_keys_and_values_are_made_of_while_it_is_there(unet: UNet2DConditionModel) -> None:
    processors = unet.attn_processors
    use_kernel(unet, F.scaled_dot_product_attention)
    x, t, text = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 77, 32)

    def double_text(keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (keys * 2, values * 2) if keys.shape[1] == 77 else (keys, values)

    with torch.no_grad():
        plain, expected = unet(x, t, text).sample, unet(x, t, text * 2).sample
        with context_hooks(unet, (double_text,)):
            assert torch.equal(unet(x, t, text).sample, expected)
        assert torch.equal(unet(x, t, text).sample, plain)
    assert (plain - expected).abs().max() > 1e-4
    unet.set_attn_processor(processors)


def test_hooks_need_an_attention_that_takes_them(unet: UNet2DConditionModel) -> None:
    with pytest.raises(RuntimeError, match="use_kernel first"), context_hooks(unet, ()):
        pass


def test_means_are_made_of_sums_where_the_device_knows_only_sums(unet: UNet2DConditionModel) -> None:
    random = torch.Generator().manual_seed(1)
    into, source = torch.randn(2, 5, 3, generator=random), torch.randn(2, 4, 3, generator=random)
    index = torch.randint(5, (2, 4, 1), generator=random).expand(2, 4, 3)
    expected = into.scatter_reduce(-2, index, source, reduce="mean")
    with MeansFromSums():
        assert torch.allclose(into.scatter_reduce(-2, index, source, reduce="mean"), expected, atol=1e-6)
        added = torch.ones(1).scatter_reduce(0, torch.tensor([0]), torch.ones(1), "sum")
    assert torch.equal(added, torch.tensor([2.0]))
