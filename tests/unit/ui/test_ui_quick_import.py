"""Gradio's import without the typing stubs that it writes for its own developers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

_LOOK = """
import sys
from modules.ui import quick_import
quick_import.without_typing_stubs()
quick_import.without_typing_stubs()
import gradio, gradio.component_meta as meta
print(meta.create_or_modify_pyi.__module__, len([f for f in sys.meta_path if "Finder" == type(f).__name__.strip("_")]))
with gradio.Blocks() as page:
    button = gradio.Button()
    button.click(lambda: None)
print(len(page.fns))
quick_import.without_typing_stubs()
print(any(type(finder).__module__ == quick_import.__name__ for finder in sys.meta_path))
"""


def test_gradio_imported_by_us_writes_no_stubs_and_works_as_ever():
    """In a process of its own: here gradio may be loaded already. The replaced function is ours, the finder is gone."""
    said = subprocess.run([sys.executable, "-c", _LOOK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["modules.ui.quick_import", "0", "1", "False"]
