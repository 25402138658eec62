"""The queue's file: its tables, rows as records, and changes that are safe on the disk when they are over."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from modules.errors import SavingError, SettingsError
from modules.jobs.record import Job, JobState, Result
from modules.jobs.reserve import Reserve

_T = TypeVar("_T")

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, title TEXT NOT NULL,
    priority INTEGER NOT NULL, place REAL NOT NULL, created REAL NOT NULL, started REAL, finished REAL,
    attempts INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0, parent TEXT, retry_of TEXT,
    idempotency_key TEXT, payload TEXT NOT NULL, front TEXT, lease REAL,
    error_kind TEXT NOT NULL DEFAULT '', error_message TEXT NOT NULL DEFAULT '',
    notices TEXT NOT NULL DEFAULT '[]', summary TEXT NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_once ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (state, priority, place);
CREATE INDEX IF NOT EXISTS jobs_of_owner ON jobs (owner, created);
CREATE INDEX IF NOT EXISTS jobs_of_parent ON jobs (parent) WHERE parent IS NOT NULL;
CREATE TABLE IF NOT EXISTS results (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
    role TEXT NOT NULL, image_index INTEGER NOT NULL, seed INTEGER NOT NULL, subseed INTEGER NOT NULL,
    prompt TEXT NOT NULL, negative_prompt TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    infotext TEXT NOT NULL, shown INTEGER NOT NULL, media_type TEXT NOT NULL, path TEXT, blob TEXT,
    saving_error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS results_of_job ON results (job);
CREATE TABLE IF NOT EXISTS job_blobs (
    job TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE, blob TEXT NOT NULL, PRIMARY KEY (job, blob)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resting (
    job TEXT PRIMARY KEY REFERENCES jobs ON DELETE CASCADE, so_far TEXT NOT NULL, blobs TEXT NOT NULL,
    waits INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (
    owner TEXT PRIMARY KEY, served REAL NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0
);
"""

JOB_COLUMNS = (
    "id, owner, kind, state, title, priority, created, started, finished, attempts, held, parent, retry_of, "
    "error_kind, error_message, notices, summary"
)
RESULT_COLUMNS = (
    "id, job, role, image_index, seed, subseed, prompt, negative_prompt, width, height, infotext, shown, media_type, "
    "path, blob, saving_error"
)


class QueueDatabase:
    """One connection that writes, one that reads: whoever looks never waits until a change is safe on the disk.

    Thread-safe; several programs may have the file open. `lock` is held while anything changes.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self._writer = _connection(path)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._writer.execute(f"PRAGMA {pragma}")
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise SettingsError(f"{path} was made by a newer version ({version}); move it away to begin a new queue")
        self._writer.executescript(_SCHEMA)
        self._writer.execute(f"PRAGMA user_version = {_VERSION}")
        self._reserve = Reserve(path.with_suffix(".reserve"))
        self._reserve.hold()
        self._reader = _connection(path)
        self._reading = threading.Lock()

    def close(self) -> None:
        with self.lock, self._reading:
            self._writer.close()
            self._reader.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A change that is safe on the disk when this ends; raises SavingError when it cannot be written."""
        with self.lock:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:  # a full disk has undone it already
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise SavingError(f"the queue of jobs cannot be written: {error}; free some space") from error
                raise
            self._reserve.hold()

    def outcome(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """Write what came of work that was done, on a full disk into the room that was held back."""
        with self.lock:
            try:
                with self.writing() as database:
                    return change(database)
            except SavingError:
                if not self._reserve.give_up():
                    raise
            with self.writing() as database:
                return change(database)

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    def read_one(self, query: str, *values: Any) -> sqlite3.Row | None:
        with self._reading:
            return self._reader.execute(query, values).fetchone()


def _connection(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    database.row_factory = sqlite3.Row
    return database


def job_of(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in JOB_COLUMNS.split(", ")}
    values.update(
        state=JobState(row["state"]),
        held=bool(row["held"]),
        notices=tuple(json.loads(row["notices"])),
        summary=json.loads(row["summary"]),
    )
    return Job(**values)


def result_of(row: sqlite3.Row) -> Result:
    values = {name: row[name] for name in RESULT_COLUMNS.split(", ")}
    values["index"] = values.pop("image_index")
    values["shown"] = bool(values["shown"])
    return Result(**values)
