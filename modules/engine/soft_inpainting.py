"""Soft inpainting: the mask's grey values blend latents step by step, and what changed decides what is pasted back.

A1111's built-in extension of the same name, as a stage. Its alwayson arguments are the fields of `SoftInpaintingArgs`
in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from modules.engine.stages import FinishedImage, Stage, StageContext
from modules.errors import InvalidRequest
from modules.images import compose
from modules.images.resize import FILL, resize_image

SCRIPT_NAME = "Soft Inpainting"
INFOTEXT_PREFIX = "Soft inpainting"


@dataclass(frozen=True)
class SoftInpaintingArgs:
    """What a person can set, in A1111's order and with its defaults.

    `bias` p: how fast the mask opens as noise falls; `preservation` s: how strongly the source is kept; `contrast`
    q: how much details outlive the blend; `influence` f: how much the mask (rather than the change) decides what is
    pasted back; `threshold` θ and `difference_contrast` κ: how large a change shows, and how abruptly.
    """

    enabled: bool = False
    bias: float = 1
    preservation: float = 0.5
    contrast: float = 4
    influence: float = 0
    threshold: float = 0.5
    difference_contrast: float = 2

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> SoftInpaintingArgs:
        """From a plan's script arguments: by name, or A1111's list under "args" (surplus ones are ignored).

        Missing ones keep their defaults. Raises InvalidRequest for what is not a number.
        """
        names = tuple(cls.__dataclass_fields__)
        listed = given.get("args", ())
        values = dict(zip(names, listed, strict=False)) | {name: given[name] for name in names if name in given}
        for name, value in values.items():
            if name != "enabled" and not isinstance(value, (int, float)):
                raise InvalidRequest(
                    f'soft inpainting: "{name}" must be a number, got {value!r}', field=f"scripts.{SCRIPT_NAME}"
                )
        return cls(**values)

    def infotext(self) -> dict[str, Any]:
        """The entries a picture's infotext gets, in A1111's order."""
        return {
            f"{INFOTEXT_PREFIX} enabled": True,
            f"{INFOTEXT_PREFIX} schedule bias": self.bias,
            f"{INFOTEXT_PREFIX} preservation strength": self.preservation,
            f"{INFOTEXT_PREFIX} transition contrast boost": self.contrast,
            f"{INFOTEXT_PREFIX} mask influence": self.influence,
            f"{INFOTEXT_PREFIX} difference threshold": self.threshold,
            f"{INFOTEXT_PREFIX} difference contrast": self.difference_contrast,
        }


class SoftInpainting(Stage):
    """The stage of a job with soft inpainting switched on."""

    blends_latents = True
    rounds_mask = False

    def __init__(self, args: SoftInpaintingArgs) -> None:
        self.args = args

    def blend(self, latents: torch.Tensor, sigma: torch.Tensor, context: StageContext) -> torch.Tensor | None:
        """Source and prediction mixed along a mask that opens as the noise falls."""
        inpainting = context.inpainting
        if inpainting is None or inpainting.repaint is None:
            return None
        level = sigma.flatten()[0].to(latents)
        opening = inpainting.repaint[:1].to(latents) ** (level**self.args.bias * self.args.preservation)
        return mix(context.init_latents, latents, opening, self.args.contrast)

    def on_latents(self, latents: torch.Tensor, context: StageContext) -> torch.Tensor:
        """Find per picture how much of the source shows through, from how far the latents moved."""
        inpainting = context.inpainting
        if inpainting is None or inpainting.repaint is None:
            return latents
        distance = torch.linalg.vector_norm(latents - context.init_latents, dim=1).float().cpu().numpy()
        keep = inpainting.repaint[0].float().cpu().numpy()
        size = (context.plan.size.width, context.plan.size.height)
        context.scratch["soft_masks"] = [
            inpainting.uncropped(overlay_mask(one, keep, self.args, size), index) for index, one in enumerate(distance)
        ]
        return latents

    def on_image(self, image: FinishedImage, context: StageContext) -> FinishedImage:
        """Lay the source over the picture with the mask found for it."""
        masks = context.scratch.get("soft_masks")
        if masks is None:
            return image
        source = context.inpainting.whole(image.index)
        mask = masks[image.index]
        return replace(image, overlay=compose.overlay(source, mask), mask=mask)


def mix(source: torch.Tensor, latents: torch.Tensor, opening: torch.Tensor, contrast: float) -> torch.Tensor:
    """Between `source` and `latents` (B, C, h, w): direction linear in `opening` (1, h, w), length a power mean.

    A plain mean of two unrelated latents is too short, which shows as blur; the power mean with exponent `contrast`
    keeps the length, and with it the detail, of the longer one.
    """
    opening = opening.unsqueeze(0)
    direction = source * (1 - opening) + latents * opening
    precise = torch.float32 if latents.device.type == "mps" else torch.float64  # Apple's GPUs have no float64

    def length_of(each: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(each, dim=1, keepdim=True).to(precise)

    length = length_of(direction) + 1e-5
    source_length, latents_length = length_of(source) ** contrast, length_of(latents) ** contrast
    wanted = (source_length * (1 - opening) + latents_length * opening) ** (1 / contrast)
    return direction * (wanted / length).to(direction.dtype)


def overlay_mask(
    distance: np.ndarray, repaint: np.ndarray, args: SoftInpaintingArgs, size: tuple[int, int]
) -> Image.Image:
    """Where the picture shows (L, white), from how far each latent moved (h, w) and the latent mask (h, w)."""
    rank = ranked(ranked(distance, 0.9, 1.0), 0.25, 0.75)
    share = 1 - np.clip(repaint, 0, 1) ** (args.preservation / 2)
    share = 0.5 * (1 - args.influence) + share * args.influence
    odds = share / (1.00001 - share)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = rank / (args.threshold * odds)
        kept = 1 / (1 + change**args.difference_contrast)
    kept = kept**3 * (kept * (6 * kept - 15) + 10)
    mask = Image.fromarray((255.0 * (1 - kept)).astype(np.uint8))
    mask = resize_image(mask, *size, FILL)
    return mask.filter(ImageFilter.GaussianBlur(4))


def ranked(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Each value (h, w) replaced by a weighted mean of those in its 5 by 5 neighbourhood that rank between two shares.

    Weights are a Gaussian of deviation 1.5 that reaches 0 at radius 3. The window is at least one unit of weight wide.
    """
    offsets = np.arange(-2, 3)
    falloff = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / 1.5**2)
    floor = np.exp(-(3.0**2) / 1.5**2)
    kernel = np.maximum((falloff - floor) / (1 - floor), 0).ravel()
    padded = np.pad(values.astype(np.float64), 2, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).reshape(*values.shape, 25)
    inside = ~np.isnan(around)
    weights = np.where(inside, kernel, 0.0)
    order = np.argsort(np.where(inside, around, np.inf), axis=-1)
    around = np.take_along_axis(np.where(inside, around, 0.0), order, axis=-1)
    weights = np.take_along_axis(weights, order, axis=-1)
    ends = np.cumsum(weights, axis=-1)
    total = ends[..., -1:]
    first, last = total * low, total * high
    short = last - first < 1
    centre = (first + last) / 2
    first, last = np.where(short, centre - 0.5, first), np.where(short, centre + 0.5, last)
    over = last > total
    first, last = np.where(over, total - 1, first), np.where(over, total, last)
    under = first < 0
    first, last = np.where(under, 0.0, first), np.where(under, 1.0, last)
    overlap = np.clip(np.minimum(ends, last) - np.maximum(ends - weights, first), 0, None)
    return (around * overlap).sum(-1) / overlap.sum(-1)
