"""Translations of the page, as A1111 keeps them: `localizations/<name>.json`, `{"English text": "translation"}`.

Files of the same name join, later folders over earlier ones, so that an extension adds the words of its own controls.
The browser does the rest (`assets/js/localization.js`). In a key "{n}" stands for a number and "{}" for a name, in
their order. A key `"rtl": true` says that the language runs right to left.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

NONE = "None"
"""What the setting `localization` says for the page's own English."""


class Localizations:
    """The languages found in some folders; read anew each time, so that a file can be edited beside the page."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(dict.fromkeys(folders))

    def names(self) -> tuple[str, ...]:
        """The languages there are, by file name."""
        found = {file.stem for folder in self._folders for file in folder.glob("*.json")}
        return tuple(sorted(found, key=str.casefold))

    def table(self, name: str) -> dict[str, str | bool]:
        """The translations of a language; empty for "None" and for one whose files are gone or broken.

        A broken file is logged and left out: the page then shows English, which is better than no page.
        """
        if name == NONE:
            return {}
        table: dict[str, str | bool] = {}
        for folder in self._folders:
            for file in folder.glob("*.json"):
                if file.stem == name:
                    table |= _read(file)
        if not table:
            log.warning('no localization named "%s"; there are: %s', name, ", ".join(self.names()) or "none")
        return table


def _read(file: Path) -> dict[str, str | bool]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        log.warning("the localization %s cannot be read and is left out: %s", file, error)
        return {}
    if not isinstance(content, dict):
        log.warning("the localization %s is left out: it must be one JSON object of texts", file)
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str) or key == "rtl"}
