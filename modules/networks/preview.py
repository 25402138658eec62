"""A rough picture of latents without a decoder: one matrix from latent channels to red, green, blue.

The matrices are A1111's "Approx cheap" (section 8.6). A checkpoint may bring its own in its metadata, key
`latent_rgb`: JSON of `{"factors": [[r, g, b] a channel …], "bias": [r, g, b]}`, for colours around -1…1.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

SD1 = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473))
SDXL = (
    (0.3448, 0.4168, 0.4395),
    (-0.1953, -0.0290, 0.0250),
    (0.1074, 0.0886, -0.0163),
    (-0.3730, -0.2499, -0.2088),
)
SD3 = (
    *((-0.0645, 0.0177, 0.1052), (0.0028, 0.0312, 0.0650), (0.1848, 0.0762, 0.0360), (0.0944, 0.0360, 0.0889)),
    *((0.0897, 0.0506, -0.0364), (-0.0020, 0.1203, 0.0284), (0.0855, 0.0118, 0.0283), (-0.0539, 0.0658, 0.1047)),
    *((-0.0057, 0.0116, 0.0700), (-0.0412, 0.0281, -0.0039), (0.1106, 0.1171, 0.1220), (-0.0248, 0.0682, -0.0481)),
    *((0.0815, 0.0846, 0.1207), (-0.0120, -0.0055, -0.0867), (-0.0749, -0.0634, -0.0456), (-0.1418, -0.1457, -0.1259)),
)
METADATA_KEY = "latent_rgb"


@dataclass(frozen=True)
class LatentColours:
    """`factors` (C rows of red, green, blue) and `bias`: colour = latent @ factors + bias."""

    factors: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...] = (0.0, 0.0, 0.0)


FAMILY_COLOURS: Mapping[str, LatentColours] = {
    "sd1": LatentColours(SD1),
    "sd2": LatentColours(SD1),
    "sdxl": LatentColours(SDXL),
    "sd3": LatentColours(SD3),
}


def latent_colours(family: str, metadata: Mapping[str, str] | None = None) -> LatentColours:
    """The colours of a model: its own from the metadata if they are sound, else its family's, else SD 1's."""
    stored = (metadata or {}).get(METADATA_KEY)
    if stored:
        try:
            own = json.loads(stored)
            factors = tuple(tuple(float(v) for v in row) for row in own["factors"])
            bias = tuple(float(v) for v in own.get("bias", (0, 0, 0)))
            if all(len(row) == 3 for row in (*factors, bias)):
                return LatentColours(factors, bias)
        except (ValueError, TypeError, KeyError):
            pass  # a stranger's metadata under our key; the family's colours will do
    return FAMILY_COLOURS.get(family, FAMILY_COLOURS["sd1"])


def latents_to_rgb(latents: Tensor, colours: LatentColours) -> Tensor:
    """Colours (B, h, w, 3), uint8 on the CPU, of scaled latents (B, C, h, w)."""
    latents = latents.detach().float()
    factors = torch.tensor(colours.factors, device=latents.device)
    if factors.shape[0] != latents.shape[1]:
        factors = factors.new_full((latents.shape[1], 3), 0.25)  # a latent space we have no colours for: grey
    colour = torch.einsum("bchw,cr->bhwr", latents, factors) + torch.tensor(colours.bias, device=latents.device)
    return ((colour.nan_to_num().clamp(-1, 1) + 1) * 127.5).to(torch.uint8).cpu()


def pixels_to_rgb(pixels: Tensor) -> Tensor:
    """Colours (B, H, W, 3), uint8 on the CPU, of pixels (B, 3, H, W) around -1…1."""
    scaled = (pixels.detach().float().nan_to_num().clamp(-1, 1) + 1) * 127.5
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).cpu()


def sheet(pixels: Tensor, *, file_format: Literal["png", "jpeg", "webp"] = "jpeg", side: int | None = None) -> bytes:
    """An encoded picture of colours (B, H, W, 3): all of them in a grid.

    `side` enlarges smoothly to at most that many pixels on the longer side (browsers enlarge too; small is quick).
    """
    count, height, width, _ = pixels.shape
    columns = max(1, round(count**0.5)) if count > 1 else 1
    rows = -(-count // columns)
    image = Image.new("RGB", (columns * width, rows * height))
    for index, picture in enumerate(pixels):
        image.paste(Image.fromarray(picture.numpy()), (index % columns * width, index // columns * height))
    if side and max(image.size) < side:
        scale = side / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    options = {"png": {"compress_level": 1}, "jpeg": {"quality": 85}, "webp": {"quality": 85, "method": 0}}
    image.save(buffer, format=file_format.upper(), **options[file_format])
    return buffer.getvalue()
