"""The pages of extra networks below the prompts of a generation tab, where A1111 has them.

One component a tab, driven by assets/js/cards.js over the routes of `modules/api/cards.py`. What a click puts into a
prompt is done in the browser; choosing a checkpoint is the `checkpoint` event, wired by `parts/checkpoint.py`.
"""

from __future__ import annotations

import json

import gradio as gr

from modules.ui.page import Form, Page


def draw_cards(page: Page, form: Form) -> None:
    """Draw the strip "Generation, Textual Inversion, …"; the pages load when they are opened."""
    order = json.dumps(page.services.settings.ui_extra_networks_tab_reorder)
    cards = gr.HTML(
        None,
        elem_id=f"{form.tab}_extra_networks",
        html_template="<div class='webui-cards'></div>",
        js_on_load=(
            "window.webuiReady.then((webui) => webui.attachCards("
            f"{{tab: '{form.tab}', order: {order}, element, trigger}}));"
            "['checkpoint'];"
        ),
        apply_default_css=False,
    )
    page.choosers.append(cards)
