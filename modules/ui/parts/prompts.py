"""The top row of a generation tab: prompts, Generate, tools and styles, where A1111 has them."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from modules.ui.controls import SOURCE_TABS
from modules.ui.page import Form, icon_button


@dataclass(frozen=True)
class TopRow:
    """The buttons that handlers are tied to."""

    generate: gr.Button
    paste: gr.Button
    clear: gr.Button
    apply_styles: gr.Button
    edit_styles: gr.Button
    interrogate: gr.Button | None = None  # where there is a source picture


def top_row(form: Form) -> TopRow:
    """Draw prompts and tools; Interrupt and Skip are plain buttons that talk to the job routes."""
    tab = form.tab
    with gr.Row(elem_id=f"{tab}_toprow", elem_classes="webui-toprow"):
        with gr.Column(scale=6, elem_classes="webui-prompts"):
            form.add("prompt", show_label=False, container=False)
            form.add("negative_prompt", show_label=False, container=False)
        with gr.Column(scale=1, min_width=300, elem_classes="webui-actions"):
            with gr.Row(elem_classes="webui-generate-row"):
                generate = gr.Button("Generate", variant="primary", elem_id=f"{tab}_generate")
                gr.HTML(
                    "",
                    elem_id=f"{tab}_steering",
                    html_template="<div class='webui-steering'></div>",
                    js_on_load=(f"window.webuiReady.then((webui) => webui.attachSteering({{tab: '{tab}', element}}));"),
                    apply_default_css=False,
                )
            with gr.Row(elem_classes="webui-tools"):
                paste = icon_button("paste", "Read generation parameters from the prompt", f"{tab}_paste")
                clear = icon_button("trash", "Clear both prompts", f"{tab}_clear_prompt")
                interrogate = None
                if tab in SOURCE_TABS:
                    is_shown = form.services.can_describe
                    interrogate = icon_button(
                        "describe", "Interrogate CLIP: describe the picture in the prompt", f"{tab}_interrogate",
                        visible=is_shown,
                    )  # fmt: skip
                apply_styles = icon_button("apply", "Write the chosen styles into the prompts", f"{tab}_style_apply")
                form.add("styles", show_label=False, container=False, scale=4, min_width=100)
                edit_styles = icon_button("style", "Edit styles", f"{tab}_style_edit")
    return TopRow(generate, paste, clear, apply_styles, edit_styles, interrogate)
