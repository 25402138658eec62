"""What img2img and inpaint have in common: a source picture beside the result, controls below."""

from __future__ import annotations

import gradio as gr

from modules.ui.page import Page
from modules.ui.parts import generation, source
from modules.ui.parts.cards import draw_cards
from modules.ui.parts.checkpoint import GUIDANCE
from modules.ui.parts.panel import live_panel
from modules.ui.parts.prompts import top_row
from modules.ui.parts.scripts import draw_scripts
from modules.ui.wiring import wire_generation


def build_source_tab(page: Page, tab: str) -> None:
    """Draw "img2img" or "inpaint"."""
    form = page.form(tab)
    title = page.services.default_checkpoint()
    buttons = top_row(form)
    draw_cards(page, form)
    with gr.Row(elem_classes="webui-work"):
        with gr.Column(scale=5, min_width=320, elem_classes="webui-settings"):
            source.source(form)
            if tab == "inpaint":
                source.inpainting(form)
            with generation.folded(form):
                source.resize(form)
                generation.sampling(form)
                generation.refiner(form)
                swap = generation.size_and_batch(form)
                with gr.Row(elem_classes="webui-row"):
                    form.add("sampling.cfg_scale", min_width=140)
                    form.add(GUIDANCE, min_width=140, visible=page.services.takes_image_guidance(title))
                    form.add("source.denoising_strength", min_width=140)
                random_seed, reuse_seed = generation.seed(form)
                generation.overrides(form)
                draw_scripts(form)
        with gr.Column(scale=5, min_width=320, elem_classes="webui-output"):
            page.panels[tab] = live_panel(tab)
    if tab == "inpaint":
        source.wire_area(form)
    wire_generation(page, form, buttons, swap=swap, random_seed=random_seed, reuse_seed=reuse_seed)
