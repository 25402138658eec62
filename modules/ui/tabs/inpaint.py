"""inpaint: repaint what a mask covers, keep everything else byte for byte."""

from __future__ import annotations

from modules.ui.page import TABS, Page, Tab
from modules.ui.tabs.source_tab import build_source_tab


def build(page: Page) -> None:
    """Draw the tab and tie Generate to the queue."""
    build_source_tab(page, "inpaint")


TABS.add("inpaint", Tab("inpaint", "inpaint", build))
