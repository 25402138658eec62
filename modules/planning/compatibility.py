"""What cannot be done as asked: bounds and combinations, checked before anything is queued."""

from __future__ import annotations

from modules.errors import InvalidImage, InvalidRequest
from modules.generation.part import Size
from modules.generation.plan import Plan
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.sampling.sampler import SAMPLERS

SMALLEST_SIDE = 16
LARGEST_SIDE = 16_384
PIXELS_LIMIT = 67_108_864
"""8192 by 8192: more cannot be sampled in one piece on any card of today."""
IMAGES_LIMIT = 10_000
TIMES = 1000
"""Discrete times of a diffusion model."""
SEEDS = range(-(2**63), 2**64)
"""What torch's generators take."""
PROMPT_LIMIT = 200_000
"""Characters; a longer text is an accident and would take minutes to encode."""


def check_size(size: Size, *, field: str, what: str = "a picture") -> None:
    """Raise InvalidRequest for a size that no network can make."""
    for name, side in (("width", size.width), ("height", size.height)):
        if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
            raise InvalidRequest(
                f"{what} of {size} was asked for; the {name} must be {SMALLEST_SIDE} to {LARGEST_SIDE} pixels",
                field=f"{field}.{name}",
            )
    if size.width * size.height > PIXELS_LIMIT:
        raise InvalidRequest(
            f"{what} of {size} has {size.width * size.height / 1e6:.0f} megapixels; "
            f"the limit is {PIXELS_LIMIT / 1e6:.0f}; choose a smaller size",
            field=field,
        )


def check_request(request: GenerationRequest) -> None:
    """Raise InvalidRequest for combinations that contradict each other and for what is out of all bounds."""
    check_size(request.size, field="size")
    if request.batch.size * request.batch.count > IMAGES_LIMIT:
        raise InvalidRequest(
            f"{request.batch.size} x {request.batch.count} pictures were asked for; one job may make {IMAGES_LIMIT}",
            field="batch.count",
        )
    for field in ("prompt", "negative_prompt"):
        if len(getattr(request, field)) > PROMPT_LIMIT:
            raise InvalidRequest(
                f"the {field.replace('_', ' ')} has {len(getattr(request, field))} characters; "
                f"the limit is {PROMPT_LIMIT}",
                field=field,
            )
    for field in ("value", "variation"):
        if getattr(request.seed, field) not in SEEDS:
            raise InvalidRequest(
                f"the seed is {getattr(request.seed, field)}; it must be a whole number below 2^64",
                field=f"seed.{field}",
            )
    if request.hires is not None and request.source is not None:
        raise InvalidRequest(
            "hires fix works on pictures made from text; it cannot be combined with a source picture "
            "(img2img at the larger size does the same)",
            field="hires",
        )
    if request.source is not None:
        _check_source(request)


def _check_source(request: GenerationRequest) -> None:
    source = request.source
    given = len(source.images)
    # A1111: one picture is repeated, fewer than the batch size make a smaller batch, more are an error.
    if given > request.batch.size and given > 1:
        raise InvalidRequest(
            f"{given} source pictures were given for a batch of {request.batch.size}; "
            f"set the batch size to {given} or give one picture",
            field="source.images",
        )
    for image in source.images:
        _check_picture(image, "source.images")
    if source.inpaint is not None:
        _check_picture(source.inpaint.mask, "source.inpaint.mask")


def _check_picture(image: ImageData, field: str) -> None:
    """Raise InvalidImage for what is not a picture or too large, before a pixel is decoded."""
    try:
        image.size  # noqa: B018 - reads the header
    except InvalidImage as error:
        error.field = field
        raise


def check_plan(plan: Plan) -> None:
    """Raise InvalidRequest for what only shows once names and sizes are resolved."""
    passes = [plan.sampling, *((plan.hires.sampling,) if plan.hires is not None else ())]
    for sampling in passes:
        info = SAMPLERS.get(sampling.sampler)
        if info.grid == "timesteps" and sampling.steps > TIMES - 1:
            raise InvalidRequest(
                f"{sampling.sampler} was asked for {sampling.steps} steps; it runs on {TIMES} discrete times "
                f"and takes at most {TIMES - 1}",
                field="sampling.steps",
            )
    if plan.hires is not None:
        check_size(plan.hires.upscaled, field="hires", what="a hires result")
