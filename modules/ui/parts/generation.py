"""The blocks of generation controls that txt2img, img2img and inpaint share, in A1111's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from modules.ui.controls import CONTROLS
from modules.ui.page import QUIET, Form, icon_button


def sampling(form: Form) -> None:
    """Sampling method, schedule type, steps; the method as buttons above them where the settings say so."""
    form.advice = _advice(form)
    has_list = form.services.settings.samplers_in_dropdown
    if not has_list:
        form.add("sampling.sampler", kind="radio")
    with gr.Row(elem_classes="webui-row"):
        if has_list:
            form.add("sampling.sampler", scale=2, min_width=120)
        form.add("sampling.schedule", scale=2, min_width=120)
        form.add("sampling.steps", scale=3, min_width=140)


def _advice(form: Form) -> tuple[gr.Row, gr.HTML, gr.Button]:
    """A line with values that suit a distilled checkpoint, and the button that takes them; hidden for others."""
    with gr.Row(visible=False, elem_id=f"{form.tab}_advice", elem_classes="webui-advice") as row:
        line = gr.HTML("", container=False, padding=False)
        use = gr.Button("Use", elem_classes="webui-button", size="sm", scale=0, min_width=60)
    return row, line, use


def in_order(form: Form, parts: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Draws the parts of a tab under A1111's names for them; returns what each function answered.

    Those that `ui_reorder_list` names come at their places there, the others keep theirs between them (A1111's rule).
    """
    named = {name.strip(): 2 * place + 1 for place, name in enumerate(form.services.settings.ui_reorder_list)}
    places = {name: named.get(name, 2 * place) for place, name in enumerate(parts)}
    return {name: parts[name]() for name in sorted(parts, key=places.__getitem__)}


def size(form: Form) -> gr.Button:
    """Width and height with the swap button, and the batch beside them if wanted; returns the swap button."""
    is_together = form.services.settings.dimensions_and_batch_together
    with gr.Row(elem_classes="webui-row webui-size"):
        with gr.Column(scale=4, min_width=160, elem_classes="webui-stack"):
            form.add("size.width")
            form.add("size.height")
        with gr.Column(scale=0, min_width=36, elem_classes="webui-stack"):
            swap = icon_button("swap", "Swap width and height", f"{form.tab}_res_switch_btn")
            aspect = icon_button("aspect", "Choose an aspect ratio", f"{form.tab}_aspect_btn")
            sides = [form["size.width"], form["size.height"]]
            aspect.click(
                None, sides, sides, js=f"(...sides) => window.webui.chooseAspect('{form.tab}', ...sides)", **QUIET,
            )  # fmt: skip
            if "source.picture" in form.components:
                picture = form["source.picture"].elem_id
                measure = icon_button("measure", "Take the picture's size", f"{form.tab}_detect_image_size_btn")
                measure.click(
                    None, sides, sides, **QUIET,
                    js=f"(width, height) => {{ const value = window.webui.pictures.get('{picture}')?.value;"
                    f" return window.webui.resized('{form.tab}', value?.width ?? width, value?.height ?? height); }}",
                )  # fmt: skip
        if is_together:
            with gr.Column(scale=3, min_width=140, elem_classes="webui-stack"):
                form.add("batch.count")
                form.add("batch.size")
    return swap


def batch(form: Form) -> None:
    """Batch count and size in a row of their own, where they do not stand beside width and height."""
    if not form.services.settings.dimensions_and_batch_together:
        with gr.Row(elem_classes="webui-row"):
            form.add("batch.count", min_width=140)
            form.add("batch.size", min_width=140)


@contextmanager
def folded(form: Form) -> Iterator[None]:
    """Draws what is inside into an accordion that is closed at first, where the settings say so."""
    settings = form.services.settings
    is_txt2img = form.tab == "txt2img"
    if not (settings.txt2img_settings_accordion if is_txt2img else settings.img2img_settings_accordion):
        yield
        return
    # its content is in the document all the time: what scripts look for is there
    with gr.Accordion("Generation settings", open=False, elem_id=f"{form.tab}_settings_accordion"):
        yield


def seed(form: Form) -> tuple[gr.Button, gr.Button]:
    """The seed with its extras; returns the 🎲 and ♻ buttons."""
    tab = form.tab
    with gr.Row(elem_id=f"{tab}_seed_row", elem_classes="webui-row webui-seed"):
        form.add("seed.value", scale=3, min_width=120)
        random = icon_button("dice", "Random seed", f"{tab}_random_seed")
        reuse = icon_button("reuse", "Reuse the seed of the picture on show", f"{tab}_reuse_seed")
        extra = form.add("seed.extra", container=False, scale=1, min_width=70)
    with gr.Column(visible=False, elem_id=f"{tab}_seed_extras", elem_classes="webui-sub") as extras:
        with gr.Row(elem_classes="webui-row"):
            form.add("seed.variation", scale=1, min_width=120)
            form.add("seed.variation_strength", scale=1, min_width=140)
        with gr.Row(elem_classes="webui-row"):
            form.add("seed.resize_from.width", scale=1, min_width=140)
            form.add("seed.resize_from.height", scale=1, min_width=140)
    shown_while(extra, extras)
    return random, reuse


def hires(form: Form) -> None:
    """Hires. fix: a switch that opens its controls."""
    with gr.Column(elem_id="txt2img_hr", elem_classes="webui-switchable"):
        with gr.Row(elem_classes="webui-header"):
            switch = form.add("hires.on", container=False, scale=0, min_width=90)
            from_to(f"{form.tab}_hr_size")
        with gr.Column(visible=False, elem_classes="webui-sub") as body:
            with gr.Row(elem_classes="webui-row"):
                form.add("hires.upscaler", min_width=120)
                form.add("hires.steps", min_width=140)
            with gr.Row(elem_classes="webui-row"):
                form.add("hires.denoising_strength", min_width=140)
                form.add("hires.scale", min_width=140)
            with gr.Row(elem_classes="webui-row"):
                form.add("hires.resize_width", min_width=140)
                form.add("hires.resize_height", min_width=140)
            settings = form.services.settings
            _optional_row(form, settings.hires_fix_show_sampler, "hires.checkpoint", "hires.sampler", "hires.schedule")
            _optional_row(form, settings.hires_fix_show_prompts, "hires.prompt", "hires.negative_prompt")
    shown_while(switch, body)


def wire_hires_size(form: Form) -> None:
    """Have the header of hires fix say what size comes of the controls, as A1111's does."""
    paths = ("hires.on", "size.width", "size.height", "hires.scale", "hires.resize_width", "hires.resize_height")
    controls = [form[path] for path in paths]
    gr.on(
        [control.change for control in controls], None, controls, None, **QUIET,
        js="(...values) => window.webui.showHires(...values)",
    )  # fmt: skip


def from_to(elem_id: str) -> gr.HTML:
    """Where assets/js/sizes.js writes "from 512×512 to 1024×1024"."""
    return gr.HTML(
        "", elem_id=elem_id, html_template="<output class='webui-fromto'></output>", apply_default_css=False,
        elem_classes="webui-fromto-host", container=False,
    )  # fmt: skip


def _optional_row(form: Form, is_shown: bool, *paths: str) -> None:
    """A row that a setting shows, or a value in it that is not the default (as pasted infotext brings)."""
    with gr.Row(visible=is_shown, elem_classes="webui-row") as row:
        controls = [form.add(path, min_width=120) for path in paths]
    defaults = [CONTROLS[path].default for path in paths]
    if not is_shown:
        gr.on(
            [control.change for control in controls],
            lambda *values: gr.update(visible=list(values) != defaults), controls, row, **QUIET,
        )  # fmt: skip


def refiner(form: Form) -> None:
    """Refiner: a switch that opens its controls."""
    with gr.Column(elem_id=f"{form.tab}_refiner", elem_classes="webui-switchable"):
        switch = form.add("refiner.on", container=False)
        with gr.Column(visible=False, elem_classes="webui-sub") as body, gr.Row(elem_classes="webui-row"):
            form.add("refiner.checkpoint", min_width=120)
            form.add("refiner.switch_at", min_width=140)
    shown_while(switch, body)


def overrides(form: Form) -> None:
    """Settings that a pasted infotext brought along; hidden while there are none, as in A1111."""
    box = form.add("overrides", visible=False)
    box.change(
        lambda labels: gr.update(visible=bool(labels)), box, box, **QUIET,
    )  # fmt: skip


def shown_while(switch: gr.Checkbox, body: gr.Column) -> None:
    """Show `body` while `switch` is on, however it was switched."""
    switch.change(
        lambda on: gr.update(visible=bool(on)), switch, body, **QUIET,
    )  # fmt: skip
