"""Settings at the top of the page, beside the checkpoint, and in the generation tabs.

`quicksettings_list` names those at the top, `extra_options_txt2img` and `extra_options_img2img` those in the tabs.

A setting that can change a picture is chosen per browser and sent with every request, like the checkpoint, so that
nobody changes another's pictures; the others are the program's, saved at once, and only the administrator may.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from modules.errors import WebuiError
from modules.settings.postprocessing import FaceRestoration
from modules.settings.saving import SavingImages
from modules.settings.schema import Settings
from modules.settings.stable_diffusion import GenerationOptions
from modules.settings.store import is_place
from modules.ui.page import QUIET, Form, Page
from modules.ui.session import is_administrator

if TYPE_CHECKING:
    from modules.ui.services import Services

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


def is_own_choice(path: str, value: Any, settings: Settings) -> bool:
    """Whether a value under a setting's UI path is a browser's own, other than the settings say."""
    key = path.removeprefix(PREFIX)
    return value is not None and is_per_browser(key) and value != getattr(settings, key)


def overrides(values: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The settings, by key, that a request takes from the page."""
    return {
        path.removeprefix(PREFIX): value
        for path, value in values.items()
        if path.startswith(PREFIX) and is_own_choice(path, value, settings)
    }


def draw_quicksettings(page: Page) -> None:
    """Draw them into `page.quick`; a key that names no setting, or a list, is left out and logged."""
    for setting in _drawable(page.services, "quicksettings_list"):
        page.quick[PREFIX + setting["key"]] = _draw(setting, f"setting_{setting['key']}", scale=0, min_width=220)


def draw_extra_options(form: Form) -> None:
    """Draw the settings of this tab, in columns and folded away as the settings say; they join `form.extras`.

    One that stands at the top of the page is not drawn again: a request could not take both.
    """
    services = form.services
    name = "extra_options_txt2img" if form.tab == "txt2img" else "extra_options_img2img"
    at_top = services.settings.quicksettings_list
    drawn = [setting for setting in _drawable(services, name) if setting["key"] not in at_top]
    if not drawn:
        return
    columns = services.settings.extra_options_cols
    is_folded = services.settings.extra_options_accordion
    fold = gr.Accordion("Options", open=False, elem_id=f"{form.tab}_extra_options") if is_folded else nullcontext()
    with fold:
        for start in range(0, len(drawn), columns):
            with gr.Row(elem_classes="webui-row"):
                for setting in drawn[start : start + columns]:
                    shown = _draw(setting, f"{form.tab}_setting_{setting['key']}", scale=1, min_width=140)
                    form.extras[PREFIX + setting["key"]] = shown


def _drawable(services: Services, name: str) -> list[dict[str, Any]]:
    """The settings that the setting `name` lists, each once; what is no setting, or a list, is left out and logged."""
    wanted = [key for key in dict.fromkeys(getattr(services.settings, name)) if key != CHECKPOINT]
    sections = services.settings_sections() if wanted else []
    known = {one["key"]: one for section in sections for one in section["settings"]}
    for key in wanted:
        if key not in known or known[key]["kind"] == "list":
            log.warning('%s: "%s" is no setting that can be shown there', name, key)
    return [known[key] for key in wanted if key in known and known[key]["kind"] != "list"]


def settings_on_page(page: Page) -> dict[str, Component]:
    """Every setting drawn at the top or in a tab: `settings.<key>`, in a tab `<tab>/settings.<key>`."""
    in_tabs = {
        f"{tab}/{path}": component
        for tab, form in page.forms.items()
        for path, component in form.extras.items()
        if path.startswith(PREFIX)
    }
    return page.quick | in_tabs


def key_of(name: str) -> str:
    """The setting's key in a name of `settings_on_page`."""
    return name.rpartition("/")[2].removeprefix(PREFIX)


def wire_quicksettings(page: Page) -> None:
    """Save what is everybody's as soon as it is changed; follow what the Settings tab saves."""
    drawn = settings_on_page(page)
    for name, component in drawn.items():
        if is_per_browser(key_of(name)):
            continue
        events = [component.release] if isinstance(component, gr.Slider) else [component.input]
        if isinstance(component, gr.Textbox | gr.Number):
            events = [component.submit, component.blur]
        for event in events:
            event(_save(page, key_of(name)), component, component, **QUIET)
    if drawn and page.settings is not None:
        page.settings.saved(_follow(page, [key_of(name) for name in drawn]), None, list(drawn.values()), **QUIET)


def _follow(page: Page, keys: list[str]) -> Any:
    def follow(event: gr.EventData) -> list[Any]:
        """What the Settings tab has just changed shows here too."""
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


def _draw(setting: dict[str, Any], elem_id: str, *, scale: int, min_width: int) -> Component:
    can_change = not setting["no_effect"] and (not setting["locked"] or is_per_browser(setting["key"]))
    common: dict[str, Any] = {
        "label": setting["label"], "value": setting["value"], "elem_id": elem_id,
        "interactive": can_change, "scale": scale, "min_width": min_width,
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
