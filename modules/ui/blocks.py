"""The page as a whole: quick settings, tabs from the registry, and the bridge to our scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from modules.ui import assets
from modules.ui.page import TABS, Page, Tab
from modules.ui.parts.bridge import bridge
from modules.ui.parts.checkpoint import draw_checkpoint, wire_checkpoint
from modules.ui.parts.quicksettings import draw_quicksettings, wire_quicksettings
from modules.ui.parts.restore import wire_drafts
from modules.ui.parts.sending import wire_sending
from modules.ui.services import Services


def build(app: Any) -> gr.Blocks:
    """The page, ready for `launch(head=assets.head(), …)`; draws every tab that is not hidden."""
    from modules.ui.tabs import builtin  # noqa: F401  registers our own tabs

    assets.serve()
    services = Services(app)
    page = Page(services)
    with gr.Blocks(title="Stable Diffusion", analytics_enabled=False, fill_width=True) as blocks:
        with gr.Row(elem_id="quicksettings", elem_classes="webui-quicksettings"):
            draw_checkpoint(page)
            draw_quicksettings(page)
        with gr.Tabs(elem_id="tabs") as page.tabs:
            for tab in shown_tabs(services.settings.ui_tab_order, services.settings.hidden_tabs):
                with gr.Tab(tab.label, id=tab.name, elem_id=f"tab_{tab.name}"):
                    tab.build(page)
        page.bridge = bridge(services)
        wire_sending(page)
        wire_checkpoint(page)
        wire_quicksettings(page)
        wire_drafts(page, blocks)
    return blocks


def shown_tabs(order: Sequence[str], hidden: Sequence[str]) -> list[Tab]:
    """The tabs to draw: those named in `order` first, the rest as registered. Names or labels, in any case.

    Settings is never hidden: it would be the only way back.
    """
    rank = {name.casefold(): place for place, name in reversed(list(enumerate(order)))}
    unwanted = {name.casefold() for name in hidden} - {"settings"}

    def names(tab: Tab) -> set[str]:
        return {tab.name.casefold(), tab.label.casefold()}

    shown = [tab for tab in TABS if not names(tab) & unwanted]
    return sorted(shown, key=lambda tab: min((rank[name] for name in names(tab) if name in rank), default=len(rank)))
