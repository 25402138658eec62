"""A source picture and what is painted over it: one component, drawn and driven by `assets/js/editor/`.

Its value is small, because it travels with every draft: `{"image": sha256 | None, "mask": sha256 | None, "sketch":
sha256 | None, "mode", "width", "height"}`. The mask is a grey picture (white is repainted), the sketch an RGBA picture
laid over the source; `mode` is one of the editor's `modes.js` and says which of them count. The bytes, and the strokes
that are the layers' document, are kept by the draft store under those hashes.

Why not `gr.ImageEditor`: probed in Chromium with Gradio 6.31 and a 1536x1024 picture, its layer had the picture's
size, but Ctrl+Z did nothing and a reload lost picture and mask; it hands over pixels and no strokes, and keeps them in
a dictionary that all sessions share. With 4096x3072 the probe had no answer within a minute. None of this can be mended
from outside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import gradio as gr


def picture_input(elem_id: str, *, modes: Sequence[str] = ("img2img",)) -> gr.HTML:
    """Load by click, drop or paste, and paint as the modes say; the first is the one to begin with."""
    return gr.HTML(
        None,
        elem_id=elem_id,
        html_template="<div class='webui-picture'></div>",
        js_on_load=(
            "window.webuiReady.then((webui) => webui.attachPicture("
            f"{{name: '{elem_id}', modes: {json.dumps(list(modes))}, element, props, watch}}));"
        ),
        apply_default_css=False,
    )
