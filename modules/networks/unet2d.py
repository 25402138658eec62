"""A UNet without text, diffusers' UNet2DModel, with the face of our UNets: one way to call it, any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor


class PlainUnet(UNet2DModel):
    """UNet2DModel called as a UNet with text is. Its few attention layers stay diffusers' own."""

    attn_processors: Mapping[str, object] = {}

    def set_attn_processor(self, processor: object) -> None:
        """Nothing: what `attention.use_kernel` hands over knows no norms and no pixels."""

    def forward(  # type: ignore[override] - the UNets' call, not the parent's
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor | None = None, return_dict: bool = False
    ) -> tuple[Tensor]:
        """The noise (B, C, h, w) in (B, K, h, w) at times (B,); sides that do not halve evenly grow for the run."""
        height, width = sample.shape[-2:]
        step = 2 ** (len(self.config.block_out_channels) - 1)
        padded = F.pad(sample, (0, -width % step, 0, -height % step), mode="replicate")
        (answer,) = super().forward(padded, timestep, return_dict=False)
        return (answer[..., :height, :width],)


def build_plain_unet(config: Mapping[str, Any]) -> PlainUnet:
    """A UNet of these arguments; made where torch's default device is."""
    return PlainUnet(**config)
