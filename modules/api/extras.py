"""POST /sdapi/v1/extra-single-image and /extra-batch-images: A1111's Extras. Nothing is saved, as there."""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import asyncio
import html
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from pydantic import Field

from modules.api.bodies import Body
from modules.api.fetch import with_pictures
from modules.api.fields import picture
from modules.api.generation import in_format
from modules.api.jobs import Owner
from modules.errors import GenerationError
from modules.extras import NO_UPSCALER
from modules.generation.extras import CodeFormerPart, ExtrasPicture, ExtrasRequest, GfpganPart, UpscalePart
from modules.jobs.handle import JobResult

if TYPE_CHECKING:
    from modules.app import App


class ExtrasBody(Body):
    """What both routes have in common."""

    resize_mode: Literal[0, 1] | None = Field(0, description="0: by `upscaling_resize`, 1: to the size given")
    show_extras_results: bool | None = Field(True, description="without effect, as in A1111")
    gfpgan_visibility: float | None = Field(0, ge=0, le=1)
    codeformer_visibility: float | None = Field(0, ge=0, le=1)
    codeformer_weight: float | None = Field(0, ge=0, le=1)
    upscaling_resize: float | None = Field(2, gt=0, le=16)
    upscaling_resize_w: int | None = Field(512, ge=1, le=16384)
    upscaling_resize_h: int | None = Field(512, ge=1, le=16384)
    upscaling_crop: bool | None = True
    upscaler_1: str | None = NO_UPSCALER
    upscaler_2: str | None = NO_UPSCALER
    extras_upscaler_2_visibility: float | None = Field(0, ge=0, le=1)
    upscale_first: bool | None = Field(False, description="without effect, as in A1111")


class SingleBody(ExtrasBody):
    """POST /sdapi/v1/extra-single-image"""

    image: str | None = ""


class NamedPicture(Body):
    data: str
    name: str = ""


class BatchBody(ExtrasBody):
    """POST /sdapi/v1/extra-batch-images"""

    imageList: list[NamedPicture] = Field(min_length=1)


class SingleAnswer(Body):
    html_info: str
    image: str


class BatchAnswer(Body):
    html_info: str
    images: list[str]


def routes(app: "App") -> APIRouter:
    """The two routes. They wait for their job; a client that goes away does not end it."""
    router = APIRouter(prefix="/sdapi/v1", tags=["extras"])

    @router.post("/extra-single-image")
    async def extra_single_image(body: SingleBody, owner: Owner) -> SingleAnswer:
        result = await _run(app, body, owner)
        images = await asyncio.to_thread(_images, app, result)
        return SingleAnswer(html_info=_info(result), image=images[0])

    @router.post("/extra-batch-images")
    async def extra_batch_images(body: BatchBody, owner: Owner) -> BatchAnswer:
        result = await _run(app, body, owner)
        return BatchAnswer(html_info=_info(result), images=await asyncio.to_thread(_images, app, result))

    return router


async def _run(app: "App", body: SingleBody | BatchBody, owner: str) -> JobResult:
    handle = await asyncio.to_thread(lambda: app.extras.submit(_request(app, body), owner=owner))
    result = (await handle.finished()).raise_if_failed()
    if not result.pictures:
        raise GenerationError("the job was stopped before there was a picture")
    return result


def _request(app: "App", body: SingleBody | BatchBody) -> ExtrasRequest:
    """What a body asks for; raises InvalidImage."""
    body = with_pictures(body, app.settings.current)
    if isinstance(body, BatchBody):
        given = [(one.data, one.name, f"imageList.{place}.data") for place, one in enumerate(body.imageList)]
    else:
        given = [(body.image or "", "", "image")]
    pictures = tuple(ExtrasPicture(image=picture(data, field), name=name) for data, name, field in given)
    upscale = {
        "upscaler": body.upscaler_1 or NO_UPSCALER,
        "second": body.upscaler_2 or NO_UPSCALER,
        "second_visibility": body.extras_upscaler_2_visibility or 0,
        "mode": "to" if body.resize_mode == 1 else "by",
        "factor": body.upscaling_resize,
        "width": body.upscaling_resize_w,
        "height": body.upscaling_resize_h,
        "crop": body.upscaling_crop,
    }
    given_ones = {name: value for name, value in upscale.items() if value is not None}  # a null counts as the default
    gfpgan, codeformer = body.gfpgan_visibility or 0, body.codeformer_visibility or 0
    return ExtrasRequest(
        pictures=pictures,
        upscale=UpscalePart(**{"factor": 2.0, **given_ones}),
        gfpgan=GfpganPart(visibility=gfpgan) if gfpgan else None,
        codeformer=CodeFormerPart(visibility=codeformer, weight=body.codeformer_weight or 0) if codeformer else None,
        is_batch=isinstance(body, BatchBody),
        save=False,
    )


def _images(app: "App", result: JobResult) -> list[str]:
    """The results as base64 text in the format of the settings."""
    return [in_format(picture, app.settings.current).to_base64() for picture in result.pictures]


def _info(result: JobResult) -> str:
    """The infotext of the last picture as a paragraph, as A1111 shows it under the picture."""
    return f"<p>{html.escape(result.pictures[-1].result.infotext)}</p>"
