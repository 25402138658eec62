"""Hashes of model files, as A1111 defines them, remembered by (path, size, mtime), computed in the background.

Reading a 7 GB file takes half a minute: nothing here ever hashes unless told to, and `BackgroundHasher` does it one
file after another in a thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from modules.models import folders
from modules.models.files import ModelFile

logger = logging.getLogger(__name__)

Kind = Literal["sha256", "sha256-weights", "legacy", "metadata", "embedding"]
_BLOCK = 2**20


class FileFacts:
    """What is known about files and slow to find out, in a small SQLite database that any process may share.

    A fact belongs to a path with a size and an mtime: a file that changed has no facts. `database` None keeps them in
    memory only.
    """

    def __init__(self, database: str | Path | None = None) -> None:
        self._lock = threading.Lock()
        if database is not None:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(database or ":memory:", check_same_thread=False, timeout=30)
        with self._lock, self._connection as connection:
            if database is not None:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS facts "
                "(kind TEXT, path TEXT, size INTEGER, mtime INTEGER, value TEXT, PRIMARY KEY (kind, path))"
            )
            rows = connection.execute("SELECT kind, path, size, mtime, value FROM facts").fetchall()
        self._known = {(kind, path): (size, mtime, value) for kind, path, size, mtime, value in rows}

    def get(self, kind: Kind, path: str | Path, size: int, mtime_ns: int) -> str | None:
        """The fact about the file as it is now, or None."""
        known = self._known.get((kind, str(path)))
        return known[2] if known and known[:2] == (size, mtime_ns) else None

    def reread(self, kind: Kind) -> None:
        """Take up the facts of a kind that other processes have found out since."""
        with self._lock:
            rows = self._connection.execute("SELECT path, size, mtime, value FROM facts WHERE kind = ?", [kind])
            self._known |= {(kind, path): (size, mtime, value) for path, size, mtime, value in rows.fetchall()}

    def put(self, kind: Kind, path: str | Path, size: int, mtime_ns: int, value: str) -> None:
        """Remember a fact, in place of an older one about the same file."""
        self.put_many(kind, [(str(path), size, mtime_ns, value)])

    def put_many(self, kind: Kind, rows: Iterable[tuple[str, int, int, str]]) -> None:
        """Remember facts (path, size, mtime_ns, value) in one transaction; on a full disk until the program ends."""
        rows = list(rows)
        self._known |= {(kind, path): (size, mtime, value) for path, size, mtime, value in rows}
        try:
            with self._lock, self._connection as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)", [(kind, *row) for row in rows]
                )
        except sqlite3.OperationalError as error:
            logger.warning("what was found out about model files will be found out again: %s", error)

    def computed(self, kind: Kind, path: str | Path, compute: Callable[[Path], str]) -> str:
        """The fact, found out now and remembered if it is not known; raises OSError when the file cannot be read."""
        path = Path(path)
        size, mtime_ns = folders.stamp(path)
        if (known := self.get(kind, path, size, mtime_ns)) is not None:
            return known
        value = compute(path)
        self.put(kind, path, size, mtime_ns, value)
        return value

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def sha256(path: str | Path) -> str:
    """The file's sha256; its first ten digits are A1111's short hash (AutoV2).

    A folder's is that of its UNet's weights; where these are several files, the sha256 of their sha256s in a row.
    """
    digests = [_sha256_from(file, 0) for file in folders.hashed_files(path)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def sha256_weights(path: str | Path) -> str:
    """The sha256 of what follows a safetensors header, of other files of everything; its first 12 digits are AutoV3."""
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(8)
    offset = 0
    if path.suffix.lower() == ".safetensors" and len(start) == 8:
        offset = 8 + struct.unpack("<Q", start)[0]
    return _sha256_from(path, offset)


def legacy_hash(path: str | Path) -> str:
    """A1111's first hash: eight digits from 64 KB at offset 1 MB; files that are shorter hash what is there.

    A folder's is that of the first file of its UNet.
    """
    with folders.hashed_files(path)[0].open("rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def network_hash(path: str | Path, metadata: dict[str, str], facts: FileFacts) -> str:
    """The twelve digits that infotext shows for a LoRA: the trainer's own hash if stored, else AutoV3."""
    if stored := metadata.get("sshs_model_hash"):
        return stored[:12]
    return facts.computed("sha256-weights", path, sha256_weights)[:12]


def known_network_hash(file: ModelFile, metadata: dict[str, str], facts: FileFacts) -> str | None:
    """`network_hash` as far as it is known without reading the file."""
    stored = metadata.get("sshs_model_hash") or facts.get("sha256-weights", file.path, file.size, file.mtime_ns)
    return stored[:12] if stored else None


class BackgroundHasher:
    """A daemon thread that hashes files one after another; `hash_soon` never waits."""

    def __init__(self, facts: FileFacts, on_hashed: Callable[[Path, str], None] | None = None) -> None:
        self._facts = facts
        self._on_hashed = on_hashed
        self._queue: queue.Queue[Path | None] = queue.Queue()
        self._waiting: set[Path] = set()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def hash_soon(self, path: str | Path) -> None:
        """Queue a file for its sha256, once; starts the thread when it is the first."""
        path = Path(path)
        if self._closed.is_set() or path in self._waiting:
            return
        self._waiting.add(path)
        self._queue.put(path)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="model hashes", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Return when everything queued so far is hashed."""
        self._queue.join()

    def close(self) -> None:
        """Stop after the file in hand."""
        self._closed.set()
        self._queue.put(None)

    def _work(self) -> None:
        while (path := self._queue.get()) is not None and not self._closed.is_set():
            try:
                digest = self._facts.computed("sha256", path, sha256)
                if self._on_hashed:
                    self._on_hashed(path, digest)
            except OSError as error:
                logger.warning("cannot hash %s: %s", path, error)
            finally:
                self._waiting.discard(path)
                self._queue.task_done()


def stored_metadata(value: str) -> dict[str, str]:
    """A "metadata" fact as a dictionary."""
    return json.loads(value)


def _sha256_from(path: str | Path, offset: int) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        file.seek(offset)
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
