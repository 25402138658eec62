"""Seamless pictures: convolutions that wrap around at the edges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def wrap_around(module: nn.Module) -> Iterator[None]:
    """While open, every convolution in `module` pads with the opposite edge instead of zeros."""
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    before = [layer.padding_mode for layer in convolutions]
    for layer in convolutions:
        layer.padding_mode = "circular"
    try:
        yield
    finally:
        for layer, mode in zip(convolutions, before, strict=True):
            layer.padding_mode = mode
