"""What the page's own drawing code is told about scripts, settings and tabs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import gradio as gr
import pytest

from modules.extensions.api import Arguments, Field, Script
from modules.models.catalog import Catalog
from modules.models.places import ModelFolders
from modules.settings.schema import Settings
from modules.settings.store import SettingsStore
from modules.ui.blocks import shown_tabs
from modules.ui.page import Form
from modules.ui.parts.generation import in_order
from modules.ui.parts.quicksettings import draw_extra_options, is_per_browser, key_of, overrides, settings_on_page
from modules.ui.parts.scripts import chosen, describe
from modules.ui.services import Services
from modules.ui.settings_fields import describe as describe_setting


class SpinArguments(Arguments):
    turns: int = Field(3, ge=1, le=9, title="Turns")
    way: Literal["left", "right"] = Field("left", title="Way")
    sides: tuple[Literal["left", "right"], ...] = Field(("left",), title="Sides")
    axis: int | str = Field("Seed", json_schema_extra={"choices": {"txt2img": ["Seed"], "img2img": ["Denoising"]}})
    legacy: str = Field("", json_schema_extra={"is_hidden": True})
    caption: Any = None


class Spin(Script):
    name = "Spin"
    is_selectable = True
    Args = SpinArguments


class Glow(Script):
    name = "Glow"

    class Args(Arguments):
        enabled: bool = Field(False, title="Glow")
        strength: float = Field(0.5, ge=0, le=1, title="Strength")


def test_a_script_is_described_by_its_arguments_without_hidden_ones_and_place_holders():
    described = describe(Spin(), "img2img", lambda name: {"pixel_upscalers": ["Lanczos"]}[name])
    assert [one["name"] for one in described["arguments"]] == ["turns", "way", "sides", "axis"]
    turns, way, sides, axis = described["arguments"]
    assert (turns["kind"], turns["minimum"], turns["maximum"], turns["default"]) == ("int", 1, 9, 3)
    assert way["choices"] == ["left", "right"]
    assert (sides["kind"], sides["choices"], sides["default"]) == ("list", ["left", "right"], ["left"])
    assert axis["choices"] == ["Denoising"]


@pytest.mark.parametrize(
    "value, wanted",
    [
        (None, {}),
        ({"script": "None", "arguments": {"Spin": {"turns": 5}}}, {}),
        ({"script": "Spin", "arguments": {"Spin": {"turns": 5}}}, {"Spin": {"turns": 5}}),
        ({"script": "Spin", "arguments": {}}, {"Spin": {}}),
        ({"script": "None", "arguments": {"Glow": {"strength": 1.0}}}, {}),
        ({"script": "None", "arguments": {"Glow": {"enabled": True}}}, {"Glow": {"enabled": True}}),
        ({"script": "Gone", "arguments": {"Gone": {"x": 1}}}, {}),  # of an extension that was removed meanwhile
    ],
)
def test_a_request_gets_the_selected_script_and_those_that_are_switched_on(value, wanted):
    assert chosen(value, [Spin(), Glow()]) == wanted


@pytest.mark.parametrize(
    "key, kind, minimum, choices",
    [
        ("samples_save", "bool", None, []),
        ("CLIP_stop_at_last_layers", "int", 1, []),
        ("randn_source", "str", None, ["GPU", "CPU", "NV"]),
        ("hide_samplers", "list", None, []),
        ("upscaler_for_img2img", "str", None, []),
    ],
)
def test_a_setting_is_described_by_its_type_bounds_and_choices(key, kind, minimum, choices):
    field = Settings.model_fields[key]
    described = describe_setting(key, field, field.get_default(), None, ())
    assert (described["kind"], described["minimum"], described["choices"]) == (kind, minimum, choices)


@pytest.mark.parametrize(
    "wanted, order",
    [
        ((), "sampler accordions dimensions seed scripts"),
        (("seed", "scripts"), "sampler seed accordions scripts dimensions"),  # A1111: places 1 and 3 among 0, 2, 4 …
        (("nothing of ours", " scripts "), "sampler accordions scripts dimensions seed"),
    ],
)
def test_parts_of_a_tab_stand_in_the_order_of_the_settings(wanted, order):
    form = SimpleNamespace(services=SimpleNamespace(settings=Settings(ui_reorder_list=wanted)))
    drawn = []
    parts = {
        name: lambda name=name: drawn.append(name) or name
        for name in ("sampler", "accordions", "dimensions", "seed", "scripts")
    }
    answers = in_order(form, parts)
    assert " ".join(drawn) == order and answers == {name: name for name in parts}


@pytest.mark.parametrize("is_short, shown", [(False, "sub/cat.safetensors"), (True, "cat")])
def test_checkpoints_are_offered_without_folders_if_the_settings_say_so(tmp_path, is_short, shown):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "cat.safetensors").write_bytes(b"")
    app = SimpleNamespace(
        catalog=Catalog(ModelFolders(checkpoints=(tmp_path,))),
        settings=SimpleNamespace(current=Settings(sd_checkpoint_dropdown_use_short=is_short)),
    )
    offered = [one if isinstance(one, tuple) else (one, one) for one in Services(app).offered("refiners")]
    assert offered == [("", ""), (shown, "sub/cat.safetensors")]


def test_settings_of_a_tab_are_drawn_once_and_go_by_tab(caplog):
    keys = ("sd_vae", "send_seed", "CLIP_stop_at_last_layers", "hide_samplers", "no such thing")
    store = SettingsStore(Path("config.json"), environment={})
    settings = store.current.model_copy(
        update={"extra_options_img2img": keys, "quicksettings_list": ("sd_vae",), "extra_options_accordion": True}
    )
    fields = {key: Settings.model_fields[key] for key in keys[:4]}
    sections = [{"settings": [describe_setting(key, one, one.default, None, ()) for key, one in fields.items()]}]
    services = SimpleNamespace(settings=settings, settings_sections=lambda: sections)
    page = SimpleNamespace(quick={}, forms={})
    with gr.Blocks():
        for tab in ("txt2img", "inpaint"):
            page.forms[tab] = Form(tab, services)
            draw_extra_options(page.forms[tab])
    names = ["inpaint/settings.send_seed", "inpaint/settings.CLIP_stop_at_last_layers"]
    assert list(settings_on_page(page)) == names
    assert [key_of(name) for name in names] == ["send_seed", "CLIP_stop_at_last_layers"]
    columns, fold = page.forms["inpaint"].extras["settings.send_seed"].parent.parent, gr.Accordion
    assert isinstance(columns, gr.Row) and isinstance(columns.parent, fold)
    assert '"hide_samplers"' in caplog.text and '"no such thing"' in caplog.text


def test_tabs_stand_as_the_settings_say_and_settings_cannot_be_hidden():
    from modules.ui.tabs import builtin  # noqa: F401

    names = [tab.name for tab in shown_tabs((), ())]
    assert names[:3] == ["txt2img", "img2img", "inpaint"] and names[-1] == "settings"
    reordered = [tab.name for tab in shown_tabs(("PNG Info", "inpaint"), ("img2img", "Settings"))]
    assert reordered[:2] == ["pnginfo", "inpaint"]
    assert "img2img" not in reordered and "settings" in reordered


def test_settings_at_the_top_travel_with_a_request_when_they_change_pictures_and_differ():
    values = {
        "settings.CLIP_stop_at_last_layers": 2, "settings.sd_vae": "Automatic", "settings.send_seed": False,
        "settings.eta_noise_seed_delta": None, "prompt": "a cat",
    }  # fmt: skip
    assert overrides(values, Settings()) == {"CLIP_stop_at_last_layers": 2}


def test_settings_that_say_where_files_go_are_never_a_browsers_own():
    assert not any(is_per_browser(key) for key in ("samples_filename_pattern", "outdir_samples", "localization"))
