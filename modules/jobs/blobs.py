"""Large images of queued plans and of unsaved results, kept as files under the hash of their content.

A plan's JSON in the queue holds `blob:<sha256>` where an image was, so that a row stays small and the same source
picture used in ten jobs is stored once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from modules.images.data import ImageData

_MARK = "blob:"
_ESCAPED = "blob::"  # a text (a prompt, say) that itself begins with the mark
_REFERENCE = re.compile(r"blob:([0-9a-f]{64})")


class BlobStore:
    """A folder of files named by their sha256. Writing the same content twice is one file; readers never see half."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes) -> str:
        """Keep `content` and return its sha256; raises OSError when the disk is full."""
        digest = hashlib.sha256(content).hexdigest()
        target = self._path(digest)
        if target.exists():
            target.touch()  # young again, so that a running `sweep` does not take it from under a new job
            return digest
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{digest[:8]}-{secrets.token_hex(4)}")
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return digest

    def get(self, digest: str) -> bytes:
        """The content; raises FileNotFoundError when it was swept."""
        return self._path(digest).read_bytes()

    def folder_of(self, digest: str) -> Path:
        """The folder that holds a blob's file."""
        return self._path(digest).parent

    def sweep(self, keep: Iterable[str], *, younger_than: float) -> int:
        """Delete every blob not in `keep` that was put before `younger_than` (seconds since 1970); returns how many."""
        kept = set(keep)
        swept = 0
        for path in self.folder.glob("??/*"):
            if path.name not in kept and path.stat().st_mtime < younger_than:
                path.unlink(missing_ok=True)
                swept += 1
        return swept

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest


def pack(value: BaseModel, blobs: BlobStore) -> tuple[str, frozenset[str]]:
    """JSON text of `value` with its images moved to `blobs`, and the hashes of those images."""
    used: set[str] = set()

    def replace(item: Any) -> Any:
        if isinstance(item, ImageData):
            digest = blobs.put(item.content)
            used.add(digest)
            return _MARK + digest
        if isinstance(item, str) and item.startswith(_MARK):
            return _ESCAPED + item[len(_MARK) :]
        if isinstance(item, dict):
            return {key: replace(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [replace(inner) for inner in item]
        return item

    return json.dumps(replace(value.model_dump()), ensure_ascii=False), frozenset(used)


def unpack(text: str, blobs: BlobStore) -> Any:
    """The JSON value of `pack`'s text, with ImageData where the images were; raises FileNotFoundError."""

    def restore(item: Any) -> Any:
        if isinstance(item, str):
            if item.startswith(_ESCAPED):
                return _MARK + item[len(_ESCAPED) :]
            match = _REFERENCE.fullmatch(item)
            return ImageData(blobs.get(match[1])) if match else item
        if isinstance(item, dict):
            return {key: restore(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [restore(inner) for inner in item]
        return item

    return restore(json.loads(text))
