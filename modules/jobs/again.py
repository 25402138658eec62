"""A job once more: the same plan with other seeds, as the values of the page it could have come from, its source."""

from __future__ import annotations

from typing import Any

from modules.generation.plan import Plan, SourcePlan
from modules.generation.request import GenerationRequest, ResizeMode, SourcePart
from modules.images.compose import flatten
from modules.images.data import ImageData
from modules.images.resize import CROP, FILL, JUST_RESIZE, resize_image
from modules.infotext.write import applied, grid_infotext

_SEEDS = 2**32


def with_new_seeds(plan: Plan, seed: int) -> Plan:
    """The plan with `seed` for its first picture and the others as far from it as they were.

    A plan that varies one seed keeps that and gets another first variation seed, as A1111 counts up in that case.
    """
    moving = "subseed" if plan.noise.variation_strength > 0 else "seed"
    shift = seed - getattr(plan.images[0], moving)
    images = tuple(
        image.model_copy(update={moving: (getattr(image, moving) + shift) % _SEEDS}) for image in plan.images
    )
    return plan.model_copy(update={"images": images})


def page_of_plan(plan: Plan) -> dict[str, Any]:
    """What the page needs to show a plan for editing: tab, infotext, and the leaves that infotext does not carry."""
    leaves: dict[str, Any] = {"batch.size": plan.batch_size, "batch.count": len(plan.batches)}
    source = plan.source
    if source is not None:
        leaves |= {"source.resize_mode": source.resize_mode, "source.denoising_strength": source.denoising_strength}
    if source is not None and source.inpaint is not None:
        inpaint = source.inpaint
        leaves |= {
            "source.inpaint.blur_x": inpaint.blur_x,
            "source.inpaint.invert": inpaint.invert,
            "source.inpaint.content": inpaint.content,
            "source.inpaint.only_masked": inpaint.only_masked,
            "source.inpaint.padding": inpaint.padding,
        }
    return {
        "tab": _tab(source),
        "infotext": grid_infotext(plan, applied(plan, "Old prompt editing timelines", "Emphasis")),
        "leaves": leaves,
        "source": source is not None,
        "mask": source is not None and source.inpaint is not None,
        "script": None,
    }


def source_under(source: SourcePlan | SourcePart, index: int, width: int, height: int) -> ImageData:
    """What the result at `index` was made from, at the result's size, fitted as the job was told to fit it.

    For laying one over the other: a PNG, or the source's own file where it has that size already.
    """
    given = source.images[index % len(source.images)]
    if given.size == (width, height):
        return given
    mode = {ResizeMode.CROP: CROP, ResizeMode.FILL: FILL}.get(source.resize_mode, JUST_RESIZE)
    return ImageData.from_image(resize_image(flatten(given.open()), width, height, mode))


def page_of_request(request: GenerationRequest) -> dict[str, Any]:
    """The same for the request of a script's job; the script's own arguments are not among them."""
    leaves = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "styles": list(request.styles),
        "seed.value": request.seed.value,
        "size.width": request.size.width,
        "size.height": request.size.height,
        "batch.size": request.batch.size,
        "batch.count": request.batch.count,
        "sampling.sampler": request.sampling.sampler,
        "sampling.schedule": request.sampling.schedule,
        "sampling.steps": request.sampling.steps,
        "sampling.cfg_scale": request.sampling.cfg_scale,
    }
    source = request.source
    if source is not None:
        leaves |= {"source.resize_mode": source.resize_mode, "source.denoising_strength": source.denoising_strength}
    return {
        "tab": _tab(source),
        "infotext": "",
        "leaves": leaves,
        "source": source is not None,
        "mask": source is not None and source.inpaint is not None,
        "script": next(iter(request.scripts), None),
    }


def _tab(source: Any) -> str:  # SourcePlan or SourcePart
    if source is None:
        return "txt2img"
    return "inpaint" if source.inpaint is not None else "img2img"
