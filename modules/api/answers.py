"""How errors leave the API: A1111's JSON shape, and a status that says whose fault it was."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute

from modules.api.bodies import ErrorAnswer, InvalidAnswer
from modules.errors import (
    InvalidRequest,
    NotPermitted,
    QueueFull,
    SettingsError,
    WebuiError,
    WorkerDied,
)

log = logging.getLogger(__name__)

OUR_PREFIXES = ("/sdapi/", "/api/v1/", "/internal/", "/jobs", "/files/", "/history", "/cards", "/worker", "/queue/")

_LONGEST = 4000
"""Letters of a message."""

_STATUS: tuple[tuple[type[WebuiError], int], ...] = (
    (InvalidRequest, 422),
    (SettingsError, 422),
    (NotPermitted, 403),
    (QueueFull, 429),
    (WorkerDied, 503),
)


def _problem(description: str, *shapes: type[BaseModel]) -> dict[str, Any]:
    """One answer in the document. By reference: with FastAPI's `model` each of a thousand would get a validator."""
    references = [{"$ref": f"#/components/schemas/{shape.__name__}"} for shape in shapes]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("The body is not JSON text in UTF-8", ErrorAnswer),
    401: _problem("Logins are on and none fits", ErrorAnswer),
    403: _problem("The caller may not do this, or asks from another site", ErrorAnswer),
    404: _problem("There is no such thing, or it is somebody else's", ErrorAnswer),
    413: _problem("The request is too large", ErrorAnswer),
    422: _problem("Something in the request cannot be done as asked", ErrorAnswer, InvalidAnswer),
    429: _problem("Too many jobs wait, or too many wrong passwords; see Retry-After", ErrorAnswer),
    500: _problem("What was asked failed on the way", ErrorAnswer),
    503: _problem("There is no worker at the moment", ErrorAnswer),
}
"""What every route may answer besides its own; for the OpenAPI document."""

NOT_IMPLEMENTED: dict[int | str, dict[str, Any]] = {501: _problem("A1111 can do this, this server cannot", ErrorAnswer)}


def picture_answers(what: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI words for a route that answers with a picture."""
    file = {"schema": {"type": "string", "format": "binary"}}
    kinds = ("png", "jpeg", "webp", "avif")
    return {200: {"description": what, "content": {f"image/{kind}": file for kind in kinds}}}


def status_of(error: WebuiError) -> int:
    """422 for what was asked wrongly, 403, 429, 503 (no worker), and A1111's 500 for what failed on the way."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def error_body(error: BaseException) -> dict[str, Any]:
    """A1111's error object; `detail` repeats the words because many clients show only that."""
    words = _in_short(str(error))
    return {"error": type(error).__name__, "detail": words, "body": "", "errors": words}


def _in_short(words: str) -> str:
    """A message without the middle of what it quotes, if that was a book."""
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST // 2]} … {words[-_LONGEST // 2 :]}"


def document_only(web: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Let the OpenAPI document describe these routes and no others (Gradio's are its own business)."""

    def document() -> dict[str, Any]:
        if web.openapi_schema is None:
            made = get_openapi(title=web.title, version=web.version, description=web.description, routes=routes)
            made["components"]["schemas"].update(_shapes(ErrorAnswer, InvalidAnswer))
            web.openapi_schema = made
        return web.openapi_schema

    web.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to a document of one's own


def _shapes(*models: type[BaseModel]) -> dict[str, Any]:
    """The schemas that `PROBLEMS` refers to, and those inside them, by name."""
    modes = [(model, "serialization") for model in models]
    _, document = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    return document["$defs"]


def add_error_answers(web: FastAPI) -> None:
    """Give every route of ours A1111's error shape. Validation errors are a list under `detail`, as in A1111."""

    @web.exception_handler(WebuiError)
    async def ours(request: Request, error: WebuiError) -> JSONResponse:
        headers = {}
        if isinstance(error, QueueFull):
            headers["retry-after"] = str(max(1, round(error.retry_after_s)))
        return JSONResponse(error_body(error), status_of(error), headers)

    @web.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # As A1111 says it. What was sent is not sent back: it may be a large picture, or text that no UTF-8 can hold.
        told = [{key: one[key] for key in ("loc", "msg", "type")} for one in error.errors()]
        return JSONResponse({"detail": told}, 422)

    @web.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if not request.url.path.startswith(OUR_PREFIXES):  # Gradio's page reads `detail` in its own way
            return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
        words = _in_short(str(error.detail))
        body = {"error": "HTTPException", "detail": words, "body": "", "errors": words}
        return JSONResponse(body, error.status_code, error.headers)

    @web.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        """Nobody reads this, or the gate says instead why it let no more of the body through."""
        return Response(status_code=400)

    @web.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return JSONResponse(error_body(error), 500)
