"""What lies beside a model file: preview picture, description, notes (section 11.7). No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PREVIEW_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")


def base_of(path: Path) -> str:
    """What the names of everything beside a model begin with: its path without the suffix, a folder's whole path."""
    return str(path if path.is_dir() else path.with_suffix(""))


def preview_of(path: Path) -> Path | None:
    """The first existing of `<stem>.<ext>`, `<stem>.preview.<ext>`, in A1111's order of extensions."""
    base = base_of(path)
    candidates = (Path(f"{base}{middle}{suffix}") for suffix in PREVIEW_SUFFIXES for middle in ("", ".preview"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def description_of(path: Path) -> str:
    """The text of `<stem>.txt` or `<stem>.description.txt`, overridden by the `description` of the user metadata."""
    if stated := user_metadata(path).get("description"):
        return str(stated)
    base = base_of(path)
    for candidate in (Path(f"{base}.txt"), Path(f"{base}.description.txt")):
        if candidate.is_file():
            return candidate.read_text(encoding="utf-8", errors="replace")
    return ""


def user_metadata(path: Path) -> dict[str, Any]:
    """`<stem>.json` as A1111's editor writes it (Any: whatever JSON its keys hold); empty when absent or unreadable."""
    return _json_object(Path(f"{base_of(path)}.json"))


def site_metadata(path: Path) -> dict[str, Any]:
    """`<stem>.civitai.info`, the description that download helpers save (Any: foreign JSON)."""
    return _json_object(Path(f"{base_of(path)}.civitai.info"))


def _json_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:  # a file of somebody else that happens to lie here
        return {}
    return content if isinstance(content, dict) else {}
