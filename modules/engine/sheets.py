"""Finished pictures as files: what a job says of one, and the sheet of all. Pillow only: the front makes the sheet of a
job that is ended while no worker has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from modules.generation.events import ImageDone
from modules.generation.plan import ImagePlan, Plan
from modules.images import formats
from modules.images.data import ImageData
from modules.images.grids import grid_rows, image_grid


def image_done(
    plan: Plan,
    picture: Image.Image,
    image: ImagePlan,
    *,
    role: str = "sample",
    index: int | None = None,
    text: str = "",
    shown: bool = True,
    saved: bool = True,
    extension: str | None = None,
) -> ImageDone:
    """A picture encoded as the plan's settings say, with `text` as its infotext.

    `index` is the picture's own unless given. A picture or text that the format cannot hold becomes a PNG.
    """
    saving = plan.saving.options
    extension = extension or str(saving.get("samples_format", "png"))
    if picture.mode == "RGBA" or formats.why_not(picture, extension, text):
        extension = "png"
    content = formats.encode(
        picture,
        extension,
        texts={formats.PARAMETERS: text} if text and saving.get("enable_pnginfo", True) else None,
        quality=int(saving.get("jpeg_quality", 80)),
        lossless=bool(saving.get("webp_lossless", False)),
    )
    return ImageDone(
        role=role,
        index=image.index if index is None else index,
        seed=image.seed,
        subseed=image.subseed,
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        width=picture.width,
        height=picture.height,
        image=ImageData(content),
        infotext=text,
        shown=shown,
        saved=saved,
    )


def makes_grid(plan: Plan, count: int) -> bool:
    """Whether a job that made `count` samples ends with a sheet of them."""
    saving = plan.saving.options
    is_wanted = saving.get("return_grid", True) or saving.get("grid_save", True)
    too_few = count < 2 and saving.get("grid_only_if_multiple", True)
    return bool(plan.saving.grid and is_wanted and count and not too_few)


def grid_done(plan: Plan, samples: Sequence[Image.Image], text: str) -> ImageDone:
    """The sheet of a job's samples, with `text` as its infotext."""
    saving = plan.saving.options
    rows = grid_rows(
        len(samples),
        n_rows=int(saving.get("n_rows", -1)),
        batch_size=plan.batch_size,
        prevent_empty_spots=bool(saving.get("grid_prevent_empty_spots", False)),
    )
    return image_done(
        plan,
        image_grid(samples, rows, background=saving.get("grid_background_color") or "#ffffff"),
        plan.images[0],
        role="grid",
        index=-1,
        text=text,
        shown=bool(saving.get("return_grid", True)),
        saved=bool(saving.get("grid_save", True)),
        extension=str(saving.get("grid_format", "png")),
    )
