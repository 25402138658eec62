"""The source of img2img and inpainting: the picture, how it is fitted, and what inpainting does with the mask."""

from __future__ import annotations

import gradio as gr

from modules.ui.page import QUIET, Form
from modules.ui.parts.batch import draw_batch
from modules.ui.parts.generation import from_to

MODES = {"img2img": ("img2img", "sketch"), "inpaint": ("inpaint", "inpaint_sketch", "inpaint_upload")}
"""What a tab's picture can be used for (`assets/js/editor/modes.js`): A1111's tabs inside img2img."""


def source(form: Form) -> None:
    """The picture, with the editor for what is painted over it."""
    draw_batch(form)
    form.add("source.picture", modes=MODES[form.tab])


def wire_area(form: Form) -> None:
    """Have the editor draw what "Only masked" repaints again when a control that it depends on changes."""
    paths = (
        "source.inpaint.blur", "source.inpaint.transparency", "source.inpaint.mode", "source.inpaint.area",
        "source.inpaint.padding", "source.scale_on", "source.scale", "size.width", "size.height",
    )  # fmt: skip
    gr.on(
        [form[path].change for path in paths], None, None, None, **QUIET,
        js=f"() => window.webui.pictures.get('{form['source.picture'].elem_id}')?.area.soon()",
    )  # fmt: skip


def resize(form: Form) -> None:
    """Resize mode, and the factor that replaces width and height while it is switched on."""
    form.add("source.resize_mode")
    with gr.Row(elem_classes="webui-row"):
        switch = form.add("source.scale_on", container=False, scale=0, min_width=110)
        scale = form.add("source.scale", visible=False, min_width=140)
        from_to(f"{form.tab}_scale_size")
    switch.change(
        lambda on: gr.update(visible=bool(on)), switch, scale, **QUIET,
    )  # fmt: skip
    gr.on(
        [switch.change, scale.change, form["source.picture"].change], None, [switch, scale], None, **QUIET,
        js=f"(...values) => window.webui.showScaled('{form.tab}', ...values)",
    )  # fmt: skip


def inpainting(form: Form) -> None:
    """Blur, transparency (of a sketch), mask mode, masked content, area and padding."""
    with gr.Row(elem_classes="webui-row"):
        form.add("source.inpaint.blur", min_width=140)
        form.add("source.inpaint.padding", min_width=140)
    form.add("source.inpaint.transparency")  # editor.css shows it for "Inpaint sketch" alone, as in A1111
    with gr.Row(elem_classes="webui-row"):
        form.add("source.inpaint.mode", min_width=150)
        form.add("source.inpaint.area", min_width=150)
    form.add("source.inpaint.content")
