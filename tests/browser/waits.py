"""Conditions that tests wait for, in place of times that a busy machine would not keep."""

from __future__ import annotations


def wait_until_kept(page) -> None:
    """Until the server has the newest draft: half a second after the last change, and however long that takes it."""
    page.wait_for_function("() => window.webui.isDraftKept()")
