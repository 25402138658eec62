"""SQLite files that outlive the program, looked at before they are used: a damaged one is moved aside, not deleted."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from modules.errors import SettingsError

log = logging.getLogger(__name__)

_WAIT_S = 20.0
_SMALL_BYTES = 32 << 20
_BESIDE = ("-wal", "-shm")  # what SQLite keeps beside a file that is in use


def move_aside_if_damaged(path: Path, *, holds: str, then: str) -> bool:
    """Whether the file at `path` was damaged and is now called `<name>.broken-<time>`; the log says so.

    `holds` is what it holds and `then` what becomes of that, for the message. A small file, and one that was not closed
    in order (the program was killed, the power went), is read as a whole; of another one the first page.

    Raises SettingsError for a sound file that cannot be used: locked, in a folder that cannot be written.
    """
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_S)) as database:
            was_open = path.with_name(path.name + "-wal").exists()
            database.execute("PRAGMA schema_version").fetchone()
            is_read = was_open or path.stat().st_size < _SMALL_BYTES
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone() if is_read else ("ok",)
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        raise SettingsError(f"{path}, which holds {holds}, cannot be used: {error}{_hint(error)}") from error
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict == "ok":
        return False
    moved = f"{path.name}.broken-{time.strftime('%Y%m%d%H%M%S')}"
    for suffix in ("", *_BESIDE):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.replace(path.with_name(moved + suffix))
    log.error("%s, which holds %s, was damaged (%s) and is called %s now; %s", path, holds, verdict, moved, then)
    return True


def _hint(error: sqlite3.OperationalError) -> str:
    text = str(error)
    if "locked" in text:
        return "; another program has it open for writing, end that one"
    if "readonly" in text or "unable to open" in text:
        return "; the data folder must be writable, choose another with --data-dir"
    if "full" in text:
        return "; free some space"
    return ""
