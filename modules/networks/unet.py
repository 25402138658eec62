"""diffusers' UNet with LDM's manners where the two differ: what happens to sizes that do not halve evenly.

LDM always doubles; A1111 then fits the doubled feature to the skip connection by nearest resizing, which for a surplus
row or column cuts it off. diffusers resizes before its convolution, so the convolution sees a border one pixel earlier
and the last row and column come out differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn


class DoublingUpsample(Upsample2D):
    """Doubles both sides, convolves, then fits the result to `output_size` by nearest resizing."""

    def forward(self, hidden_states: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        doubled = super().forward(hidden_states)
        if output_size is None or tuple(doubled.shape[-2:]) == tuple(output_size):
            return doubled
        return F.interpolate(doubled, size=tuple(output_size), mode="nearest")


def build_unet(config: Mapping[str, Any]) -> UNet2DConditionModel:
    """A UNet2DConditionModel that takes any size as A1111's does; made where torch's default device is."""
    unet = UNet2DConditionModel(**config)
    for block in unet.up_blocks:
        if block.upsamplers is not None:
            block.upsamplers = nn.ModuleList(
                DoublingUpsample(layer.channels, use_conv=True, out_channels=layer.out_channels)
                for layer in block.upsamplers
            )
    return unet
