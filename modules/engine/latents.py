"""Pictures to latents and back, and the extra input channels of inpainting and InstructPix2Pix models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.engine.inpaint import PreparedMask
from modules.errors import ModelUnsupported, NotANumber
from modules.generation.part import Size
from modules.models.loaded import LoadedModel

LATENT_SCALE = 8
"""Pixels a latent covers on each side."""


def shape_for(model: LoadedModel, size: Size) -> tuple[int, int, int]:
    """(C, h, w) of the latents of a picture; sides that are no multiple of 8 are rounded down."""
    return model.latent_channels, size.height // LATENT_SCALE, size.width // LATENT_SCALE


def encode(model: LoadedModel, pixels: Tensor) -> Tensor:
    """Latents of pixels (B, 3, H, W) in 0…1, one picture at a time so that a batch equals single pictures.

    By the encoder that the settings ask for (`sd_vae_encode_method`), of the VAE the mean of its posterior. A1111 takes
    a sample with an unseeded generator, whose deviation is below visibility; the mean is the same every time.
    """
    return torch.cat([model.encode_source(one[None] * 2 - 1) for one in pixels])


def decode(model: LoadedModel, latents: Tensor, *, between: Callable[[], None] = lambda: None) -> Tensor:
    """Pixels (B, 3, H, W) around -1…1, one picture at a time; `between` is called before each."""
    decoded = []
    for one in latents:
        between()
        decoded.append(model.decode(one[None]))
    return torch.cat(decoded)


def to_image(pixels: Tensor) -> Image.Image:
    """RGB of pixels (3, H, W) around -1…1; values are cut off to whole levels, as A1111 does."""
    scaled = ((pixels.float() + 1.0) / 2.0).clamp(0.0, 1.0)
    array = 255.0 * np.moveaxis(scaled.cpu().numpy(), 0, 2)
    return Image.fromarray(array.astype(np.uint8))


def to_pixels(images: list[Image.Image]) -> Tensor:
    """Float32 (B, 3, H, W) in 0…1 of RGB pictures of one size."""
    arrays = [np.moveaxis(np.asarray(image.convert("RGB")).astype(np.float32) / 255.0, 2, 0) for image in images]
    return torch.from_numpy(np.stack(arrays))


def check_finite(latents: Tensor, model: LoadedModel) -> None:
    """Raise NotANumber when the network has produced NaN or infinity; with `--disable-nan-check` nobody looks."""
    if not model.checks_numbers or bool(torch.isfinite(latents).all()):
        return
    raise NotANumber(
        f"the network of {model.ref.name} produced NaN in {str(model.dtype).removeprefix('torch.')}; "
        "start with --no-half, turn on “Attention in float32” (upcast_attn), or use another checkpoint"
    )


def image_channels_from_text(model: LoadedModel, size: Size, shape: tuple[int, int, int], count: int) -> Tensor | None:
    """The extra input channels (B, K, h, w) where there is no picture: everything masked over mid grey."""
    if model.variant == "inpainting":
        grey = model.encode(torch.zeros(1, 3, size.height, size.width, device=model.device), sample=False)
        mask = grey.new_ones(1, 1, *grey.shape[-2:])
        return torch.cat([mask, grey], dim=1).expand(count, -1, -1, -1)
    if model.variant == "pix2pix":
        return torch.zeros(count, *shape, device=model.device)
    if model.variant == "depth":  # nothing is nearer than anything else
        return torch.zeros(count, 1, *shape[1:], device=model.device)
    _refuse_unknown(model)
    return None


def image_channels_from_pixels(
    model: LoadedModel,
    pixels: Tensor,
    latents: Tensor,
    *,
    mask: PreparedMask | None = None,
    mask_weight: float = 1.0,
    depth: Tensor | None = None,
) -> Tensor | None:
    """The extra input channels (B, K, h, w) for pictures (B, 3, H, W) in -1…1 and their latents.

    Inpainting models: the mask, then the latents of the picture with the masked part faded to grey by `mask_weight`.
    InstructPix2Pix: the picture's mean latents, without the scale factor. Depth models: `depth`, flat without it.
    """
    pixels = _fitted(pixels, latents, mask)
    if model.variant == "inpainting":
        pixels = pixels.to(model.device)
        hidden = _pixel_mask(mask, pixels)
        shown = torch.lerp(pixels, pixels * (1.0 - hidden), mask_weight)
        encoded = torch.cat([model.encode(one[None], sample=False) for one in shown])
        small = torch.nn.functional.interpolate(hidden, size=latents.shape[-2:])
        return torch.cat([small.expand(len(encoded), -1, -1, -1).to(encoded), encoded], dim=1)
    if model.variant == "pix2pix":
        encoded = model.encode(pixels.to(model.device), sample=False)
        return encoded / model.scale_factor
    if model.variant == "depth":
        return latents.new_zeros(len(latents), 1, *latents.shape[-2:]) if depth is None else depth
    _refuse_unknown(model)
    return None


def _fitted(pixels: Tensor, latents: Tensor, mask: PreparedMask | None) -> Tensor:
    """Pixels that belong to these latents: pictures resized as latents are still of their own size (A1111 fails)."""
    rows, columns = latents.shape[-2:]
    wanted = (rows * LATENT_SCALE, columns * LATENT_SCALE) if mask is None else mask.mask.size[::-1]
    if mask is None and (pixels.shape[-2] // LATENT_SCALE, pixels.shape[-1] // LATENT_SCALE) == (rows, columns):
        return pixels
    if tuple(pixels.shape[-2:]) == tuple(wanted):
        return pixels
    return torch.nn.functional.interpolate(pixels, size=wanted, mode="bilinear", antialias=True)


def _pixel_mask(mask: PreparedMask | None, pixels: Tensor) -> Tensor:
    """(1, 1, H, W) in 0…1, 1 where hidden; all ones without a mask."""
    if mask is None:
        return pixels.new_ones(1, 1, *pixels.shape[-2:])
    grey = torch.from_numpy(np.asarray(mask.mask.convert("L")).astype(np.float32) / 255.0)[None, None]
    return (torch.round(grey) if mask.rounded else grey).to(pixels)


def _refuse_unknown(model: LoadedModel) -> None:
    if model.variant == "upscaler":
        raise ModelUnsupported(
            f"{model.ref.name} enlarges pictures and makes none of its own; put its file into models/ESRGAN and choose "
            "it as the upscaler of Extras or hires fix"
        )
