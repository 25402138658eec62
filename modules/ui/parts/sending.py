"""Infotext into fields: the paste button, and "Send to" from results and PNG Info (behaviour reference 6.7-6.9)."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.errors import WebuiError
from modules.infotext.paste import Pasted
from modules.ui.form import from_leaves, from_pasted
from modules.ui.page import QUIET, Form, Page
from modules.ui.session import session_of

SENT_BY_GALLERY = ("prompt", "negative_prompt", "sampling.steps")
"""What a picture's own "Send to" sets besides seed and size; PNG Info sends everything."""


def wire_paste(page: Page, form: Form, button: gr.Button) -> None:
    """↙: reads the infotext in the prompt box, or the last generation's when the box is empty."""

    def read(prompt: str, request: gr.Request) -> dict[Any, Any]:
        text = prompt.strip() or page.services.last_infotext(session_of(request).owner)
        if not text:
            return {form["prompt"]: gr.skip()}
        return updates(form, from_pasted(form.tab, page.services.paste(text, form.tab)))

    button.click(read, form["prompt"], list(form.components.values()), **QUIET)


def wire_sending(page: Page) -> None:
    """Every panel's `send` event fills the target tab's fields and opens it; the picture itself goes by script."""
    targets = [component for form in page.forms.values() for component in form.components.values()]
    outputs = [page.tabs, *dict.fromkeys(targets)]

    def send(event: gr.EventData) -> dict[Any, Any]:
        target = str(event._data.get("target", ""))
        if target == "extras" and target in page.panels:  # which takes the picture alone
            return {page.tabs: gr.Tabs(selected=target)}
        if target not in page.forms:
            raise gr.Error("that tab is hidden; Settings, User interface, shows it again")
        form = page.forms[target]
        return {page.tabs: gr.Tabs(selected=target), **updates(form, _sent_values(page, form, event._data))}

    for source in (*page.panels.values(), *page.senders):
        source.send(send, None, outputs, **QUIET)


def _sent_values(page: Page, form: Form, sent: dict[str, Any]) -> dict[str, Any]:
    settings = page.services.settings
    pasted: Pasted = page.services.paste(str(sent.get("infotext") or ""), form.tab)
    values = from_pasted(form.tab, pasted)
    if sent.get("everything"):
        return {**values, **from_leaves(form.tab, dict(sent.get("leaves") or {}))}
    wanted = {*SENT_BY_GALLERY, *(("seed.value",) if settings.send_seed else ())}
    values = {path: value for path, value in values.items() if path in wanted}
    if settings.send_size and form.tab != "inpaint" and sent.get("width") and sent.get("height"):
        values |= {"size.width": int(sent["width"]), "size.height": int(sent["height"])}
    return values


def updates(form: Form, values: dict[str, Any]) -> dict[Any, Any]:
    """Components with their new values, for a handler that returns a dictionary."""
    return {form[path]: value for path, value in values.items() if path in form.components} or {
        form["prompt"]: gr.skip()
    }


def wire_styles(page: Page, form: Form, button: gr.Button, edit: gr.Button) -> None:
    """📋 writes the chosen styles into both prompts and clears the choice; 🖌 opens the editor (assets/js/styles.js)."""
    boxes = [form["prompt"], form["negative_prompt"], form["styles"]]

    def apply(prompt: str, negative: str, names: list[str]) -> tuple[str, str, list[str]]:
        try:
            return (*page.services.apply_styles(names, prompt, negative), [])
        except WebuiError as error:
            raise gr.Error(str(error)) from error

    button.click(apply, boxes, boxes, **QUIET)
    edit.click(
        lambda *values: gr.update(choices=page.services.choices("styles")), boxes, form["styles"],
        js="async (prompt, negative, chosen) => { await window.webui.editStyles({prompt, negative, chosen});"
        " return [prompt, negative, chosen]; }", **QUIET,
    )  # fmt: skip
