"""Makes `import gradio` take half its time; for `server.py`, before the first import of gradio.

At every import Gradio writes typing stubs (`.pyi`) for its own components into site-packages: it parses the source of
each of some eighty classes several times and renders a template for each, a second of the two that its import takes.
That is of use to who edits components with an editor open. It also fails on a read-only environment, and two programs
that start together write the same files.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_MODULE = "gradio.component_meta"
_STUB_WRITER = "create_or_modify_pyi"


def without_typing_stubs() -> None:
    """Let Gradio, when it is imported, write no typing stubs; without effect when it is imported already."""
    if _MODULE not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds that one module as usual, and takes the writer of stubs out of it once it is loaded; then it is gone."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """The usual loader, and the writer of stubs replaced by nothing; a Gradio without that function stays as it is."""

    def __init__(self, usual: Any) -> None:
        super().__init__(usual.name, usual.path)

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if hasattr(module, _STUB_WRITER):
            setattr(module, _STUB_WRITER, lambda component_class, class_name, events: None)
