"""Scripts in the API: A1111's positional arguments, and the routes that list what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException
from pydantic.fields import FieldInfo

from modules.api import shapes
from modules.api.bodies import GenerationBody
from modules.extensions.api import Script
from modules.extensions.dispatch import from_list
from modules.extensions.origin import origin_of

if TYPE_CHECKING:
    from modules.app import App


SECTIONS = ("Comments", "Extra options", "Hypertile", "Refiner", "Sampler", "Seed")
"""A1111's always-on scripts that are parts of its page. Its API takes their names and does nothing with their
arguments: what they are about are fields and settings of the request. Clients send back what the lists told them."""


def routes(app: App) -> APIRouter:
    """GET /sdapi/v1/scripts, /script-info and /extensions."""
    router = APIRouter(prefix="/sdapi/v1", tags=["scripts"])

    @router.get("/scripts", response_model=shapes.Scripts)
    def scripts() -> dict[str, list[str]]:
        found = {tab: [one.name for one in app.extensions.scripts if tab in one.tabs] for tab in ("txt2img", "img2img")}
        return {tab: [name.lower() for name in (*SECTIONS, *names)] for tab, names in found.items()}

    @router.get("/script-info", response_model=list[shapes.ScriptInfo])
    def script_info() -> list[dict[str, Any]]:
        sections = [
            {"name": name.lower(), "is_alwayson": True, "is_img2img": tab == "img2img", "args": []}
            for tab in ("txt2img", "img2img")
            for name in SECTIONS
        ]
        return sections + [
            {
                "name": script.name.lower(),
                "is_alwayson": not script.is_selectable,
                "is_img2img": tab == "img2img",
                "args": [argument_item(name, field) for name, field in script.Args.model_fields.items()],
            }
            for tab in ("txt2img", "img2img")
            for script in app.extensions.scripts
            if tab in script.tabs
        ]

    @router.get("/extensions", response_model=list[shapes.Extension])
    def extensions() -> list[dict[str, Any]]:
        """Those that are clones, as in A1111."""
        clones = [(one, origin_of(one.folder)) for one in app.extensions.all if not one.is_builtin]
        return [
            {
                "name": extension.name,
                "remote": origin.remote,
                "branch": origin.branch,
                "commit_hash": origin.commit_hash,
                "version": origin.version,
                "commit_date": origin.commit_date or 0,
                "enabled": extension.is_active,
            }
            for extension, origin in clones
            if origin is not None
        ]

    return router


def script_arguments(app: App, body: GenerationBody) -> dict[str, dict[str, Any]]:
    """Arguments by script name from `script_name`, `script_args` and `alwayson_scripts`.

    Raises HTTPException 422 in A1111's words for a script that is not there or not of that kind.
    """
    found: dict[str, dict[str, Any]] = {}
    if body.script_name:
        script = _find(app, body.script_name)
        if script is None or not script.is_selectable:
            raise HTTPException(422, f"Script '{body.script_name}' not found")
        found[script.name] = from_list(script, body.script_args or [])
    sections = {name.casefold() for name in SECTIONS}
    for name, given in (body.alwayson_scripts or {}).items():
        script = _find(app, name)
        if script is None and name.strip().casefold() in sections:
            continue
        if script is None:
            raise HTTPException(422, f"always on script {name} not found")
        if script.is_selectable:
            raise HTTPException(422, f"{name} is a selectable script; send it as script_name")
        args = given.get("args", []) if isinstance(given, dict) else given
        found[script.name] = dict(args) if isinstance(args, dict) else from_list(script, args)
    return found


def argument_item(name: str, field: FieldInfo) -> dict[str, Any]:
    """An argument as A1111 lists it."""
    bounds = {type(one).__name__: one for one in field.metadata}
    low, high = bounds.get("Ge"), bounds.get("Le")
    choices = getattr(field.annotation, "__args__", None)
    return {
        "label": field.title or name,
        "value": field.get_default(),
        "minimum": low.ge if low else None,
        "maximum": high.le if high else None,
        "step": None,
        "choices": list(choices) if choices and all(isinstance(choice, str) for choice in choices) else None,
    }


def _find(app: App, name: str) -> Script | None:
    scripts = app.extensions.scripts
    return next((script for script in scripts if script.name.casefold() == name.strip().casefold()), None)
