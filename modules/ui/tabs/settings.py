"""Settings: every setting of the schema, with search, reset of single fields and a view of what differs from defaults.

One component (assets/js/settings.js): 300 settings as Gradio components would triple the time to the first paint.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.errors import WebuiError
from modules.ui.page import TABS, Page, Tab
from modules.ui.services import Services
from modules.ui.session import is_administrator, session_of


def server_functions(services: Services) -> list[Any]:
    """What `server.<name>(values)` in assets/js/settings.js calls."""

    def get_settings(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        return {"sections": services.settings_sections(), "may_change": is_administrator(request)}

    def set_settings(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        if not is_administrator(request):
            return {"error": "settings are for everybody here, so only the administrator may change them"}
        try:
            return {"changed": list(services.change_settings(dict(values.get("values") or {})))}
        except WebuiError as error:
            return {"error": str(error)}

    def page_defaults(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        return {"changes": services.defaults.changes(_draft(services, request), services.native_sizes())}

    def save_defaults(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        if not is_administrator(request):
            return {"error": "defaults are for everybody here, so only the administrator may change them"}
        try:
            return {"saved": services.defaults.save(_draft(services, request), services.native_sizes())}
        except WebuiError as error:
            return {"error": str(error)}

    def forget_draft(values: dict[str, Any], request: gr.Request) -> dict[str, Any]:
        session = session_of(request)
        services.drafts.save(session.owner, session.browser, {"values": {}})
        return {}

    return [get_settings, set_settings, page_defaults, save_defaults, forget_draft]


def _draft(services: Services, request: gr.Request) -> dict[str, Any]:
    """The values on the asker's page, by tab and UI path."""
    session = session_of(request)
    return dict(services.drafts.load(session.owner, session.browser).get("values") or {})


def build(page: Page) -> None:
    """Draw the tab."""
    page.settings = gr.HTML(
        None,
        elem_id="settings",
        html_template="<div class='webui-settings-page'></div>",
        js_on_load="window.webuiReady.then((webui) => webui.attachSettings({element, server, trigger}));['saved'];",
        apply_default_css=False,
        server_functions=server_functions(page.services),
    )


TABS.add("settings", Tab("settings", "Settings", build))
