"""A1111's addresses of what lies beside and inside model files: previews, covers, metadata. By page and name.

    GET /sd_extra_networks/thumb?filename=                the preview at a path, if it lies in a model folder
    GET /sd_extra_networks/cover-images?page&item&index   a cover picture that a trainer put into the file
    GET /sd_extra_networks/metadata?page&item             {"metadata": JSON text}, {} when there is none
    GET /sd_extra_networks/get-single-card?page&name      {"html"}: a card with preview and name

Our own page uses the routes of `modules/api/cards.py`.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, Response

from modules.models.sidecars import PREVIEW_SUFFIXES

if TYPE_CHECKING:
    from modules.app import App
    from modules.models.files import ModelFile

_KINDS = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}


def routes(app: App) -> APIRouter:
    """Everything in this module's docstring."""
    router = APIRouter(prefix="/sd_extra_networks", include_in_schema=False)

    def file_of(page: str, item: str) -> ModelFile | None:
        return next((file for file in _files(app, page) if item in (file.stem, file.name)), None)

    @router.get("/thumb")
    def thumb(filename: str = "") -> FileResponse:
        path = Path(os.path.abspath(filename))
        is_ours = any(path.is_relative_to(os.path.abspath(folder)) for folder in _folders(app))
        if not filename or not is_ours or path.suffix.lower() not in PREVIEW_SUFFIXES or not path.is_file():
            raise HTTPException(404, "there is no such preview in a model folder")
        return FileResponse(path, media_type=_KINDS[path.suffix.lower()[1:]], headers={"cache-control": "private"})

    @router.get("/cover-images")
    def cover_images(page: str = "", item: str = "", index: int = 0) -> Response:
        file = file_of(page, item)
        covers = _covers(app.catalog.metadata(file)) if file is not None else []
        if not 0 <= index < len(covers):
            raise HTTPException(404, "there is no such cover picture")
        return Response(covers[index], media_type="image/jpeg")

    @router.get("/metadata")
    def metadata(page: str = "", item: str = "") -> dict[str, str]:
        file = file_of(page, item)
        found = app.catalog.metadata(file) if file is not None else {}
        return {"metadata": json.dumps(found, indent=4, ensure_ascii=False)} if found else {}

    @router.get("/get-single-card")
    def get_single_card(page: str = "", tabname: str = "", name: str = "") -> dict[str, str]:
        file = file_of(page, name)
        return {"html": _card(file) if file is not None else ""}

    return router


def _files(app: App, page: str) -> tuple[ModelFile, ...]:
    """The files of a page by A1111's name for it."""
    catalog = app.catalog
    pages: dict[str, Any] = {
        "checkpoints": catalog.checkpoints,
        "lora": catalog.loras,
        "textual inversion": catalog.embeddings,
        "hypernetworks": catalog.hypernetworks,
    }
    return tuple(pages.get(page.lower().replace("_", " "), ()))


def _folders(app: App) -> tuple[Path, ...]:
    folders = app.catalog.folders
    return (*folders.checkpoints, *folders.loras, *folders.embeddings, *folders.hypernetworks)


def _covers(metadata: dict[str, str]) -> list[bytes]:
    """The pictures in a LoRA's `ssmd_cover_images`: JSON of a list of base64 texts."""
    try:
        return [base64.b64decode(text, validate=True) for text in json.loads(metadata.get("ssmd_cover_images", "[]"))]
    except (ValueError, TypeError, binascii.Error):
        return []


def _card(file: ModelFile) -> str:
    name = html.escape(file.stem)
    preview = ""
    if file.preview is not None:
        address = f"./sd_extra_networks/thumb?filename={quote(str(file.preview), safe='')}"
        preview = f'<img src="{html.escape(address)}" class="preview" loading="lazy" alt="">'
    return f'<div class="card" data-name="{name}">{preview}<span class="name">{name}</span></div>'
