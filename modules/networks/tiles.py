"""A network run over overlapping tiles of its input, whose answers fade into each other: less memory, no seams.

Tiles are all of one size and spread evenly, so that none at the border is thin: a VAE's norms and attention see only
their tile, and a thin one comes out in another colour.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side of `length`: evenly spread, the last one ending at the end."""
    if length <= tile:
        return [0]
    count = ceil((length - overlap) / (tile - overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def in_tiles(run: Callable[[Tensor], Tensor], x: Tensor, *, tile: int, overlap: int, step: int = 1) -> Tensor:
    """`run` over x (B, C, H, W) in tiles; the answer (B, C', H', W') is float32.

    `tile` and `overlap` are in x's own pixels, multiples of `step`; tiles begin at multiples of `step`, so that what a
    network that shrinks by it makes of them fits together. The first tile tells how the answer's size relates to x's.
    """
    rows, columns = (
        [start * step for start in starts(ceil(length / step), tile // step, overlap // step)]
        for length in x.shape[-2:]
    )
    answer = weights = None
    for top in rows:
        for left in columns:
            piece = x[..., top : top + tile, left : left + tile]
            part = run(piece).float()
            height, width = part.shape[-2:]
            scale = height / piece.shape[-2]
            if answer is None:
                size = [round(length * scale) for length in x.shape[-2:]]
                answer = part.new_zeros(*part.shape[:-2], *size)
                weights = part.new_zeros(size)
            fade = _fade(height, round(overlap * scale), part)[:, None] * _fade(width, round(overlap * scale), part)
            place = (..., slice(y := round(top * scale), y + height), slice(z := round(left * scale), z + width))
            answer[place] += part * fade
            weights[place] += fade
    return answer / weights


def _fade(length: int, overlap: int, like: Tensor) -> Tensor:
    """Weights (length,) that rise over `overlap` from the edge and fall likewise; never 0."""
    distance = torch.arange(1, length + 1, device=like.device, dtype=torch.float32)
    return torch.minimum(distance, distance.flip(0)).clamp(max=max(overlap, 1))
