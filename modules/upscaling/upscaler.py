"""The contract of an upscaler of pictures, and the three that need no file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from modules.registry import Registry

PASSES_LIMIT = 3
"""A network with a small factor may run this often to reach the asked size."""

Enlarge = Callable[[Image.Image, float], Image.Image]
"""One pass: (picture, asked factor) → a picture; a network uses its own factor, a resampler the asked one."""


@dataclass(frozen=True)
class Upscaler:
    """An upscaler by name. `scale` is the factor of one pass, as the API lists it; `path` its file, if it has one."""

    name: str
    enlarge: Enlarge
    scale: float = 4.0
    path: str | None = None
    model_name: str | None = None

    def upscale(self, image: Image.Image, scale: float) -> Image.Image:
        """`image` enlarged by `scale`; both sides are rounded down to multiples of 8, as in A1111.

        Runs up to three passes until both sides are large enough (at scale 1 the first pass always runs), stops when
        a pass changes nothing, then resamples to the exact size.
        """
        width = int(image.width * scale // 8 * 8)
        height = int(image.height * scale // 8 * 8)
        for index in range(PASSES_LIMIT):
            enough = image.width >= width and image.height >= height
            if enough and (index > 0 or scale != 1):
                break
            before = image.size
            image = self.enlarge(image, scale)
            if image.size == before:
                break
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        return image


def _resampler(filter_: Image.Resampling) -> Enlarge:
    def enlarge(image: Image.Image, scale: float) -> Image.Image:
        return image.resize((int(image.width * scale), int(image.height * scale)), filter_)

    return enlarge


UPSCALERS: Registry[Upscaler] = Registry("upscaler")
"""The upscalers every installation has; `catalog.Upscalers` adds those found as files."""

UPSCALERS.add("None", Upscaler("None", lambda image, scale: image, scale=1.0))
UPSCALERS.add("Lanczos", Upscaler("Lanczos", _resampler(Image.Resampling.LANCZOS)))
UPSCALERS.add("Nearest", Upscaler("Nearest", _resampler(Image.Resampling.NEAREST)))
