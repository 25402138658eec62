"""Extensions: which there are, what they bring, what went wrong; switching, installing, updating and removing them.

One component, driven by assets/js/extensions.js. Extensions are code, so only the administrator may switch them, and
installing has stricter rules yet (`modules/extensions/install.py`). Only a pressed button asks the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from modules.errors import WebuiError
from modules.ui.page import TABS, Page, Tab
from modules.ui.session import is_administrator, is_public

if TYPE_CHECKING:
    from modules.ui.installation import Installation

NOT_ALLOWED = "extensions are for everybody here, so only the administrator may switch them"

Answer = dict[str, Any]
Act = Callable[[dict[str, Any]], Answer]


def server_functions(installation: Installation) -> list[Callable[..., Answer]]:
    """What `server.<name>(values)` in assets/js/extensions.js calls."""

    def extensions(values: dict[str, Any], request: gr.Request) -> Answer:
        may_change = is_administrator(request)
        found = installation.extensions()
        if not may_change:  # where the program lies on the disk is no visitor's business
            found = [{**one, "folder": "", "remote": ""} for one in found]
        why_not = installation.why_not_install(is_administrator=may_change, is_public=is_public(request))
        return {
            "extensions": found,
            "new": installation.new_extensions(),
            "may_change": may_change,
            "why_not": why_not,
            "states": installation.saved_states() if may_change else [],
        }

    def switch(values: dict[str, Any], request: gr.Request) -> Answer:
        def act(values: dict[str, Any]) -> Answer:
            installation.switch_extensions([str(name) for name in values.get("off") or ()])
            return {}

        return _answered(act, values) if is_administrator(request) else {"error": NOT_ALLOWED}

    def guarded(act: Act) -> Callable[[dict[str, Any], gr.Request], Answer]:
        """`act` for who may bring code onto this machine; its errors in words."""

        def answer(values: dict[str, Any], request: gr.Request) -> Answer:
            trusted, public = is_administrator(request), is_public(request)
            why_not = installation.why_not_install(is_administrator=trusted, is_public=public)
            return {"error": why_not} if why_not else _answered(act, values)

        return answer

    def install_one(values: dict[str, Any]) -> Answer:
        asked = (str(values.get(name) or "").strip() for name in ("source", "name", "branch"))
        return {"installed": installation.install_extension(*asked)}

    def look(values: dict[str, Any]) -> Answer:
        return {"updates": installation.extension_updates()}

    def update_one(values: dict[str, Any]) -> Answer:
        return {"version": installation.update_extension(str(values.get("name")))}

    def remove_one(values: dict[str, Any]) -> Answer:
        installation.remove_extension(str(values.get("name")))
        return {}

    def save(values: dict[str, Any]) -> Answer:
        installation.save_state(str(values.get("name") or ""))
        return {}

    def restore(values: dict[str, Any]) -> Answer:
        return {"problems": installation.restore_state(str(values.get("file")))}

    made = {
        "install": install_one, "check_updates": look, "update": update_one, "remove": remove_one,
        "save_state": save, "restore_state": restore,
    }  # fmt: skip
    functions = [extensions, switch]
    for name, act in made.items():
        function = guarded(act)
        function.__name__ = name  # Gradio calls them by it
        functions.append(function)
    return functions


def _answered(act: Act, values: dict[str, Any]) -> Answer:
    try:
        return act(values)
    except WebuiError as error:
        return {"error": str(error)}


def build(page: Page) -> None:
    """Draw the tab."""
    gr.HTML(
        None,
        elem_id="extensions",
        html_template="<div class='webui-extensions'></div>",
        js_on_load="window.webuiReady.then((webui) => webui.attachExtensions({element, server}));",
        apply_default_css=False,
        server_functions=server_functions(page.services.installation),
    )


TABS.add("extensions", Tab("extensions", "Extensions", build))
