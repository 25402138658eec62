"""Saved states of the extensions: which there were, which were on, and at which commit; A1111's `config_states`."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.errors import InvalidRequest, WebuiError
from modules.extensions.install import go_to
from modules.extensions.loader import Extension
from modules.extensions.origin import origin_of


@dataclass(frozen=True)
class State:
    """A saved state: `extensions` by name as they are in the file."""

    file: str
    name: str
    created: float
    extensions: dict[str, dict[str, Any]]  # JSON of a file that A1111 may have written


def save(folder: Path, name: str, extensions: Iterable[Extension]) -> State:
    """Write what is there now; gives it as `states` would."""
    now = time.time()
    found = {one.name: _described(one) for one in extensions}
    safe = re.sub(r"[^\w .+-]", "", name).strip()[:60] or "Config"
    content = {"created_at": now, "name": name.strip() or "Config", "webui": {}, "extensions": found}
    folder.mkdir(parents=True, exist_ok=True)
    stem, number = f"{time.strftime('%Y_%m_%d-%H_%M_%S', time.localtime(now))}_{safe}", 1
    path = folder / f"{stem}.json"
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.json"
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=4, ensure_ascii=False), "utf-8")
    os.replace(partial, path)
    return State(path.name, content["name"], now, found)


def states(folder: Path) -> list[State]:
    """Every saved state that can be read, the newest first."""
    found = [state for path in folder.glob("*.json") if (state := _read(path)) is not None]
    return sorted(found, key=lambda state: -state.created)


def restore(folder: Path, file: str, extensions: Iterable[Extension]) -> tuple[list[str], list[str]]:
    """Bring clones to the commits of a saved state; gives the names to switch off, and what could not be done.

    Extensions that came since stay as they are. Raises InvalidRequest for a state that is not there.
    """
    state = next((one for one in states(folder) if one.file == file), None)
    if state is None:
        raise InvalidRequest(f'there is no saved state "{file}"')
    known = {one.name: one for one in extensions}
    off, problems = [], []
    for name, saved in state.extensions.items():
        extension = known.get(name)
        if extension is None:
            where = saved.get("remote") or "it was not cloned from anywhere"
            problems.append(f"{name} is not installed any more ({where})")
            continue
        if not saved.get("enabled", True):
            off.append(name)
        commit, origin = str(saved.get("commit_hash") or ""), origin_of(extension.folder)
        if commit and origin is not None and origin.commit_hash != commit:
            try:
                go_to(extension, commit)
            except WebuiError as error:
                problems.append(f"{name}: {error}")
    return off, problems


def _described(extension: Extension) -> dict[str, Any]:
    origin = origin_of(extension.folder)
    return {
        "name": extension.name,
        "path": str(extension.folder),
        "version": origin.version if origin else "",
        "is_builtin": extension.is_builtin,
        "enabled": extension.enabled,
        "remote": origin.remote if origin else None,
        "commit_hash": origin.commit_hash if origin else None,
        "commit_date": origin.commit_date if origin else None,
        "branch": origin.branch if origin else None,
        "have_info_from_repo": origin is not None,
    }


def _read(path: Path) -> State | None:
    """A saved state; None for a file that is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
        extensions = content["extensions"]
        created = float(content.get("created_at", path.stat().st_mtime))
        named = {str(name): dict(one) for name, one in extensions.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return State(path.name, str(content.get("name", path.stem)), created, named)
