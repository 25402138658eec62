"""The checkpoint above the tabs: chosen per browser and sent with every request, so nobody switches another's."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.ui.page import QUIET, Page, icon_button

USUAL_SIDES = (512, 768, 1024)
GUIDANCE = "sampling.image_cfg_scale"
"""Shown while an InstructPix2Pix checkpoint is chosen, for no other reads it."""


def draw_checkpoint(page: Page) -> None:
    """The drop-down with its refresh button."""
    page.draw_shared("model.checkpoint", value=page.services.default_checkpoint(), scale=0, min_width=320)
    refresh = icon_button("refresh", "Look for new models", "refresh_sd_model_checkpoint")

    def look_again(chosen: str | None) -> Any:
        page.services.refresh_models()
        return gr.update(choices=page.services.choices("checkpoints"), value=page.services.current_title(chosen))

    refresh.click(look_again, page.shared["model.checkpoint"], page.shared["model.checkpoint"], **QUIET)


def wire_checkpoint(page: Page) -> None:
    """Width and height follow the checkpoint's native size wherever nobody has chosen another size."""
    sides = [form[f"size.{name}"] for form in page.forms.values() for name in ("width", "height")]

    def follow(title: str, *sizes: int) -> list[Any]:
        services = page.services
        native = services.native_size(services.current_title(title))
        untouched = {*USUAL_SIDES, services.native_size(services.default_checkpoint())}
        pairs = [sizes[k : k + 2] for k in range(0, len(sizes), 2)]
        follows = [native is not None and width == height and width in untouched for width, height in pairs]
        return [native if one else gr.skip() for one in follows for _ in range(2)]

    def choose(event: gr.EventData, *sizes: int) -> list[Any]:
        title = page.services.current_title(str(event._data.get("title", "")))
        return [gr.update(choices=page.services.choices("checkpoints"), value=title), *follow(title or "", *sizes)]

    def guided(title: str | None) -> Any:
        is_shown = page.services.takes_image_guidance(page.services.current_title(title))
        shown = [gr.update(visible=is_shown) for _ in guidances]
        return shown[0] if len(shown) == 1 else shown

    box = page.shared["model.checkpoint"]
    guidances = [form[GUIDANCE] for form in page.forms.values() if GUIDANCE in form.components]
    if guidances:
        box.change(guided, box, guidances, **QUIET)
    box.input(follow, [box, *sides], sides, **QUIET)
    for chooser in page.choosers:
        chooser.checkpoint(choose, sides, [box, *sides], **QUIET)
