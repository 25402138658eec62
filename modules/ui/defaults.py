"""What the page shows where nobody has chosen anything: A1111's `ui-config.json`.

A1111 writes every value of its page into that file ({"txt2img/Sampling steps/value": 20}). What equals its own default
says nothing, so only the others are taken over, and only those are written; keys that mean nothing here are kept.
Values apply to a browser that has no draft yet; bounds (…/minimum, …/maximum, …/step) when the page is built.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modules.errors import SettingsError
from modules.ui.controls import CONTROLS, Control, controls_of

log = logging.getLogger(__name__)

# A1111 draws these parts by scripts of its own, which stand in its keys
_SCRIPT_OF = {"sampling.": "sampler.py", "seed.": "seed.py", "refiner.": "refiner.py"}
_NOT_BY_SCRIPT = ("sampling.cfg_scale", "sampling.image_cfg_scale")
_NOT_KEPT = ("source.picture", "overrides", "styles")


class PageDefaults:
    """The defaults of one installation, read anew each time, so that the file can be edited beside the page."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def values(self) -> dict[str, Any]:
        """Values that differ from the program's own, by tab and UI path: `{"txt2img/sampling.steps": 30}`.

        What does not fit its control is logged and left out.
        """
        kept, found = self._read(), {}
        for tab, path, control in _controls():
            value = next((kept[key] for key in keys(tab, path, "value") if key in kept), control.default)
            if value == control.default:
                continue
            if (problem := _misfit(control, value)) is not None:
                log.warning("%s: %s: %s", self.path, keys(tab, path, "value")[0], problem)
            else:
                found[f"{tab}/{path}"] = value
        return found

    def bounds(self, tab: str, path: str) -> dict[str, float]:
        """Minimum, maximum and step of a slider as the file changes them."""
        if CONTROLS[path].kind != "slider":
            return {}
        kept, found = self._read(), {}
        for name in ("minimum", "maximum", "step"):
            value = next((kept[key] for key in keys(tab, path, name) if key in kept), None)
            if _is_number(value) and value != getattr(CONTROLS[path], name):
                found[name] = value
        return found

    def changes(self, shown: Mapping[str, Any], fresh: Mapping[str, Any]) -> list[dict[str, Any]]:
        """How the values of a page differ from the defaults: rows of tab, path, label, default and value.

        `fresh` are values that a new page has without being told (the checkpoint's size); all by tab and UI path.
        """
        kept = {**fresh, **self.values()}
        rows = []
        for tab, path, control in _controls():
            name = f"{tab}/{path}"
            default, value = kept.get(name, control.default), shown.get(name)
            if value is not None and value != default and _misfit(control, value) is None:
                rows.append({"tab": tab, "path": path, "label": control.label, "default": default, "value": value})
        return rows

    def save(self, shown: Mapping[str, Any], fresh: Mapping[str, Any]) -> int:
        """Make the values of a page the defaults; returns how many are new. Raises SettingsError."""
        rows = self.changes(shown, fresh)
        try:
            content = self._content()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self.path} is broken, so nothing is written into it: {error}") from error
        for row in rows:
            names = keys(row["tab"], row["path"], "value")
            for name in names:
                content.pop(name, None)
            content[names[0]] = row["value"]
        temporary = self.path.with_name(f".{self.path.name}-{secrets.token_hex(4)}")
        try:
            temporary.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise SettingsError(f"{self.path} cannot be written: {error.strerror}") from error
        return len(rows)

    def _read(self) -> dict[str, Any]:
        """The file's content; nothing when it is broken, which is logged: the page then shows our own defaults."""
        try:
            return self._content()
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read; the page shows the program's own defaults: %s", self.path, error)
            return {}

    def _content(self) -> dict[str, Any]:
        """The file's content, {} when there is none; raises OSError, ValueError."""
        if not self.path.exists():
            return {}
        content = json.loads(self.path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError("it must be one JSON object")
        return content


def keys(tab: str, path: str, field: str) -> tuple[str, ...]:
    """A1111's keys for a control, the one that is written first.

    Inpainting is a part of A1111's img2img tab; there its values are looked for when it has none of its own.
    """
    label = CONTROLS[path].label
    script = next((file for prefix, file in _SCRIPT_OF.items() if path.startswith(prefix)), None)
    tabs = (tab, "img2img") if tab == "inpaint" else (tab,)
    plain = tuple(f"{one}/{label}/{field}" for one in tabs)
    if script is None or path in _NOT_BY_SCRIPT:
        return plain
    return (*(f"customscript/{script}/{one}/{label}/{field}" for one in tabs), *plain)


def _controls() -> Iterator[tuple[str, str, Control]]:
    for tab in ("txt2img", "img2img", "inpaint"):
        for path, control in controls_of(tab).items():
            if path in CONTROLS and path not in _NOT_KEPT:
                yield tab, path, control


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _misfit(control: Control, value: Any) -> str | None:
    """Why a value cannot be one of the control, in words; None when it can."""
    if control.kind in ("slider", "number"):
        return None if _is_number(value) else f"{value!r} is not a number"
    if control.kind in ("checkbox", "switch"):
        return None if isinstance(value, bool) else f"{value!r} is neither true nor false"
    if not isinstance(value, str):
        return f"{value!r} is not a text"
    if isinstance(control.choices, tuple) and control.choices and value not in control.choices:
        return f"{value!r} is none of {', '.join(control.choices)}"
    return None
