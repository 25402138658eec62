"""Models: what is loaded, where, in which precision and with which attention, and why; and what files there are.

One component, driven by assets/js/models.js. Unloading concerns everybody, so only the administrator may do it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from modules.errors import WebuiError
from modules.ui.page import TABS, Page, Tab
from modules.ui.session import is_administrator

if TYPE_CHECKING:
    from modules.ui.installation import Installation

NOT_ALLOWED = "models are shared by everybody here, so only the administrator may do this"
ROWS_AT_ONCE = 100
"""Architectures asked for in one call: each reads a file's header."""


def server_functions(installation: Installation) -> list[Callable[..., dict[str, Any]]]:
    """What `server.<name>(values)` in assets/js/models.js calls."""

    def worker(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        return {"worker": installation.worker(), "may_change": is_administrator(request)}

    def files(values: dict[str, Any]) -> dict[str, Any]:
        if values.get("again"):
            installation.look_again()
        return {"checkpoints": installation.checkpoints(), "others": installation.other_files()}

    def architectures(values: dict[str, Any]) -> dict[str, Any]:
        titles = [str(title) for title in values.get("titles") or ()][:ROWS_AT_ONCE]
        return {"architectures": installation.architectures(titles)}

    def details(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        try:
            found = installation.details(str(values.get("title", "")))
        except WebuiError as error:
            return {"error": str(error)}
        # where files lie on the disk is no visitor's business
        return found if is_administrator(request) else {**found, "path": ""}

    def change(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        if not is_administrator(request):
            return {"error": NOT_ALLOWED}
        problem = installation.unload() if values.get("do") == "unload" else installation.load()
        return {"error": problem} if problem else {}

    return [worker, files, architectures, details, change]


def build(page: Page) -> None:
    """Draw the tab."""
    gr.HTML(
        None,
        elem_id="models",
        html_template="<div class='webui-models'></div>",
        js_on_load="window.webuiReady.then((webui) => webui.attachModels({element, server}));",
        apply_default_css=False,
        server_functions=server_functions(page.services.installation),
    )


TABS.add("models", Tab("models", "Models", build))
