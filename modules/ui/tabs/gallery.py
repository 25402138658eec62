"""Gallery: every picture ever made or imported, with search, filters, favourites, tags and a trash.

One component, driven by assets/js/gallery.js over the routes of `modules/api/history.py`: a `gr.Gallery` would hold all
pictures in memory and copy each into Gradio's cache.
"""

from __future__ import annotations

import gradio as gr

from modules.ui.page import TABS, Page, Tab


def build(page: Page) -> None:
    """Draw the tab; its `send` event fills a generation tab, as that of the live panels does."""
    gallery = gr.HTML(
        None,
        elem_id="gallery",
        html_template="<div class='webui-gallery'></div>",
        js_on_load=("window.webuiReady.then((webui) => webui.attachGallery({element, trigger}));['send'];"),
        apply_default_css=False,
    )
    page.senders.append(gallery)


TABS.add("gallery", Tab("gallery", "Gallery", build))
