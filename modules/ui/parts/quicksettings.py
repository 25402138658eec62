"""Settings at the top of the page, beside the checkpoint: those of `quicksettings_list`, in its order.

A setting that can change a picture is chosen per browser and sent with every request, like the checkpoint, so that
nobody changes another's pictures; the others are the program's, saved at once, and only the administrator may.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.errors import WebuiError
from modules.settings.postprocessing import FaceRestoration
from modules.settings.saving import SavingImages
from modules.settings.schema import Settings
from modules.settings.stable_diffusion import GenerationOptions
from modules.settings.store import is_place
from modules.ui.page import QUIET, Page
from modules.ui.session import is_administrator

log = logging.getLogger(__name__)

CHECKPOINT = "sd_model_checkpoint"  # drawn by parts/checkpoint.py
PREFIX = "settings."
"""UI paths of quick settings begin with it: `settings.sd_vae`."""

_PER_BROWSER = {
    key
    for section in (GenerationOptions, SavingImages, FaceRestoration)
    for key in section.model_fields
    if key != CHECKPOINT and not is_place(key)
}


def is_per_browser(key: str) -> bool:
    """Whether a setting travels with a request instead of being changed for everybody."""
    return key in _PER_BROWSER


def chosen_at_top(values: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The quick settings, by UI path, that this browser has chosen otherwise than the settings say."""
    given = {path: value for path, value in values.items() if path.startswith(PREFIX) and value is not None}
    return {
        path: value
        for path, value in given.items()
        if is_per_browser(key := path.removeprefix(PREFIX)) and value != getattr(settings, key)
    }


def overrides(values: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The settings, by key, that a request takes from the top of the page."""
    return {path.removeprefix(PREFIX): value for path, value in chosen_at_top(values, settings).items()}


def draw_quicksettings(page: Page) -> None:
    """Draw them into `page.quick`; a key that names no setting, or a list, is left out and logged."""
    wanted = [key for key in page.services.settings.quicksettings_list if key != CHECKPOINT]
    if not wanted:
        return
    known = {one["key"]: one for section in page.services.settings_sections() for one in section["settings"]}
    for key in dict.fromkeys(wanted):
        if key in known and known[key]["kind"] != "list":
            page.quick[PREFIX + key] = _draw(known[key])
        else:
            log.warning('quicksettings_list: "%s" is no setting that can be shown at the top of the page', key)


def wire_quicksettings(page: Page) -> None:
    """Save what is everybody's as soon as it is changed; follow what the Settings tab saves."""
    for path, component in page.quick.items():
        if is_per_browser(path.removeprefix(PREFIX)):
            continue
        events = [component.release] if isinstance(component, gr.Slider) else [component.input]
        if isinstance(component, gr.Textbox | gr.Number):
            events = [component.submit, component.blur]
        for event in events:
            event(_save(page, path.removeprefix(PREFIX)), component, component, **QUIET)
    if page.quick and page.settings is not None:
        page.settings.saved(_follow(page), None, list(page.quick.values()), **QUIET)


def _follow(page: Page) -> Any:
    keys = [path.removeprefix(PREFIX) for path in page.quick]

    def follow(event: gr.EventData) -> list[Any]:
        """What the Settings tab has just changed shows at the top too."""
        changed = set(event._data.get("changed") or ())
        settings = page.services.settings
        shown = [gr.update(value=getattr(settings, key)) if key in changed else gr.skip() for key in keys]
        return shown[0] if len(shown) == 1 else shown

    return follow


def _save(page: Page, key: str) -> Any:
    def save(value: Any, request: gr.Request) -> Any:
        """Answers the value that holds afterwards."""
        if is_administrator(request):
            try:
                page.services.change_settings({key: value})
            except WebuiError as error:
                gr.Warning(str(error))
        else:
            gr.Warning("settings are for everybody here, so only the administrator may change them")
        return getattr(page.services.settings, key)

    return save


def _draw(setting: dict[str, Any]) -> Component:
    common: dict[str, Any] = {
        "label": setting["label"], "value": setting["value"], "elem_id": f"setting_{setting['key']}",
        "interactive": not setting["locked"] or is_per_browser(setting["key"]), "scale": 0, "min_width": 220,
    }  # fmt: skip
    kind, low, high = setting["kind"], setting["minimum"], setting["maximum"]
    if kind == "bool":
        return gr.Checkbox(**common)
    if setting["choices"]:
        return gr.Dropdown(setting["choices"], allow_custom_value=True, **common)
    if kind in ("int", "float"):
        if low is not None and high is not None:
            return gr.Slider(low, high, step=setting["step"] or (1 if kind == "int" else 0.01), buttons=[], **common)
        return gr.Number(precision=0 if kind == "int" else None, **common)
    return gr.Textbox(max_lines=1, **common)
