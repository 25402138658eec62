"""What a job starts from: source pictures and mask brought to size, region, overlays and the latent mask.

The order of operations and every rounding are A1111's (sections 5.2 to 5.6 of its behaviour): resize, cut the overlay,
crop to the masked region, fill. Pixels only; latents are made in `latents.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from modules.generation.plan import InpaintPlan, Plan, SourcePlan
from modules.generation.request import MaskedContent, ResizeMode
from modules.images import compose, masks
from modules.images.resize import CROP, FILL, JUST_RESIZE, LATENT, Upscaler, resize_image

MODES = {
    ResizeMode.JUST_RESIZE: JUST_RESIZE,
    ResizeMode.CROP: CROP,
    ResizeMode.FILL: FILL,
    ResizeMode.LATENT: LATENT,
}


@dataclass(frozen=True)
class PreparedMask:
    """A mask ready for sampling.

    `mask` (L) has the size the network works at; `latent` is the picture the latent mask is made of (often the same);
    `overlay` (L) has the size of the finished picture, white where the new picture shows; `region` is where an "only
    masked" result goes. `rounded` says whether latents are either kept or repainted.
    """

    mask: Image.Image
    latent: Image.Image
    overlay: Image.Image
    region: masks.Box | None
    content: MaskedContent
    rounded: bool

    def at_latent_size(self, height: int, width: int) -> torch.Tensor:
        """The share to repaint, float32 (1, height, width) in 0…1."""
        return torch.from_numpy(masks.latent_mask(self.latent, width, height, rounded=self.rounded).copy())[None]


@dataclass(frozen=True)
class PreparedSource:
    """Source pictures ready for the VAE.

    `images` (RGB) are what the VAE is given, one or a batch; `wholes` (RGB) the pictures at the size of the finished
    picture; `overlays` (RGBA) what is laid over the results, empty without a mask. `mask` is None without one, and
    when an "only masked" mask was empty.
    """

    images: tuple[Image.Image, ...]
    wholes: tuple[Image.Image, ...]
    overlays: tuple[Image.Image, ...]
    mask: PreparedMask | None
    facts: dict[str, Any]
    notices: tuple[str, ...]

    def pixels(self) -> torch.Tensor:
        """Float32 (B, 3, H, W) in 0…1."""
        arrays = [np.asarray(image).astype(np.float32) / 255.0 for image in self.images]
        return torch.from_numpy(np.stack([np.moveaxis(array, 2, 0) for array in arrays]))

    def of(self, values: tuple[Image.Image, ...], index: int) -> Image.Image:
        """The entry for the picture at `index` of a batch: one source serves them all."""
        return values[index] if len(values) > 1 else values[0]


@dataclass(frozen=True)
class Inpainting:
    """What stages may know of a masked job: the share to repaint (1, h, w), the source pictures, and the region."""

    repaint: torch.Tensor
    source: PreparedSource

    def whole(self, index: int) -> Image.Image:
        """The source (RGB) at the size of the finished picture."""
        return self.source.of(self.source.wholes, index)

    def uncropped(self, mask: Image.Image, index: int) -> Image.Image:
        """A mask (L) at the network's size, put at its place in the finished picture; black elsewhere."""
        region, size = self.source.mask.region, self.whole(index).size
        if region is None:
            return _at_size(mask, size)
        return compose.uncrop(mask, region, *size).convert("RGB").convert("L")


def prepare(plan: Plan, *, round_mask: bool = True, upscaler: Upscaler | None = None) -> PreparedSource:
    """Bring a plan's source (and mask) to the sizes the plan asks for."""
    source, options = plan.source, plan.options
    mode, width, height = MODES[source.resize_mode], plan.size.width, plan.size.height
    facts: dict[str, Any] = {}
    notices: tuple[str, ...] = ()
    mask = None
    if source.inpaint is not None:
        mask = prepare_mask(
            source.inpaint, mode, width, height, round_mask=round_mask, image_size=source.images[0].open().size
        )
        if mask is None:
            notices = (
                'the mask is empty, so "only masked" has nothing to crop to; the picture was made without a mask',
            )
    images, wholes, overlays = [], [], []
    for given in source.images:
        opened = given.open()
        if plan.saving.options.get("save_init_img"):
            facts["Init image hash"] = hashlib.md5(opened.tobytes(), usedforsecurity=False).hexdigest()
        image = compose.flatten(opened, options.img2img_background_color)
        if mask is None or mask.region is None:
            image = resize_image(image, width, height, mode, upscaler=upscaler)
        wholes.append(image)
        if mask is not None:
            mask = _with_overlay_for(mask, image.size, mode)
            overlays.append(compose.overlay(image, mask.overlay))
            if mask.region is not None:
                image = resize_image(image.crop(mask.region), width, height, FILL, upscaler=upscaler)
            if mask.content is not MaskedContent.ORIGINAL:
                image = masks.fill_masked(image, _at_size(mask.latent, image.size))
        images.append(image)
    facts.update(mask_facts(source, mask))
    return PreparedSource(tuple(images), tuple(wholes), tuple(overlays), mask, facts, notices)


def prepare_mask(
    inpaint: InpaintPlan,
    mode: int,
    width: int,
    height: int,
    *,
    image_size: tuple[int, int],
    round_mask: bool = True,
) -> PreparedMask | None:
    """The mask at the sizes needed; None for "only masked" with nothing masked (A1111 then goes on without).

    A mask for "only masked" is stretched to the source's size `image_size` if it has another.
    """
    rounded = inpaint.rounded and round_mask
    mask = masks.grey_mask(inpaint.mask.open(), rounded=rounded)
    if inpaint.only_masked and mask.size != image_size:
        mask = resize_image(mask, *image_size)
    if inpaint.invert:
        mask = masks.invert(mask)
    mask = masks.blur_mask(mask, inpaint.blur_x, inpaint.blur_y)
    region = None
    if inpaint.only_masked:
        box = masks.crop_region(mask, inpaint.padding)
        if box is None:
            return None
        region = masks.expand_to_aspect(box, width, height, mask.width, mask.height)
        overlay, mask = mask, resize_image(mask.crop(region), width, height, FILL)
    else:
        # A1111 resizes masks by "Resize and fill" where pictures are resized as latents.
        mask = resize_image(mask, width, height, FILL if mode == LATENT else mode)
        overlay = masks.brighten(mask)
    latent = mask if inpaint.latent_mask is None else inpaint.latent_mask.open()
    return PreparedMask(mask, latent, overlay, region, inpaint.content, rounded)


def mask_facts(source: SourcePlan, mask: PreparedMask | None) -> dict[str, Any]:
    """The infotext entries of a mask, in A1111's order; without a usable mask only what was done to it before."""
    inpaint = source.inpaint
    if inpaint is None:
        return {}
    facts: dict[str, Any] = {}
    if inpaint.invert:
        facts["Mask mode"] = "Inpaint not masked"
    if inpaint.blur_x == inpaint.blur_y and inpaint.blur_x > 0:
        facts["Mask blur"] = inpaint.blur_x
    if mask is not None:
        if mask.region is not None:
            facts["Inpaint area"] = "Only masked"
            facts["Masked area padding"] = inpaint.padding
        if mask.content is not MaskedContent.ORIGINAL:
            facts["Masked content"] = str(mask.content)
    return facts


def _at_size(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask fitted to a picture that keeps its own size (latent resizing), as such masks were fitted to the target."""
    return mask if mask.size == size else resize_image(mask, *size, FILL)


def _with_overlay_for(mask: PreparedMask, size: tuple[int, int], mode: int) -> PreparedMask:
    """The mask with its overlay fitted to pictures of another size (latent resizing keeps the picture's own)."""
    if mask.overlay.size == size:
        return mask
    overlay = resize_image(mask.overlay, *size, FILL if mode == LATENT else mode)
    return PreparedMask(mask.mask, mask.latent, overlay, mask.region, mask.content, mask.rounded)
