"""POST /sdapi/v1/png-info: what a picture's file says about how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from modules.api.bodies import Body
from modules.api.fetch import picture
from modules.errors import InvalidRequest
from modules.infotext.files import read_metadata
from modules.infotext.legacy import understood
from modules.infotext.parse import parse

if TYPE_CHECKING:
    from modules.app import App


class PngInfoBody(Body):
    """A picture as base64 text."""

    image: str


class PngInfo(Body):
    """`info` is the infotext, `items` the file's other texts, `parameters` the infotext read, its gaps filled."""

    info: str
    items: dict[str, Any]
    parameters: dict[str, Any]


def routes(app: App) -> APIRouter:
    router = APIRouter(prefix="/sdapi/v1", tags=["generation"])

    @router.post("/png-info", response_model=PngInfo)
    def png_info(body: PngInfoBody) -> dict[str, Any]:
        if not body.image.strip():
            raise InvalidRequest("image is empty; send a picture as base64 text", field="image")
        settings = app.settings.current
        said = read_metadata(picture(body.image, "image", settings))
        read = understood(
            parse(said.infotext or ""),
            backward_compatible=settings.auto_backcompat,
            old_hires_sizes=settings.use_old_hires_fix_width_height,
            lora_named=app.lora_named,
        )
        parameters = {"Prompt": read.prompt, "Negative prompt": read.negative_prompt, **read.values}
        return {"info": said.infotext or "", "items": dict(said.items), "parameters": parameters}

    return router
