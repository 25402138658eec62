"""What a tab is handed while the page is built: services, and the components by UI path that handlers read and set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from modules.registry import Registry
from modules.ui.controls import CONTROLS, SHARED, Control, Kind, controls_of, element_id
from modules.ui.parts.picture import picture_input

if TYPE_CHECKING:
    from modules.ui.services import Services


QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""For events of the page itself: no queue, no spinner over the components, no entry in Gradio's API page."""


@dataclass
class Form:
    """The components of one generation tab, by UI path; `add` draws the control of a path where it is called."""

    tab: str
    services: Services
    components: dict[str, Component] = field(default_factory=dict)
    extras: dict[str, Component] = field(default_factory=dict)  # of scripts, outside the table: see parts/scripts.py
    advice: tuple[gr.Row, gr.HTML, gr.Button] | None = None  # what suits the checkpoint: wired by parts/checkpoint.py

    def add(self, path: str, *, kind: Kind | None = None, **changes: Any) -> Component:
        """Draw the control of `path` here, as another `kind` than the table's where one is given.

        `changes` go to the Gradio component (`scale=2`, `show_label=False`).
        """
        control = controls_of(self.tab)[path]
        control = replace(control, kind=kind or control.kind)
        bounds = self.services.defaults.bounds(self.tab, path)
        component = draw(replace(control, **bounds), element_id(self.tab, path), self.services, changes)
        self.components[path] = component
        return component

    def __getitem__(self, path: str) -> Component:
        return self.components[path]

    @property
    def missing(self) -> set[str]:
        """Paths of the table that the tab has not drawn."""
        return set(controls_of(self.tab)) - set(self.components)


@dataclass
class Page:
    """The page under construction: every component that something outside its own tab reads or sets."""

    services: Services
    forms: dict[str, Form] = field(default_factory=dict)
    shared: dict[str, Component] = field(default_factory=dict)
    panels: dict[str, gr.HTML] = field(default_factory=dict)
    senders: list[gr.HTML] = field(default_factory=list)  # besides panels: components with a `send` event
    choosers: list[gr.HTML] = field(default_factory=list)  # components with a `checkpoint` event
    quick: dict[str, Component] = field(default_factory=dict)  # settings at the top, by `settings.<key>`
    settings: gr.HTML | None = None  # the Settings tab, with a `saved` event
    tabs: gr.Tabs | None = None
    bridge: gr.HTML | None = None

    def form(self, tab: str) -> Form:
        """The (new) form of a generation tab; the quick settings above the tabs are part of every one."""
        if tab not in self.forms:
            self.forms[tab] = Form(tab, self.services, dict(self.shared))
        return self.forms[tab]

    def draw_shared(self, path: str, **changes: Any) -> Component:
        """Draw a quick setting."""
        component = draw(SHARED[path], element_id("", path), self.services, changes)
        self.shared[path] = component
        return component


@dataclass(frozen=True)
class Tab:
    """A top-level tab: `build(page)` draws it. `name` is its id in settings and links (`tab_<name>` in the DOM)."""

    name: str
    label: str
    build: Callable[[Page], None]


TABS: Registry[Tab] = Registry("tab")


def draw(control: Control, elem_id: str, services: Services, changes: dict[str, Any]) -> Component:
    """The Gradio component of a control."""
    common: dict[str, Any] = {"label": control.label, "elem_id": elem_id, "value": control.default, **changes}
    if control.kind == "text":
        return gr.Textbox(lines=control.lines, max_lines=20, placeholder=control.placeholder, **common)
    if control.kind == "slider":
        return gr.Slider(control.minimum, control.maximum, step=control.step, buttons=[], **common)
    if control.kind == "number":
        return gr.Number(precision=0, **common)
    if control.kind in ("checkbox", "switch"):
        return gr.Checkbox(**common)
    if control.kind == "picture":
        return picture_input(elem_id, **changes)
    choices = services.offered(control.choices) if isinstance(control.choices, str) else list(control.choices)
    if control.kind == "radio":
        return gr.Radio(choices, **common)
    is_multiple = control.kind == "multiselect"
    if is_multiple:
        common["value"] = list(common["value"])
    # Pasted infotext may name a model this machine does not have: keep the name, let the planner say so.
    return gr.Dropdown(choices, multiselect=is_multiple, allow_custom_value=True, filterable=True, **common)


def icon_button(icon: str, label: str, elem_id: str, *, visible: bool = True) -> gr.Button:
    """A square button with an icon of assets/icons.css; `label` is read out and shown as its tooltip."""
    classes = ["webui-tool", "wicon", f"wicon-{icon}"]
    return gr.Button(label, elem_id=elem_id, elem_classes=classes, scale=0, min_width=36, visible=visible)


def paths_in_form(form: Form) -> dict[str, Component]:
    """The components handlers read, by path, in the table's order, scripts' own after them."""
    return {path: form.components[path] for path in (*SHARED, *CONTROLS) if path in form.components} | form.extras


def values_read(page: Page, form: Form) -> dict[str, Component]:
    """All that a request is made of: the form's components and the quick settings, by path."""
    return paths_in_form(form) | page.quick
