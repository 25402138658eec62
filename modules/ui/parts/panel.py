"""The live panel of a generation tab: preview, results, infotext and steering, driven by `assets/js/panel.js`.

Python only tells it which job was submitted or which jobs to show again; everything else it reads from the routes of
`modules/api/jobs.py`, so a reload finds the running job where it was.
"""

from __future__ import annotations

import gradio as gr


def live_panel(tab: str) -> gr.HTML:
    """The panel; its value is `{"jobs": [ids, newest last], "error": text | None, "serial": n}`."""
    return gr.HTML(
        {"jobs": [], "error": None, "serial": 0},
        elem_id=f"{tab}_results",
        elem_classes="webui-panel-host",
        html_template="<div class='webui-panel'></div>",
        js_on_load=(
            f"window.webuiReady.then((webui) => webui.attachPanel({{tab: '{tab}', element, props, watch, trigger}}));"
            "['send', 'hires'];"
        ),
        apply_default_css=False,
    )
