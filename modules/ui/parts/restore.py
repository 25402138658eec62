"""Drafts: every value of the page is kept on the server while it is edited, and put back when the page opens."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.ui.controls import SHARED
from modules.ui.page import QUIET, Page
from modules.ui.parts.quicksettings import PREFIX, is_own_choice, key_of, settings_on_page
from modules.ui.session import session_of

JOBS_KEPT = 24  # per tab: what the live panel shows again after a reload


def wire_drafts(page: Page, blocks: gr.Blocks) -> None:
    """Save on the bridge's `draft` event, restore when the page loads."""
    drafts, services = page.services.drafts, page.services
    components = {**page.shared, **page.quick}
    for tab, form in page.forms.items():
        components |= {f"{tab}/{path}": form[path] for path in form.components if path not in SHARED}
        components |= {f"{tab}/{path}": component for path, component in form.extras.items()}
    keys = list(components)
    on_page = settings_on_page(page)

    def save(request: gr.Request, *values: Any) -> None:
        session = session_of(request)
        kept = dict(zip(keys, values, strict=True))
        unchosen = {key for key in on_page if not is_own_choice(f"{PREFIX}{key_of(key)}", kept[key], services.settings)}
        kept = {key: value for key, value in kept.items() if key not in unchosen}
        drafts.save(session.owner, session.browser, {"values": kept})

    def restore(request: gr.Request) -> list[Any]:
        session = session_of(request)
        kept = drafts.load(session.owner, session.browser)
        values = kept.get("values", {})
        fresh = {} if values else {**services.native_sizes(), **services.defaults.values()}
        settings = {key: getattr(services.settings, key_of(key)) for key in on_page}
        updates = [_shown(values.get(key, fresh.get(key, settings.get(key)))) for key in keys]
        titles, chosen = services.offered("checkpoints"), services.current_title(values.get("model.checkpoint"))
        updates[keys.index("model.checkpoint")] = gr.update(choices=titles, value=chosen)
        jobs = [{"jobs": kept.get(f"jobs.{tab}", []), "serial": 0} for tab in page.panels]
        return [*updates, *jobs]

    saved = page.bridge.draft(save, list(components.values()), None, trigger_mode="always_last", **QUIET)
    saved.then(None, None, None, js="() => window.webui.draftSaved()", **QUIET)
    blocks.load(restore, None, [*components.values(), *page.panels.values()], **QUIET)


def _shown(value: Any) -> Any:
    return gr.skip() if value is None else value
