"""What some models are told of the source picture beside its latents: depth, or unCLIP's embedding of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from modules.conditioning.pictures import picture_vector
from modules.engine.inpaint import MODES, PreparedSource
from modules.errors import ModelUnsupported
from modules.generation.events import Event, Notice
from modules.images.data import ImageData
from modules.images.resize import FILL, resize_image
from modules.models.loaded import LoadedModel

if TYPE_CHECKING:
    from modules.engine.job import Job


def depth_channel(job: Job, model: LoadedModel, prepared: PreparedSource, height: int, width: int) -> Tensor | None:
    """(B, 1, height, width) in -1 (far) … 1 (near) at latent size for a depth model; None for others.

    From the depth picture of the request, else estimated; raises ModelUnsupported where neither is to be had.
    """
    if model.variant != "depth":
        return None
    given = job.plan.source.depth
    if given is not None:
        near = _as_tensor(_brought_to_size(given, prepared, job))
    else:
        catalog = job.engine.catalog
        near = model.depth_of(prepared.pixels() * 2 - 1, () if catalog is None else catalog.folders.depth)
    return normalised(near, height, width).to(model.device)


def normalised(near: Tensor, height: int, width: int) -> Tensor:
    """Nearness (B, 1, h, w) in any unit, brought to a size and to -1…1 for each picture; flat where all is as near."""
    small = F.interpolate(near.float(), size=(height, width), mode="bicubic", align_corners=False)
    low, high = small.amin(dim=(1, 2, 3), keepdim=True), small.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(high > low, 2 * (small - low) / (high - low).clamp_min(1e-12) - 1, torch.zeros_like(small))


def unclip_vector(job: Job, model: LoadedModel, prepared: PreparedSource) -> Generator[Event, None, Tensor | None]:
    """(B, D) for an unCLIP model, of the source pictures; None for others, and, said, where the file has no encoder.

    The noise is that of the job's first seed.
    """
    if model.variant != "unclip":
        return None
    level = job.plan.source.image_noise_level
    try:
        embedding, mean, std = model.embed_pictures(prepared.pixels() * 2 - 1)
    except ModelUnsupported as error:
        yield Notice(message=str(error))
        return None
    noise = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(job.plan.images[0].seed))
    if level:
        job.facts.entries["Image noise level"] = level
    return picture_vector(embedding, level, noise, mean=mean, std=std)


def _brought_to_size(given: ImageData, prepared: PreparedSource, job: Job) -> Image.Image:
    """A depth picture (L) resized and cropped as its source was."""
    plan, picture = job.plan, _grey(given.open())
    width, height = plan.size.width, plan.size.height
    mask = prepared.mask
    if mask is None or mask.region is None:
        return resize_image(picture, width, height, MODES[plan.source.resize_mode]).convert("L")
    whole = resize_image(picture, *prepared.wholes[0].size)
    return resize_image(whole.crop(mask.region), width, height, FILL).convert("L")


def _grey(image: Image.Image) -> Image.Image:
    """8 bits a pixel; depth maps often have 16, which Pillow would cut off."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        span = values.max() - values.min()
        values = (values - values.min()) / span * 255 if span else np.zeros_like(values)
        return Image.fromarray(values.astype(np.uint8))
    return image.convert("L")


def _as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32).copy())[None, None]
