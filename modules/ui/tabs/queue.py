"""Queue: every job of the asker, waiting, running and done, wherever it was asked for.

One component, driven by assets/js/queue.js over the routes of `modules/api/jobs.py` and `again.py`.
"""

from __future__ import annotations

import gradio as gr

from modules.ui.page import TABS, Page, Tab


def build(page: Page) -> None:
    """Draw the tab; its `send` event puts a job's values back into a generation tab."""
    panel = gr.HTML(
        None,
        elem_id="queue",
        html_template="<div class='webui-queue'></div>",
        js_on_load=("window.webuiReady.then((webui) => webui.attachQueue({element, trigger}));['send'];"),
        apply_default_css=False,
    )
    page.senders.append(panel)


TABS.add("queue", Tab("queue", "Queue", build))
