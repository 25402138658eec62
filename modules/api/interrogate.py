"""POST /sdapi/v1/interrogate: a picture in words, by a model that somebody put into models/BLIP."""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException

from modules.api import shapes
from modules.api.answers import NOT_IMPLEMENTED
from modules.api.bodies import Body
from modules.api.fetch import picture
from modules.api.waiting import Apart
from modules.models import caption

if TYPE_CHECKING:
    from modules.app import App

_MODELS = ("clip", "deepdanbooru")
_NO_DEEPBOORU = 'DeepDanbooru is not part of this program; ask for the model "clip" instead'


class Interrogation(Body):
    """POST /sdapi/v1/interrogate"""

    image: str = ""
    model: str = "clip"


def routes(app: "App") -> APIRouter:
    router = APIRouter(prefix="/sdapi/v1", tags=["pictures"])
    apart = Apart()

    @router.post("/interrogate", response_model=shapes.Caption, responses=NOT_IMPLEMENTED)
    async def interrogate(asked: Interrogation) -> dict[str, str]:
        """404 for a missing picture or an unknown model, as in A1111; 501 with what is missing without a caption model.

        The answer is BLIP's description; A1111 adds words that CLIP picks out of lists, which are not part of this.
        """
        if not asked.image:
            raise HTTPException(404, "Image not found")
        if asked.model not in _MODELS:
            raise HTTPException(404, f'there is no model "{asked.model}"; A1111 knows {", ".join(_MODELS)}')
        image = await asyncio.to_thread(picture, asked.image, "image", app.settings.current)
        if asked.model != "clip":
            raise HTTPException(501, _NO_DEEPBOORU)
        if app.caption_model is None:
            raise HTTPException(501, caption.MISSING)
        return {"caption": await apart.run(lambda: app.describe(image))}

    return router
