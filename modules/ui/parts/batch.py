"""Batch: many pictures through the values of a tab, from uploads or from a folder of the server (A1111's Batch tab).

One component (assets/js/batch.js). Its value is `{"on", "from": "uploads" | "folder", "pictures", "masks", "infos":
[{sha256, name}], "input", "output", "mask", "info": folders, "png_info": bool, "fields": [names]}`; while `on` is set,
Generate asks for the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from modules.batches import LIMIT, items_of, pictures_in
from modules.errors import InvalidRequest
from modules.generation.batch import BatchPicture, BatchRequest
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.ui.page import Form

PATH = "batch"
STAND_IN = "batch"
"""What stands for picture and mask in a request that all pictures of a batch have in common."""


def draw_batch(form: Form) -> None:
    """Draw the switch between one picture and a batch, and the batch's form."""
    has_masks = "true" if form.tab == "inpaint" else "false"
    form.extras[PATH] = gr.HTML(
        None,
        elem_id=f"{form.tab}_batch",
        html_template="<div class='webui-batch'></div>",
        js_on_load=(
            "window.webuiReady.then((webui) => webui.attachBatch("
            f"{{tab: '{form.tab}', hasMasks: {has_masks}, element, props, watch}}));"
        ),
        apply_default_css=False,
    )


def is_on(values: Mapping[str, Any]) -> bool:
    """Whether a tab's values ask for a batch."""
    return bool((values.get(PATH) or {}).get("on"))


def with_stand_ins(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with a picture and a mask that stand for those of the batch, and without a factor for the size."""
    return {**values, "source.picture": {"image": STAND_IN, "mask": STAND_IN}, "source.scale_on": False}


def stand_in() -> ImageData:
    """The picture that stands for any."""
    from PIL import Image

    return ImageData.from_image(Image.new("L", (8, 8), 255))


def to_batch(
    values: Mapping[str, Any],
    request: GenerationRequest,
    picture: Callable[[str], ImageData],
    folder_of: Callable[..., Path],
) -> BatchRequest:
    """The batch that a tab's values ask for; raises InvalidRequest, NotPermitted for a folder that may not be used.

    `picture` gives the stored picture with a sha256, `folder_of(text, must_exist=…)` the folder that somebody named.
    """
    given = dict(values.get(PATH) or {})

    def uploads(name: str) -> tuple[BatchPicture, ...]:
        listed = list(given.get(name) or ())[:LIMIT]
        return tuple(
            BatchPicture(name=str(one.get("name") or "picture")[:200], image=picture(str(one.get("sha256", ""))))
            for one in listed
        )

    def folder(name: str) -> tuple[BatchPicture, ...]:
        text = str(given.get(name) or "")
        return pictures_in(folder_of(text, must_exist=True)) if text.strip() else ()

    from_folder = given.get("from") == "folder"
    pictures = folder("input") if from_folder else uploads("pictures")
    if not pictures:
        wanted = "name the input directory" if from_folder else "drop or choose some"
        raise InvalidRequest(f"the batch has no pictures yet; {wanted} first", field="source.images")
    masks: tuple[BatchPicture, ...] = ()
    if request.source is not None and request.source.inpaint is not None:
        masks = folder("mask") if from_folder else uploads("masks")
        if not masks:
            raise InvalidRequest(
                "the batch has no masks yet; one for all pictures, or one of the same name for each",
                field="source.inpaint.mask",
            )
    output = str(given.get("output") or "").strip() if from_folder else ""
    reads_info = bool(given.get("png_info"))
    infos = folder("info") if reads_info and from_folder else ()
    return BatchRequest(
        request=request,
        items=items_of(pictures, masks, infos),
        scale=float(values.get("source.scale") or 0) if values.get("source.scale_on") else 0.0,
        output_dir=str(folder_of(output, must_exist=False)) if output else "",
        png_info=tuple(given.get("fields") or ()) if reads_info else (),
    )
