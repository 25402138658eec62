"""img2img: a picture as the starting point."""

from __future__ import annotations

from modules.ui.page import TABS, Page, Tab
from modules.ui.tabs.source_tab import build_source_tab


def build(page: Page) -> None:
    """Draw the tab and tie Generate to the queue."""
    build_source_tab(page, "img2img")


TABS.add("img2img", Tab("img2img", "img2img", build))
