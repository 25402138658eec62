"""A1111's REST API, put together: everything below /sdapi/v1 and /internal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from modules.api import (
    extra_networks,
    extras,
    generation,
    internal,
    interrogate,
    lifecycle,
    listings,
    pnginfo,
    scripts,
    state,
    training,
)
from modules.api.answers import PROBLEMS

if TYPE_CHECKING:
    from modules.app import App


def routes(app: App) -> APIRouter:
    router = APIRouter()
    for part in (extras, generation, interrogate, lifecycle, listings, pnginfo, scripts, state, training):
        router.include_router(part.routes(app), responses=PROBLEMS)
    router.include_router(state.internal_routes(app), responses=PROBLEMS)
    router.include_router(internal.routes(app), responses=PROBLEMS)
    router.include_router(extra_networks.routes(app))
    return router
