"""Live previews: a small picture of what the network expects by now, drawn as the plan's settings say (A1111, 8.6)."""

from __future__ import annotations

import logging
import time

from torch import Tensor, nn

from modules.engine.latents import LATENT_SCALE
from modules.errors import ModelError
from modules.generation.plan import PreviewPlan
from modules.images.data import ImageData
from modules.models.approximations import Approximations
from modules.models.loaded import LoadedModel
from modules.networks.preview import latent_colours, latents_to_rgb, pixels_to_rgb, sheet

logger = logging.getLogger(__name__)

PER_SECOND = 5
ENLARGED_TO = 256
"""Pixels on the longer side that previews by a matrix or a tiny network are enlarged to at most."""


class Previews:
    """When previews are due in a job, and how they are drawn."""

    def __init__(self, wanted: PreviewPlan) -> None:
        self.wanted = wanted
        self._last = 0.0

    def due(self, step: int) -> bool:
        """Whether one is drawn after `step`.

        At most five a second; those that run a decoder only every so many steps, as A1111 does with all (-1: none).
        """
        wanted, now = self.wanted, time.monotonic()
        if not wanted.enabled or wanted.every < 0 or now - self._last < 1 / PER_SECOND:
            return False
        if wanted.method in ("Full", "TAESD") and step % max(wanted.every, 1):
            return False
        self._last = now
        return True


def draw(latents: Tensor, model: LoadedModel, approximations: Approximations, wanted: PreviewPlan) -> ImageData:
    """A picture of scaled latents (B, C, h, w): a grid of the batch, or the first."""
    pixels, method = _colours(latents if wanted.grid else latents[:1], model, approximations, wanted)
    side = ENLARGED_TO if method in ("Approx NN", "Approx cheap") else None
    return ImageData(sheet(pixels, file_format=wanted.file_format, side=side))


def rough_pixels(latents: Tensor, model: LoadedModel, approximations: Approximations, wanted: PreviewPlan) -> Tensor:
    """Pixels (B, 3, 8h, 8w) around -1…1 of scaled latents (B, C, h, w), drawn as previews are: quick, and rough."""
    colours, _ = _colours(latents, model, approximations, wanted)
    pixels = colours.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    size = tuple(side * LATENT_SCALE for side in latents.shape[-2:])
    return nn.functional.interpolate(pixels, size=size, mode="bilinear")


def _colours(
    latents: Tensor, model: LoadedModel, approximations: Approximations, wanted: PreviewPlan
) -> tuple[Tensor, str]:
    """Colours (B, H, W, 3), uint8, of all latents, and the method they were made by.

    A method whose file is not there, or cannot be used, gives way to the next simpler one: nobody should lose a job
    to its preview.
    """
    method: str = wanted.method
    if method == "Full" and model.is_short_of_memory and not wanted.full_in_low_memory:
        method = "Approx NN"
    pixels = None
    if method == "Full":
        pixels = pixels_to_rgb(model.decode(latents))
    elif method in ("TAESD", "Approx NN"):
        pixels = _by_small_network(latents, model, approximations, method)
    if pixels is None:
        return latents_to_rgb(latents, latent_colours(model.family, model.metadata)), "Approx cheap"
    return pixels, method


def _by_small_network(
    latents: Tensor, model: LoadedModel, approximations: Approximations, method: str
) -> Tensor | None:
    like = latents.float().to(model.device)
    try:
        network = approximations.taesd(model.family, "decoder", like) if method == "TAESD" else None
        if network is None:
            network = approximations.preview(model.family, like)
    except (ModelError, OSError) as error:
        logger.warning("live previews are rough: %s", error)
        return None
    return None if network is None else pixels_to_rgb(network(like))
