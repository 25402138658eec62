"""POST /sdapi/v1/txt2img and /img2img: A1111's bodies in, A1111's answers out, `App.submit` in between."""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException

from modules.api.bodies import GenerationAnswer, GenerationBody, Img2ImgBody, Txt2ImgBody
from modules.api.fetch import with_pictures
from modules.api.fields import overrides_of, table_of, to_request
from modules.api.jobs import MaySet, Owner
from modules.api.scripts import script_arguments
from modules.errors import NotPermitted
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.images.formats import format_of
from modules.infotext.files import with_infotext as with_infotext_inside
from modules.jobs.handle import JobResult, Picture
from modules.jobs.view import gallery
from modules.planning.planner import merged
from modules.settings.schema import Settings

if TYPE_CHECKING:
    from modules.app import App


_SEED_EXTRAS = {"subseed", "subseed_strength", "seed_resize_from_w", "seed_resize_from_h"}


def routes(app: "App") -> APIRouter:
    """The two routes that make pictures. They wait for their job; a client that goes away does not end it."""
    router = APIRouter(prefix="/sdapi/v1", tags=["generation"])

    @router.post("/txt2img")
    async def txt2img(body: Txt2ImgBody, owner: Owner, may_set: MaySet) -> GenerationAnswer:
        return await _generate(app, body, owner, may_set)

    @router.post("/img2img")
    async def img2img(body: Img2ImgBody, owner: Owner, may_set: MaySet) -> GenerationAnswer:
        if not body.init_images:
            raise HTTPException(404, "Init image not found")
        return await _generate(app, body, owner, may_set)

    return router


async def _generate(app: "App", body: GenerationBody, owner: str, may_set: bool) -> GenerationAnswer:
    handle = await asyncio.to_thread(_submit, app, body, owner, may_set)
    result = (await handle.finished()).raise_if_failed()
    return await asyncio.to_thread(answer, body, result, merged(app.settings.current, overrides_of(body)))


def _submit(app: "App", body: GenerationBody, owner: str, may_set: bool) -> Any:
    overrides = overrides_of(body)
    keeps = bool(overrides) and body.override_settings_restore_afterwards is False
    if keeps and not may_set:
        raise NotPermitted(
            "override_settings that stay are everybody's settings; only the administrator may change them"
        )
    body = with_pictures(body, app.settings.current)
    request = to_request(body, script_arguments(app, body))
    if body.infotext:
        request = with_infotext(request, body, app)
    handle = app.submit(request, owner=owner)
    if body.force_task_id:
        app.tasks.name(owner, body.force_task_id, handle.id)
    if keeps:
        app.settings.set_many(overrides)
    return handle


def with_infotext(request: GenerationRequest, body: GenerationBody, app: "App") -> GenerationRequest:
    """`request` with what the body's infotext says, in the fields that the body itself does not have."""
    tab = "img2img" if isinstance(body, Img2ImgBody) else "txt2img"
    given = {path for name, path in table_of(body).items() if name in body.model_fields_set}
    pasted = app.paste(body.infotext or "", tab)
    decides_hires = "enable_hr" in body.model_fields_set
    pasted = replace(
        pasted,
        values={path: value for path, value in pasted.values.items() if path not in given},
        hires=request.hires is not None if decides_hires else pasted.hires,
        refiner=request.refiner is not None or pasted.refiner,
        seed_extra=pasted.seed_extra or bool(_SEED_EXTRAS & body.model_fields_set),
        overrides={**pasted.overrides, **request.overrides},
    )
    return pasted.request(request)


def answer(body: GenerationBody, result: JobResult, settings: Settings) -> GenerationAnswer:
    """A1111's answer for a job that has ended: pictures in gallery order, the request's echo, the `info` text.

    Pictures come in the format of the setting `samples_format`, whether they were saved or not.
    """
    by_id = {picture.result.id: picture for picture in result.pictures}
    shown = [by_id[row.id] for row in gallery([picture.result for picture in result.pictures])]
    images = [in_format(picture, settings).to_base64() for picture in shown] if body.send_images is not False else []
    return GenerationAnswer(images=images, parameters=_echo(body), info=json.dumps(result.job.summary.get("info", {})))


def in_format(picture: Picture, settings: Settings) -> ImageData:
    """A picture's file in the format of the settings, its infotext inside."""
    image = ImageData(picture.read())
    if picture.result.media_type == f"image/{format_of(settings.samples_format).lower()}":
        return image
    infotext = picture.result.infotext if settings.enable_pnginfo else ""
    return with_infotext_inside(image, infotext, extension=settings.samples_format, quality=settings.jpeg_quality)


def _echo(body: GenerationBody) -> dict[str, Any]:
    """The request with its defaults; source pictures only if the client asked for them back."""
    values = body.model_dump()
    if isinstance(body, Img2ImgBody) and not body.include_init_images:
        values.update(init_images=None, mask=None)
    return values
