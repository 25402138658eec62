"""Token merging: similar picture tokens are merged before self-attention and split again after it.

Bolya and Hoffman 2023 (arXiv:2303.17604), by the authors' tomesd. A1111 merges without random choice, in
self-attention of the finest level only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import tomesd
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def merged_tokens(unet: UNet2DConditionModel, ratio: float, *, device: torch.device | None = None) -> Iterator[None]:
    """While open, `ratio` (0…0.9) of the tokens are merged, at most three quarters; 0 changes nothing."""
    if ratio <= 0:
        yield
        return
    tomesd.apply_patch(unet, ratio=ratio, use_rand=False)
    try:
        with MeansFromSums() if device is not None and device.type == "mps" else nullcontext():
            yield
    finally:
        tomesd.remove_patch(unet)


class MeansFromSums(TorchFunctionMode):
    """While open, `scatter_reduce` makes means of sums and counts: Apple's GPUs know only the sums."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.scatter_reduce and kwargs.get("reduce") == "mean":
            return mean_by_sums(*args)
        return func(*args, **kwargs)


def mean_by_sums(into: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`into.scatter_reduce(dim, index, source, reduce="mean")`: each place's own value counts too."""
    total = into.scatter_add(dim, index, source)
    return total / torch.ones_like(into).scatter_add(dim, index, torch.ones_like(source))
