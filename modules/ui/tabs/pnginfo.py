"""PNG Info: what a picture file says about itself, and sending it on. The file's bytes are read untouched."""

from __future__ import annotations

import base64
from typing import Any

import gradio as gr

from modules.errors import WebuiError
from modules.infotext.files import read_metadata
from modules.infotext.parse import pairs, parse
from modules.ui.page import TABS, Page, Tab


def read_info(values: dict[str, Any]) -> dict[str, Any]:
    """Infotext, its parsed parts and the other texts of a picture given as base64; `{"error": words}` if it is none."""
    try:
        metadata = read_metadata(base64.b64decode(str(values.get("data", "")), validate=True))
        text = metadata.meant
        parsed = parse(text) if text else None
    except (WebuiError, ValueError) as error:
        return {"error": str(error)}
    return {
        "infotext": text,
        "program": metadata.program,
        "prompt": parsed.prompt if parsed else "",
        "negative_prompt": parsed.negative_prompt if parsed else "",
        "parameters": _parameters(text) if parsed and parsed.values else {},
        "items": metadata.items,
        "width": metadata.width,
        "height": metadata.height,
    }


def _parameters(infotext: str) -> dict[str, str]:
    """The values of the text as they are written there, in their order: a size is one value."""
    return {key: value for key, value in pairs(infotext.strip().rsplit("\n", 1)[-1]) if value}


def build(page: Page) -> None:
    """Draw the tab; everything in it is one component, driven by assets/js/pnginfo.js."""
    viewer = gr.HTML(
        None,
        elem_id="pnginfo",
        html_template="<div class='webui-pnginfo'></div>",
        js_on_load=("window.webuiReady.then((webui) => webui.attachPngInfo({element, server, trigger}));['send'];"),
        apply_default_css=False,
        server_functions=[read_info],
    )
    page.senders.append(viewer)


TABS.add("pnginfo", Tab("pnginfo", "PNG Info", build))
