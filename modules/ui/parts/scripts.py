"""Controls of extensions' scripts, drawn from their `Args`: the Script drop-down, and a fold for each always-on one.

One component a tab (assets/js/scripts.js), whatever number of scripts there is. Its value is
`{"script": name | "None", "arguments": {script: {argument: value}}}`, with what was changed from the defaults.

An argument's `json_schema_extra` may say more: "choices" (a list, or one a tab), "lines", "step", "row" (arguments of
the same row stand side by side), "is_narrow", "is_hidden", "suggestions" ({"by": argument, "lists": {value: list}};
a list, here and in "choices", may be the name of one that the page knows, such as "samplers");
that of the model "swaps": [{"label", "fields": [[one, other], …]}].
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr
from pydantic.fields import FieldInfo

from modules.ui.page import Form

if TYPE_CHECKING:
    from modules.extensions.api import Script

Choices = Callable[[str], list[str]]

PATH = "scripts"
NONE = "None"


def draw_scripts(form: Form) -> None:
    """Draw the scripts of this tab; nothing where no extension has one."""
    scripts = form.services.scripts(form.tab)
    if not scripts:
        return
    described = [describe(script, form.tab, form.services.choices) for script in scripts]
    form.extras[PATH] = gr.HTML(
        {"script": NONE, "arguments": {}},
        elem_id=f"{form.tab}_scripts",
        html_template="<div class='webui-scripts'></div>",
        js_on_load=(
            "window.webuiReady.then((webui) => webui.attachScripts("
            f"{{tab: '{form.tab}', scripts: {json.dumps(described)}, element, props, watch}}));"
        ),
        apply_default_css=False,
    )


def chosen(value: dict[str, Any] | None, scripts: Iterable[Script]) -> dict[str, dict[str, Any]]:
    """What goes into a request: arguments of the selected script and of every always-on one that is switched on."""
    given = (value or {}).get("arguments") or {}
    found: dict[str, dict[str, Any]] = {}
    for script in scripts:
        arguments = dict(given.get(script.name) or {})
        is_on = (value or {}).get("script") == script.name if script.is_selectable else arguments.get("enabled", False)
        if is_on:
            found[script.name] = arguments
    return found


def describe(script: Script, tab: str, choices: Choices) -> dict[str, Any]:
    """A script as JSON for the browser; `choices` are the lists that the page knows by name."""
    extra = script.Args.model_config.get("json_schema_extra")
    fields = [argument(name, field, tab, choices) for name, field in script.Args.model_fields.items()]
    return {
        "name": script.name,
        "is_selectable": script.is_selectable,
        "arguments": [field for field in fields if field is not None],
        "swaps": extra.get("swaps", []) if isinstance(extra, dict) else [],
    }


def argument(name: str, field: FieldInfo, tab: str, choices: Choices) -> dict[str, Any] | None:
    """An argument as JSON: kind ("bool", "int", "float", "str", "list"), bounds and hints; None for one not shown."""
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    bounds = {bound: getattr(one, bound) for one in field.metadata for bound in ("ge", "le") if hasattr(one, bound)}
    kind = _kind(field.annotation)
    if kind is None or extra.get("is_hidden"):
        return None
    offered = extra.get("choices") or _literals(field.annotation)
    if isinstance(offered, dict):
        offered = offered["txt2img" if tab == "txt2img" else "img2img"]
    if not offered and name == "upscaler":
        offered = "pixel_upscalers"
    hints = {hint: extra[hint] for hint in ("lines", "step", "row", "is_narrow", "suggestions") if hint in extra}
    if "suggestions" in hints:
        lists = {value: _list(one, choices) for value, one in hints["suggestions"]["lists"].items()}
        hints["suggestions"] = {**hints["suggestions"], "lists": lists}
    default = field.get_default(call_default_factory=True)
    return {
        "name": name,
        "label": field.title or name.replace("_", " ").capitalize(),
        "kind": kind,
        "default": list(default) if isinstance(default, tuple) else default,
        "minimum": bounds.get("ge"),
        "maximum": bounds.get("le"),
        "choices": _list(offered, choices),
        **hints,
    }


def _list(given: str | Iterable[str], choices: Choices) -> list[str]:
    return choices(given) if isinstance(given, str) else list(given)


def _literals(annotation: Any) -> tuple[str, ...]:
    """What a Literal, or each member of a tuple of them, can be."""
    inner = typing.get_args(annotation)[0] if typing.get_origin(annotation) is tuple else annotation
    return typing.get_args(inner) if _is_choice(inner) else ()


def _is_choice(annotation: Any) -> bool:
    return typing.get_origin(annotation) is Literal


def _kind(annotation: Any) -> str | None:
    kinds = {bool: "bool", int: "int", float: "float", str: "str"}
    if _is_choice(annotation):
        return "str"
    if typing.get_origin(annotation) is tuple:
        return "list"
    if annotation in kinds:
        return kinds[annotation]
    inner = [kinds[one] for one in typing.get_args(annotation) if one in kinds]
    return "str" if "str" in inner else inner[-1] if inner else None
