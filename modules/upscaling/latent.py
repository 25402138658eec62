"""Upscaling latents by interpolation: the hires fix modes named "Latent …"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modules.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LatentMode:
    """A way to interpolate latents; `mode` and `antialias` as torch's `interpolate` takes them."""

    name: str
    mode: str
    antialias: bool = False

    def upscale(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Latents (B, C, h, w) as (B, C, height, width), sizes in latents."""
        import torch

        return torch.nn.functional.interpolate(latents, size=(height, width), mode=self.mode, antialias=self.antialias)


LATENT_MODES: Registry[LatentMode] = Registry("latent upscale mode")

for _mode in (
    LatentMode("Latent", "bilinear"),
    LatentMode("Latent (antialiased)", "bilinear", antialias=True),
    LatentMode("Latent (bicubic)", "bicubic"),
    LatentMode("Latent (bicubic antialiased)", "bicubic", antialias=True),
    LatentMode("Latent (nearest)", "nearest"),
    LatentMode("Latent (nearest-exact)", "nearest-exact"),
):
    LATENT_MODES.add(_mode.name, _mode)

DEFAULT_LATENT_MODE = "Latent"
