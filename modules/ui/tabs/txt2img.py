"""txt2img: pictures from words alone."""

from __future__ import annotations

import gradio as gr

from modules.ui.page import TABS, Page, Tab
from modules.ui.parts import generation
from modules.ui.parts.cards import draw_cards
from modules.ui.parts.panel import live_panel
from modules.ui.parts.prompts import top_row
from modules.ui.parts.quicksettings import draw_extra_options
from modules.ui.parts.scripts import draw_scripts
from modules.ui.wiring import wire_generation, wire_hires_of_result


def build(page: Page) -> None:
    """Draw the tab and tie Generate to the queue."""
    form = page.form("txt2img")
    is_compact = form.services.settings.compact_prompt_box
    buttons = None if is_compact else top_row(form)
    draw_cards(page, form)
    with gr.Row(elem_classes="webui-work"):
        with gr.Column(scale=4, min_width=320, elem_classes="webui-settings"):
            buttons = buttons or top_row(form)
            with generation.folded(form):
                drawn = generation.in_order(
                    form,
                    {
                        "sampler": lambda: generation.sampling(form),
                        "accordions": lambda: (generation.hires(form), generation.refiner(form)),
                        "dimensions": lambda: generation.size(form),
                        "batch": lambda: generation.batch(form),
                        "cfg": lambda: form.add("sampling.cfg_scale"),
                        "seed": lambda: generation.seed(form),
                        "override_settings": lambda: (generation.overrides(form), draw_extra_options(form)),
                        "scripts": lambda: draw_scripts(form),
                    },
                )
        with gr.Column(scale=6, min_width=320, elem_classes="webui-output"):
            page.panels["txt2img"] = live_panel("txt2img")
    generation.wire_hires_size(form)
    random_seed, reuse_seed = drawn["seed"]
    wire_generation(page, form, buttons, swap=drawn["dimensions"], random_seed=random_seed, reuse_seed=reuse_seed)
    wire_hires_of_result(page, form)


TABS.add("txt2img", Tab("txt2img", "txt2img", build))
