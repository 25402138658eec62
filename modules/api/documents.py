"""The page that shows the OpenAPI document. FastAPI's own fetches its parts from other servers: this one needs none."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

_PAGE = Path(__file__).with_name("docs.html")


def routes() -> APIRouter:
    """GET /docs, and /redoc for those who are used to it."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    @router.get("/redoc")
    def docs() -> FileResponse:
        return FileResponse(_PAGE, media_type="text/html; charset=utf-8", headers={"cache-control": "no-cache"})

    return router
