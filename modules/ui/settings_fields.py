"""How one setting of the schema is drawn on the Settings tab, as JSON for assets/js/settings.js."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from typing import Any

from pydantic.fields import FieldInfo

from modules.settings.check import why_without_effect

_COLOUR = re.compile("#[0-9a-f]{6}")


def describe(key: str, field: FieldInfo, value: Any, locked: str | None, choices: Iterable[str]) -> dict[str, Any]:
    """Label, kind ("bool", "int", "float", "str", "list"), bounds, choices, value and default of a setting.

    `no_effect` says why it has none, `locked` why it cannot be changed.
    """
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    bounds = {name: getattr(one, name) for one in field.metadata for name in ("ge", "le") if hasattr(one, name)}
    return {
        "key": key,
        "label": field.title or key,
        "kind": _kind(field.annotation),
        "value": _json(value),
        "default": _json(field.get_default()),
        "minimum": bounds.get("ge"),
        "maximum": extra.get("maximum", bounds.get("le")),
        "step": extra.get("step"),
        "choices": list(choices) or list(extra.get("choices") or ()),
        "is_colour": bool(_COLOUR.fullmatch(str(field.get_default()))),
        "infotext": extra.get("infotext"),
        "reload": bool(extra.get("reload")),
        "locked": locked,
        "no_effect": why_without_effect(field),
    }


def _kind(annotation: Any) -> str:
    kinds = {bool: "bool", int: "int", float: "float", str: "str"}
    if typing.get_origin(annotation) is tuple:
        return "list"
    if annotation in kinds:
        return kinds[annotation]
    inner = [kinds[one] for one in typing.get_args(annotation) if one in kinds]
    return "float" if "float" in inner else inner[0] if inner else "str"


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
