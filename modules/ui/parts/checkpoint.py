"""The checkpoint above the tabs: chosen per browser and sent with every request, so nobody switches another's."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component

from modules.planning.distillations import Suggestion
from modules.ui.page import QUIET, Page, icon_button

SUGGESTED = ("sampling.sampler", "sampling.schedule", "sampling.steps", "sampling.cfg_scale")
"""The fields that "Use" beside the advice for a distilled checkpoint sets."""

USUAL_SIDES = (512, 768, 1024)
GUIDANCE = "sampling.image_cfg_scale"
"""Shown while an InstructPix2Pix checkpoint is chosen, for no other reads it."""


def draw_checkpoint(page: Page) -> None:
    """The drop-down with its refresh button."""
    page.draw_shared("model.checkpoint", value=page.services.default_checkpoint(), scale=0, min_width=320)
    refresh = icon_button("refresh", "Look for new models", "refresh_sd_model_checkpoint")

    def look_again(chosen: str | None) -> Any:
        page.services.refresh_models()
        return gr.update(choices=page.services.offered("checkpoints"), value=page.services.current_title(chosen))

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
        return [gr.update(choices=page.services.offered("checkpoints"), value=title), *follow(title or "", *sizes)]

    def guided(title: str | None) -> Any:
        is_shown = page.services.takes_image_guidance(page.services.current_title(title))
        shown = [gr.update(visible=is_shown) for _ in guidances]
        return shown[0] if len(shown) == 1 else shown

    box = page.shared["model.checkpoint"]
    _wire_advice(page, box)
    guidances = [form[GUIDANCE] for form in page.forms.values() if GUIDANCE in form.components]
    if guidances:
        box.change(guided, box, guidances, **QUIET)
    box.input(follow, [box, *sides], sides, **QUIET)
    for chooser in page.choosers:
        chooser.checkpoint(choose, sides, [box, *sides], **QUIET)


def _wire_advice(page: Page, box: Component) -> None:
    """Each form's line of advice follows the checkpoint; "Use" sets the form's fields, and the line goes."""
    services = page.services

    def suggested(title: str | None) -> tuple[str, Suggestion] | None:
        return services.suggestion(services.current_title(title))

    def show(title: str | None) -> list[Any]:
        found = suggested(title)
        return [gr.update(visible=found is not None), _told(*found) if found is not None else ""]

    def take(title: str | None) -> list[Any]:
        found = suggested(title)
        values = [gr.skip() for _ in SUGGESTED]
        if found is not None:
            _, suits = found
            values = [suits.sampler, suits.schedule, suits.steps, suits.cfg_scale]
        return [gr.update(visible=False), *values]

    at_first = suggested(services.default_checkpoint())
    for form in page.forms.values():
        if form.advice is None:
            continue
        row, line, use = form.advice
        box.change(show, box, [row, line], **QUIET)
        use.click(take, box, [row, *(form[path] for path in SUGGESTED)], **QUIET)
        if at_first is not None:
            row.visible, line.value = True, _told(*at_first)


def _told(kind: str, values: Suggestion) -> str:
    schedule = "" if values.schedule == "Automatic" else f", {values.schedule}"
    return f"{kind} model by its name: {values.steps} steps, CFG scale {values.cfg_scale:g}, {values.sampler}{schedule}"
