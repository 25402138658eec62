"""Token merging: similar picture tokens are merged before self-attention and split again after it.

Bolya and Hoffman 2023 (arXiv:2303.17604), by the authors' tomesd. A1111 merges without random choice, in
self-attention of the finest level only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tomesd
from diffusers import UNet2DConditionModel


@contextmanager
def merged_tokens(unet: UNet2DConditionModel, ratio: float) -> Iterator[None]:
    """While open, `ratio` (0…0.9) of the tokens are merged, at most three quarters; 0 changes nothing."""
    if ratio <= 0:
        yield
        return
    tomesd.apply_patch(unet, ratio=ratio, use_rand=False)
    try:
        yield
    finally:
        tomesd.remove_patch(unet)
