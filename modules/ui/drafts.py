"""What a person was in the middle of: every value of the page, and the pictures they loaded, per owner and browser.

SQLite beside the queue, so a reload, a closed tab or a crash of browser or server loses nothing. Pictures are kept by
the hash of their bytes, per owner: nobody reads another's by knowing a hash.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from modules.errors import InvalidImage
from modules.images.data import ImageData

_SCHEMA = """
CREATE TABLE IF NOT EXISTS drafts (
    owner TEXT NOT NULL, browser TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, updated REAL NOT NULL,
    PRIMARY KEY (owner, browser, key));
CREATE TABLE IF NOT EXISTS pictures (
    owner TEXT NOT NULL, sha256 TEXT NOT NULL, content BLOB NOT NULL, used REAL NOT NULL,
    PRIMARY KEY (owner, sha256));
"""

PICTURE_BYTES_PER_OWNER = 2 * 1024**3
"""Beyond this the pictures unused for longest are dropped."""


class DraftStore:
    """Drafts by (owner, browser, key) and pictures by (owner, sha256). Threads may share one store."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        with closing(self._connect()) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executescript(_SCHEMA)

    def load(self, owner: str, browser: str) -> dict[str, Any]:
        """Everything drafted in this browser, by key; empty for a new one."""
        with closing(self._connect()) as database:
            rows = database.execute("SELECT key, value FROM drafts WHERE owner=? AND browser=?", (owner, browser))
            return {key: json.loads(value) for key, value in rows}

    def save(self, owner: str, browser: str, values: Mapping[str, Any]) -> None:
        """Keep these keys' values; other keys stay as they are."""
        now = time.time()
        rows = [(owner, browser, key, json.dumps(value), now) for key, value in values.items()]
        with self._lock, closing(self._connect()) as database, database:
            database.executemany("INSERT OR REPLACE INTO drafts VALUES (?,?,?,?,?)", rows)

    def append(self, owner: str, browser: str, key: str, item: Any, *, keep: int) -> None:
        """Put an item at the end of a key's list and forget all but the last `keep`."""
        with self._lock, closing(self._connect()) as database, database:
            row = database.execute(
                "SELECT value FROM drafts WHERE owner=? AND browser=? AND key=?", (owner, browser, key)
            ).fetchone()
            items = [*(json.loads(row[0]) if row else []), item][-keep:]
            row = (owner, browser, key, json.dumps(items), time.time())
            database.execute("INSERT OR REPLACE INTO drafts VALUES (?,?,?,?,?)", row)

    def put_picture(self, owner: str, content: bytes) -> str:
        """Keep a picture's bytes untouched and return their sha256; raises InvalidImage for what is not a picture."""
        _ = ImageData(content).size  # reads the header: a bomb or a text file ends here
        digest = hashlib.sha256(content).hexdigest()
        with self._lock, closing(self._connect()) as database, database:
            database.execute("INSERT OR REPLACE INTO pictures VALUES (?,?,?,?)", (owner, digest, content, time.time()))
            self._prune(database, owner)
        return digest

    def picture(self, owner: str, digest: str) -> ImageData:
        """A picture kept before; raises InvalidImage when there is none (or it is somebody else's)."""
        with self._lock, closing(self._connect()) as database, database:
            found = database.execute("SELECT content FROM pictures WHERE owner=? AND sha256=?", (owner, digest))
            row = found.fetchone()
            if row is None:
                raise InvalidImage("the picture is no longer kept on the server; load it again")
            database.execute("UPDATE pictures SET used=? WHERE owner=? AND sha256=?", (time.time(), owner, digest))
        return ImageData(row[0])

    def _prune(self, database: sqlite3.Connection, owner: str) -> None:
        rows = database.execute(
            "SELECT sha256, length(content) FROM pictures WHERE owner=? ORDER BY used DESC", (owner,)
        ).fetchall()
        total = 0
        for digest, size in rows:
            total += size
            if total > PICTURE_BYTES_PER_OWNER:
                database.execute("DELETE FROM pictures WHERE owner=? AND sha256=?", (owner, digest))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10)
