"""What someone asks of img2img's Batch: many pictures through one set of values, each a job of its own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modules.generation.part import Part
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData

PngInfoField = Literal["Prompt", "Negative prompt", "Seed", "CFG scale", "Sampler", "Steps", "Model hash"]


class BatchPicture(Part):
    """A picture that was uploaded (`image`) or lies on the server (`path`, resolved); `name` is its file's name."""

    name: str
    image: ImageData | None = None
    path: str | None = None


class BatchItem(Part):
    """One picture of a batch, the mask that belongs to it, and a picture whose infotext is read instead of its own."""

    picture: BatchPicture
    mask: BatchPicture | None = None
    info: BatchPicture | None = None


class BatchRequest(Part):
    """One job of the Batch form.

    `request` is what all have in common; its source pictures stand for those of `items`. `scale` (above 0) makes every
    result that many times the size of its source. `output_dir` "" saves as usual, else under the source's name there.
    `png_info` names what the sources' infotexts decide, as A1111 lists it.
    """

    request: GenerationRequest
    items: tuple[BatchItem, ...] = Field(min_length=1)
    scale: float = Field(0.0, ge=0.0, le=8.0)
    output_dir: str = ""
    png_info: tuple[PngInfoField, ...] = ()
