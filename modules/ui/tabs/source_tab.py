"""What img2img and inpaint have in common: a source picture beside the result, controls below."""

from __future__ import annotations

import gradio as gr

from modules.ui.page import Form, Page
from modules.ui.parts import generation, source
from modules.ui.parts.cards import draw_cards
from modules.ui.parts.checkpoint import GUIDANCE
from modules.ui.parts.panel import live_panel
from modules.ui.parts.prompts import top_row
from modules.ui.parts.quicksettings import draw_extra_options
from modules.ui.parts.scripts import draw_scripts
from modules.ui.wiring import wire_generation


def build_source_tab(page: Page, tab: str) -> None:
    """Draw "img2img" or "inpaint"."""
    form = page.form(tab)
    settings = form.services.settings
    buttons = None if settings.compact_prompt_box else top_row(form)
    draw_cards(page, form)
    with gr.Row(elem_classes="webui-work"):
        with gr.Column(scale=5, min_width=320, elem_classes="webui-settings"):
            buttons = buttons or top_row(form)
            source.source(form)
            if tab == "inpaint":
                source.inpainting(form)
            with generation.folded(form):
                source.resize(form)
                parts = {
                    "sampler": lambda: generation.sampling(form),
                    "accordions": lambda: generation.refiner(form),
                    "dimensions": lambda: generation.size(form),
                    "batch": lambda: generation.batch(form),
                    "cfg": lambda: _strengths(form, "sampling.cfg_scale", GUIDANCE, "source.denoising_strength"),
                    "seed": lambda: generation.seed(form),
                    "override_settings": lambda: (generation.overrides(form), draw_extra_options(form)),
                    "scripts": lambda: draw_scripts(form),
                }
                if "denoising" in settings.ui_reorder_list:  # else it stands beside CFG Scale
                    parts["cfg"] = lambda: _strengths(form, "sampling.cfg_scale", GUIDANCE)
                    parts["denoising"] = lambda: _strengths(form, "source.denoising_strength")
                drawn = generation.in_order(form, parts)
        with gr.Column(scale=5, min_width=320, elem_classes="webui-output"):
            page.panels[tab] = live_panel(tab)
    if tab == "inpaint":
        source.wire_area(form)
    random_seed, reuse_seed = drawn["seed"]
    wire_generation(page, form, buttons, swap=drawn["dimensions"], random_seed=random_seed, reuse_seed=reuse_seed)


def _strengths(form: Form, *paths: str) -> None:
    """A row of sliders; that of InstructPix2Pix shows while such a checkpoint is chosen."""
    services = form.services
    with gr.Row(elem_classes="webui-row"):
        for path in paths:
            is_shown = path != GUIDANCE or services.takes_image_guidance(services.default_checkpoint())
            form.add(path, min_width=140, visible=is_shown)
