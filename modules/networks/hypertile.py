"""Hypertile: self-attention inside tiles of the picture instead of over all of it, for speed at large sizes.

After tfernd's HyperTile. A level's tokens form a grid; the grid is cut into equal tiles, each tile attends to itself,
and the tiles are put together again. How many tiles a grid is cut into is drawn anew for every layer and step from a
few divisors ("swap size"), so that the borders are never in one place long enough to show.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

LATENT_SCALE = 8


@dataclass(frozen=True)
class Tiling:
    """How attention is tiled: levels 0…`max_depth`, tiles no smaller than `tile` pixels, one of `swaps` sizes."""

    max_depth: int
    tile: int
    swaps: int


Network = UNet2DConditionModel | AutoencoderKL


@contextmanager
def tiled_attention(
    network: Network, tiling: Tiling | None, *, seed: int, size: tuple[int, int] | None = None
) -> Iterator[None]:
    """While open, the self-attention of a UNet or VAE runs in tiles; None changes nothing.

    `size` is that of a UNet's latents, (h, w); a VAE's attention knows its own. Depth 0 is the finest level that has
    attention, each level below has half the sides; a tile has `tile` / 8 tokens a side there and, as in HyperTile,
    twice as many a level down. The same seed draws the same tiles. Attention whose tokens are no whole level (merged
    ones) is left as it is.
    """
    if tiling is None:
        yield
        return
    layers = [module for module in network.modules() if _is_whole_self_attention(module)]
    before = [layer.processor for layer in layers]
    grids = _Grids(size, tiling, random.Random(seed))
    for layer in layers:
        layer.set_processor(TiledProcessor(layer.processor, grids))
    try:
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


class TiledProcessor:
    """A diffusers attention processor that hands `inner` tile after tile, as more rows of the batch."""

    def __init__(self, inner: Any, grids: _Grids) -> None:  # `inner`: any of diffusers' many processors
        self.inner, self.grids = inner, grids

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """The layer's answer for (B, N, C), or for (B, C, h, w) as VAEs call it."""
        is_flat = hidden_states.ndim == 3
        cut = None
        if encoder_hidden_states is None and attention_mask is None:
            cut = self.grids.cut_tokens(hidden_states.shape[1]) if is_flat else self.grids.cut(*hidden_states.shape[2:])
        if cut is None:
            return self.inner(
                attention,
                hidden_states,
                encoder_hidden_states=encoder_hidden_states,
                attention_mask=attention_mask,
                temb=temb,
            )
        split, join = (split_tokens, join_tokens) if is_flat else (split_pixels, join_pixels)
        return join(self.inner(attention, split(hidden_states, cut), temb=temb), cut)


@dataclass(frozen=True)
class Cut:
    """A grid of `height` × `width` tokens in `rows` × `columns` tiles, which divide it evenly."""

    height: int
    width: int
    rows: int
    columns: int


class _Grids:
    """The token grids of the levels of one network, and how each is to be cut."""

    def __init__(self, size: tuple[int, int] | None, tiling: Tiling, chance: random.Random) -> None:
        self.tiling, self.chance = tiling, chance
        self.levels: list[tuple[int, int]] = [] if size is None else [size]  # finest first
        while self.levels and self.levels[-1] != (1, 1):
            height, width = self.levels[-1]
            self.levels.append((-(-height // 2), -(-width // 2)))  # a stride of 2 rounds up
        self.finest: int | None = None

    def cut_tokens(self, tokens: int) -> Cut | None:
        """How to cut the tokens of a whole level; None leaves the layer as it is."""
        level = next((level for level, (height, width) in enumerate(self.levels) if height * width == tokens), None)
        if level is None:
            return None
        if self.finest is None:
            self.finest = level  # the first layer that runs is on the finest level with attention
        return self.cut(*self.levels[level], depth=level - self.finest)

    def cut(self, height: int, width: int, depth: int = 0) -> Cut | None:
        """How to cut a grid at a depth; None leaves it whole."""
        if not 0 <= depth <= self.tiling.max_depth:
            return None
        side = max(1, self.tiling.tile // LATENT_SCALE) * 2**depth
        rows, columns = (self.chance.choice(tile_counts(length, side, self.tiling.swaps)) for length in (height, width))
        return None if rows * columns == 1 else Cut(height, width, rows, columns)


def tile_counts(length: int, smallest: int, swaps: int) -> list[int]:
    """Into how many equal parts of at least `smallest` a side can be cut: the `swaps` (at least 1) largest counts."""
    sides = [side for side in range(min(smallest, length), length + 1) if length % side == 0]
    return [length // side for side in sides[: max(1, swaps)]]


def split_tokens(x: Tensor, cut: Cut) -> Tensor:
    """(B, N, C) as (B·tiles, N / tiles, C)."""
    grid = x.unflatten(1, (cut.rows, cut.height // cut.rows, cut.columns, cut.width // cut.columns))
    return grid.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def join_tokens(x: Tensor, cut: Cut) -> Tensor:
    """The reverse of `split_tokens`."""
    tiles = x.unflatten(0, (-1, cut.rows, cut.columns)).unflatten(3, (cut.height // cut.rows, cut.width // cut.columns))
    return tiles.transpose(2, 3).flatten(1, 4)


def split_pixels(x: Tensor, cut: Cut) -> Tensor:
    """(B, C, h, w) as (B·tiles, C, h', w')."""
    grid = x.unflatten(3, (cut.columns, -1)).unflatten(2, (cut.rows, -1))  # (B, C, rows, h', columns, w')
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def join_pixels(x: Tensor, cut: Cut) -> Tensor:
    """The reverse of `split_pixels`."""
    tiles = x.unflatten(0, (-1, cut.rows, cut.columns))  # (B, rows, columns, C, h', w')
    return tiles.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _is_whole_self_attention(module: nn.Module) -> bool:
    """Self-attention not tiled yet: two checkpoints of a job may share a VAE."""
    return (
        isinstance(module, Attention)
        and not module.is_cross_attention
        and not isinstance(module.processor, TiledProcessor)
    )
