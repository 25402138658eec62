"""Attention in tiles: how a grid is cut, that cutting loses nothing, and what it changes about a network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel

from modules.networks.attention import use_kernel
from modules.networks.hypertile import (
    Cut,
    Tiling,
    join_pixels,
    join_tokens,
    split_pixels,
    split_tokens,
    tile_counts,
    tiled_attention,
)
from modules.networks.token_merging import merged_tokens
from modules.networks.unet import build_unet

SMALL_TILES = Tiling(max_depth=3, tile=64, swaps=1)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    network = build_unet(
        {
            "block_out_channels": (32, 64),
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "attention_head_dim": (4, 4),
        }
    ).eval()
    use_kernel(network, F.scaled_dot_product_attention)
    return network


@torch.no_grad()
def run(unet: UNet2DConditionModel, x: torch.Tensor) -> torch.Tensor:
    return unet(x, torch.tensor([500.0]), torch.ones(len(x), 77, 32)).sample


@pytest.mark.parametrize(
    "length, smallest, swaps, counts",
    [
        (64, 32, 1, [2]),
        (64, 32, 3, [2, 1]),
        (96, 32, 3, [3, 2, 1]),
        (65, 32, 3, [1]),
        (8, 32, 3, [1]),
        (64, 16, 0, [4]),
    ],
)
def test_a_side_is_cut_into_equal_parts_no_smaller_than_asked(length, smallest, swaps, counts):
    assert tile_counts(length, smallest, swaps) == counts


def test_a_tile_holds_neighbours_and_joining_gives_the_grid_back():
    grid = torch.arange(2 * 6 * 8).reshape(2, 1, 6, 8)
    cut = Cut(height=6, width=8, rows=2, columns=4)
    tiles = split_pixels(grid, cut)
    assert tiles.shape == (16, 1, 3, 2)
    assert torch.equal(tiles[5, 0], grid[0, 0, 3:6, 2:4])  # second row of tiles, second column
    assert torch.equal(join_pixels(tiles, cut), grid)
    tokens = grid.flatten(2).transpose(1, 2)
    assert torch.equal(split_tokens(tokens, cut)[5].flatten(), tiles[5].flatten())
    assert torch.equal(join_tokens(split_tokens(tokens, cut), cut), tokens)


def test_tiling_changes_the_answer_the_same_way_for_the_same_seed_and_is_undone(unet):
    x = torch.randn(1, 4, 32, 16, generator=torch.Generator().manual_seed(1))
    plain, processors = run(unet, x), unet.attn_processors
    with tiled_attention(unet, SMALL_TILES, seed=1, size=(32, 16)):
        tiled = run(unet, x)
    with tiled_attention(unet, SMALL_TILES, seed=1, size=(32, 16)):
        assert torch.equal(run(unet, x), tiled)
    assert not torch.allclose(tiled, plain, atol=1e-5)
    assert unet.attn_processors == processors and torch.equal(run(unet, x), plain)


def test_one_tile_over_the_whole_picture_is_plain_attention(unet):
    x = torch.randn(2, 4, 16, 16)
    with tiled_attention(unet, Tiling(max_depth=3, tile=256, swaps=1), seed=1, size=(16, 16)):
        tiled = run(unet, x)
    assert torch.equal(tiled, run(unet, x))


def test_levels_below_the_deepest_asked_stay_whole(unet):
    """At depth 0 only the level of 32 x 32 is cut; the one of 16 x 16 below it has tiles of 8 x 2 tokens otherwise."""
    x = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    tile = 32  # pixels: 4 tokens at depth 0, 8 at depth 1
    with tiled_attention(unet, Tiling(0, tile, 1), seed=1, size=(32, 32)):
        first = run(unet, x)
    with tiled_attention(unet, Tiling(1, tile, 1), seed=1, size=(32, 32)):
        both = run(unet, x)
    assert not torch.allclose(first, both, atol=1e-6) and not torch.allclose(first, run(unet, x), atol=1e-6)


def test_sizes_that_do_not_divide_and_merged_tokens_run_as_before(unet):
    odd = torch.randn(1, 4, 13, 17)
    with tiled_attention(unet, SMALL_TILES, seed=1, size=(13, 17)):
        assert torch.equal(run(unet, odd), run(unet, odd))
    x = torch.randn(1, 4, 32, 32)
    with merged_tokens(unet, 0.5), tiled_attention(unet, SMALL_TILES, seed=1, size=(32, 32)):
        assert run(unet, x).shape == x.shape


@torch.no_grad()
def test_a_vae_tiles_its_attention_by_its_own_size_even_when_asked_twice():
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(block_out_channels=(32, 32), **blocks).eval()
    latents = torch.randn(1, 4, 16, 16)
    plain = vae.decode(latents).sample
    with tiled_attention(vae, SMALL_TILES, seed=1):
        tiled = vae.decode(latents).sample
        with tiled_attention(vae, SMALL_TILES, seed=1):
            assert torch.equal(vae.decode(latents).sample, tiled)
    assert not torch.allclose(tiled, plain, atol=1e-6)
    assert torch.equal(vae.decode(latents).sample, plain)
