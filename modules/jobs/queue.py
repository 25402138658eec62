"""The durable job queue: SQLite in WAL mode. A job that was put is never forgotten, whatever happens to the program.

Its file is `queue_database.py`. Who runs jobs and how is not here (`runner.py`); neither is what they say while running
(`feed.py`).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from modules.errors import InvalidRequest, NotPermitted, QueueFull
from modules.jobs import front
from modules.jobs.queue_database import JOB_COLUMNS, RESULT_COLUMNS, QueueDatabase, job_of, result_of
from modules.jobs.record import Job, JobState, NewJob, Result

_READY = (
    "FROM jobs LEFT JOIN owners USING (owner) LEFT JOIN resting ON resting.job = jobs.id AND resting.waits "
    "WHERE state IN ('queued', 'running') AND (state = 'queued' OR resting.job IS NOT NULL) AND NOT held "
    "AND (parent IS NOT NULL OR resting.job IS NOT NULL OR NOT COALESCE(owners.paused, 0)) "
)  # the jobs that a worker may take: those that wait, and those that rest

LEASE_S = 60.0
"""A running job whose lease was not renewed for this long belongs to a program that is gone."""


class JobQueue:
    """Jobs, their results, and in which order they run: by priority, then owner by owner in turn, then as they came.

    A turn may be a part of a job: one that gave way *rests*. It is running as far as its owner is concerned, and goes
    on when it is claimed again, from what it had come to (`so_far`); it survives the end of the program like a waiting
    one.

    Thread-safe; several programs may share the file. `limit` bounds how many jobs may wait altogether,
    `limit_per_owner` how many of one owner.
    """

    def __init__(self, path: Path, *, limit: int = 2000, limit_per_owner: int = 500) -> None:
        self.limit, self.limit_per_owner = limit, limit_per_owner
        self._changed = threading.Condition()
        self._changes = 0
        self._front = front.name()
        self._database = QueueDatabase(path)

    def close(self) -> None:
        self._database.close()

    # ── putting and taking ──────────────────────────────────────────────────────────────────────────────────────

    def put(self, new: NewJob) -> Job:
        """Queue a job; durable when this returns.

        The same `idempotency_key` of the same owner gives the job that was put first, whatever became of it. Raises
        QueueFull, and SavingError when the disk is full.
        """
        with self._database.writing() as database:
            if new.idempotency_key is not None:
                known = database.execute(
                    f"SELECT {JOB_COLUMNS} FROM jobs WHERE owner = ? AND idempotency_key = ?",
                    (new.owner, new.idempotency_key),
                ).fetchone()
                if known:
                    return job_of(known)
            if new.parent is None:
                self._check_room(database, new.owner)
            job_id, now = secrets.token_hex(12), time.time()
            database.execute(
                "INSERT INTO jobs (id, owner, kind, state, title, priority, place, created, parent, retry_of, "
                "idempotency_key, payload) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?)",
                (job_id, new.owner, new.kind, new.title, new.priority, now, now, new.parent, new.retry_of,
                 new.idempotency_key, new.payload),
            )  # fmt: skip
            database.executemany("INSERT INTO job_blobs VALUES (?, ?)", [(job_id, blob) for blob in sorted(new.blobs)])
            job = self._get(database, job_id)
        self.wake()
        return job

    def _check_room(self, database: sqlite3.Connection, owner: str) -> None:
        waiting, own = database.execute(
            "SELECT COUNT(*), COALESCE(SUM(owner = ?), 0) FROM jobs WHERE state = 'queued' AND parent IS NULL", (owner,)
        ).fetchone()
        if waiting >= self.limit:
            raise QueueFull(f"{waiting} jobs wait already and that is the limit; try again when some are done")
        if own >= self.limit_per_owner:
            raise QueueFull(f"{own} of your jobs wait already and that is the limit; try again when some are done")

    def claim(self, kinds: tuple[str, ...]) -> Job | None:
        """Take the job that is next in turn and mark it running, or None when nothing is ready.

        What rests goes before everything else of its owner; then come children: their parent runs already and waits
        for them.
        """
        with self._database.writing() as database:
            row = database.execute(
                f"SELECT jobs.id, jobs.owner, resting.job IS NOT NULL AS rests {_READY} AND kind IN ({_marks(kinds)}) "
                "ORDER BY priority, COALESCE(owners.served, 0), resting.job IS NULL, parent IS NULL, place LIMIT 1",
                kinds,
            ).fetchone()
            if row is None:
                return None
            now = time.time()
            database.execute(
                "UPDATE jobs SET state = 'running', started = COALESCE(started, ?), attempts = attempts + ?, "
                "front = ?, lease = ? WHERE id = ?",
                (now, not row["rests"], self._front, now + LEASE_S, row["id"]),
            )
            database.execute("UPDATE resting SET waits = 0 WHERE job = ?", (row["id"],))
            database.execute(
                "INSERT INTO owners (owner, served) VALUES (?, ?) "
                "ON CONFLICT (owner) DO UPDATE SET served = excluded.served",
                (row["owner"], now),
            )
            return self._get(database, row["id"])

    def is_outranked(self, job: Job) -> bool:
        """Whether another job would be claimed before this running one, if it rested now."""
        return bool(
            self._database.read(
                f"SELECT 1 {_READY} AND kind = ? AND id != ? AND (priority < ? OR (priority = ? AND owner != ? AND "
                "COALESCE(owners.served, 0) < (SELECT served FROM owners WHERE owner = ?))) LIMIT 1",
                job.kind, job.id, job.priority, job.priority, job.owner, job.owner,
            )
        )  # fmt: skip

    def rest(self, job_id: str, so_far: str, *, blobs: frozenset[str], notices: tuple[str, ...]) -> None:
        """Put a running job down until its owner's next turn; `so_far` (JSON with `blobs`) is where it goes on."""

        def change(database: sqlite3.Connection) -> None:
            database.execute(
                "UPDATE jobs SET front = NULL, lease = NULL, notices = ? WHERE id = ?", (json.dumps(notices), job_id)
            )
            database.execute(
                "INSERT OR REPLACE INTO resting VALUES (?, ?, ?, 1)", (job_id, so_far, json.dumps(sorted(blobs)))
            )

        self._database.outcome(change)
        self.wake()

    def so_far(self, job_id: str) -> str | None:
        """What a job had come to when it was last put down; None when it never was."""
        row = self._database.read_one("SELECT so_far FROM resting WHERE job = ?", job_id)
        return row["so_far"] if row else None

    def resting(self) -> tuple[Job, ...]:
        return tuple(
            job_of(row)
            for row in self._database.read(
                f"SELECT {JOB_COLUMNS} FROM jobs WHERE id IN (SELECT job FROM resting WHERE waits) ORDER BY place"
            )
        )

    def take_resting(self, job_id: str) -> bool:
        """Keep a job that rests from being claimed, so that it can be ended; False when it does not rest."""
        with self._database.writing() as database:
            changed = database.execute("UPDATE resting SET waits = 0 WHERE job = ? AND waits", (job_id,))
            return changed.rowcount == 1

    def renew(self, job_id: str) -> None:
        """Say that the job is still being worked on."""
        with self._database.writing() as database:
            database.execute("UPDATE jobs SET lease = ? WHERE id = ?", (time.time() + LEASE_S, job_id))

    def give_back(self, job_id: str) -> None:
        """Put a claimed job back to its place: one that never started into the queue, one that goes on to rest.

        `attempts` counts it.
        """

        def change(database: sqlite3.Connection) -> None:
            rests = database.execute("UPDATE resting SET waits = 1 WHERE job = ?", (job_id,)).rowcount
            if rests:
                database.execute(
                    "UPDATE jobs SET attempts = attempts + 1, front = NULL, lease = NULL WHERE id = ?", (job_id,)
                )
                return
            database.execute(
                "UPDATE jobs SET state = 'queued', started = NULL, front = NULL, lease = NULL "
                "WHERE id = ? AND state = 'running'",
                (job_id,),
            )

        self._database.outcome(change)
        self.wake()

    def finish(
        self,
        job_id: str,
        state: JobState,
        *,
        error: tuple[str, str] = ("", ""),
        notices: tuple[str, ...] = (),
        summary: dict[str, Any] | None = None,
    ) -> Job:
        """End a job. A job that has ended already stays as it is (the first end counts)."""

        def change(database: sqlite3.Connection) -> Job:
            database.execute(
                "UPDATE jobs SET state = ?, finished = ?, front = NULL, lease = NULL, error_kind = ?, "
                "error_message = ?, notices = ?, summary = ? WHERE id = ? AND state IN ('queued', 'running')",
                (state.value, time.time(), *error, json.dumps(notices), json.dumps(summary or {}), job_id),
            )
            database.execute("DELETE FROM resting WHERE job = ?", (job_id,))
            return self._get(database, job_id)

        job = self._database.outcome(change)
        self.wake()
        return job

    def recover(self) -> tuple[Job, ...]:
        """Mark jobs that were running in a program that is gone as interrupted; returns them.

        Jobs that wait or rest just run.
        """
        with self._database.writing() as database:
            rows = database.execute(
                "SELECT id, front, lease FROM jobs WHERE state = 'running' AND id NOT IN "
                "(SELECT job FROM resting WHERE waits)"
            ).fetchall()
            lost = [row["id"] for row in rows if row["lease"] < time.time() or not front.is_alive(row["front"])]
            database.executemany(
                "UPDATE jobs SET state = 'interrupted', finished = ?, front = NULL, lease = NULL, "
                "error_kind = 'Interrupted', error_message = 'the program ended while this job ran; run it again' "
                "WHERE id = ?",
                [(time.time(), job_id) for job_id in lost],
            )
            database.executemany("DELETE FROM resting WHERE job = ?", [(job_id,) for job_id in lost])
            return tuple(self._get(database, job_id) for job_id in lost)

    # ── steering ────────────────────────────────────────────────────────────────────────────────────────────────

    def cancel_waiting(self, job_id: str) -> bool:
        """Drop a job that still waits; False when it runs or has ended."""
        with self._database.writing() as database:
            changed = database.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ? WHERE id = ? AND state = 'queued'",
                (time.time(), job_id),
            )
            return changed.rowcount == 1

    def move(self, job_id: str, *, before: str | None) -> None:
        """Let a waiting job run before another waiting one of its owner, or last; raises NotPermitted otherwise."""
        with self._database.writing() as database:
            job = self._get(database, job_id)
            if before is None:
                place, priority = time.time(), job.priority
            else:
                other = self._get(database, before)
                if other.owner != job.owner or other.state is not JobState.QUEUED:
                    raise NotPermitted("a job can only be moved before another waiting job of its own owner")
                priority = other.priority
                (here,) = database.execute("SELECT place FROM jobs WHERE id = ?", (before,)).fetchone()
                (previous,) = database.execute(
                    "SELECT MAX(place) FROM jobs WHERE state = 'queued' AND priority = ? AND place < ? AND id != ?",
                    (priority, here, job_id),
                ).fetchone()
                place = (here + previous) / 2 if previous is not None else here - 1
            if job.state is not JobState.QUEUED:
                raise NotPermitted("only a waiting job can be moved; this one has started")
            database.execute("UPDATE jobs SET place = ?, priority = ? WHERE id = ?", (place, priority, job_id))

    def hold(self, job_id: str, held: bool) -> None:
        """Keep a waiting job from starting, or let it go again."""
        with self._database.writing() as database:
            database.execute("UPDATE jobs SET held = ? WHERE id = ? AND state = 'queued'", (held, job_id))
        self.wake()

    def pause(self, owner: str, paused: bool) -> None:
        """Keep all jobs of an owner from starting, those to come included, or let them go again."""
        with self._database.writing() as database:
            database.execute(
                "INSERT INTO owners (owner, paused) VALUES (?, ?) "
                "ON CONFLICT (owner) DO UPDATE SET paused = excluded.paused",
                (owner, paused),
            )
        self.wake()

    def is_paused(self, owner: str) -> bool:
        row = self._database.read_one("SELECT paused FROM owners WHERE owner = ?", owner)
        return bool(row and row["paused"])

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, job_id: str) -> Job | None:
        row = self._database.read_one(f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?", job_id)
        return job_of(row) if row else None

    def payload(self, job_id: str) -> str:
        return self._database.read_one("SELECT payload FROM jobs WHERE id = ?", job_id)["payload"]

    def blobs(self, job_id: str) -> frozenset[str]:
        return frozenset(row["blob"] for row in self._database.read("SELECT blob FROM job_blobs WHERE job = ?", job_id))

    def find_done(self, owner: str, kind: str, payload: str) -> Job | None:
        """The owner's newest job of this kind that did exactly this and came to its own end."""
        row = self._database.read_one(
            f"SELECT {JOB_COLUMNS} FROM jobs WHERE owner = ? AND kind = ? AND state = 'done' AND payload = ? "
            "ORDER BY created DESC LIMIT 1",
            owner, kind, payload,
        )  # fmt: skip
        return job_of(row) if row else None

    def jobs(self, *, owner: str | None, states: tuple[JobState, ...] = (), limit: int = 50) -> tuple[Job, ...]:
        """Jobs that are not children, newest first; `owner` None is everybody, no `states` is every state."""
        wanted, values = ["parent IS NULL"], []
        if owner is not None:
            wanted.append("owner = ?")
            values.append(owner)
        if states:
            wanted.append(f"state IN ({_marks(states)})")
            values.extend(state.value for state in states)
        query = f"SELECT {JOB_COLUMNS} FROM jobs WHERE {' AND '.join(wanted)} ORDER BY created DESC, rowid DESC LIMIT ?"
        return tuple(job_of(row) for row in self._database.read(query, *values, limit))

    def children(self, job_id: str) -> tuple[Job, ...]:
        return tuple(
            job_of(row)
            for row in self._database.read(
                f"SELECT {JOB_COLUMNS} FROM jobs WHERE parent = ? ORDER BY created, rowid", job_id
            )
        )

    def waiting_order(self) -> tuple[str, ...]:
        """Ids of the waiting jobs in the order in which they would run if nothing came between."""
        rows = self._database.read(
            "SELECT jobs.id, jobs.owner, priority, COALESCE(owners.served, 0) AS served FROM jobs LEFT JOIN owners "
            "USING (owner) WHERE state = 'queued' AND parent IS NULL ORDER BY priority, place"
        )
        order: list[str] = []
        for priority in sorted({row["priority"] for row in rows}):
            of_owner: dict[str, list[str]] = {}
            served: dict[str, float] = {}
            for row in rows:
                if row["priority"] == priority:
                    of_owner.setdefault(row["owner"], []).append(row["id"])
                    served[row["owner"]] = row["served"]
            turns = sorted(of_owner, key=lambda owner: served[owner])
            while any(of_owner.values()):
                order.extend(of_owner[owner].pop(0) for owner in turns if of_owner[owner])
        return tuple(order)

    def running(self) -> tuple[Job, ...]:
        """The jobs that have begun and not ended; first those that a worker has in hand, then those that rest."""
        return tuple(
            job_of(row)
            for row in self._database.read(
                f"SELECT {JOB_COLUMNS} FROM jobs WHERE state = 'running' ORDER BY front IS NULL, priority, place"
            )
        )

    # ── results ─────────────────────────────────────────────────────────────────────────────────────────────────

    def add_result(self, result: Result) -> None:
        marks = ", ".join("?" * 16)

        def change(database: sqlite3.Connection) -> None:
            database.execute(
                f"INSERT INTO results ({RESULT_COLUMNS}) VALUES ({marks})",
                (result.id, result.job, result.role, result.index, result.seed, result.subseed, result.prompt,
                 result.negative_prompt, result.width, result.height, result.infotext, result.shown, result.media_type,
                 result.path, result.blob, result.saving_error),
            )  # fmt: skip

        self._database.outcome(change)

    def results(self, job_id: str) -> tuple[Result, ...]:
        """The pictures of a job in the order in which they were made."""
        return tuple(
            result_of(row)
            for row in self._database.read(
                f"SELECT {RESULT_COLUMNS} FROM results WHERE job = ? ORDER BY number", job_id
            )
        )

    def find_result(self, result_id: str) -> tuple[Result, str] | None:
        """A picture and the owner of its job."""
        row = self._database.read_one(
            f"SELECT {', '.join('results.' + name for name in RESULT_COLUMNS.split(', '))}, jobs.owner FROM results "
            "JOIN jobs ON jobs.id = results.job WHERE results.id = ?",
            result_id,
        )
        return (result_of(row), row["owner"]) if row else None

    # ── keeping tidy ────────────────────────────────────────────────────────────────────────────────────────────

    def forget(self, *, ended_before: float, keep_newest: int) -> int:
        """Drop jobs that ended before `ended_before`; the newest `keep_newest` stay, and so do all files on disk."""
        with self._database.writing() as database:
            dropped = database.execute(
                "DELETE FROM jobs WHERE finished < ? AND state NOT IN ('queued', 'running') AND rowid NOT IN "
                "(SELECT rowid FROM jobs ORDER BY created DESC LIMIT ?)",
                (ended_before, keep_newest),
            )
            return dropped.rowcount

    def blobs_in_use(self) -> frozenset[str]:
        rows = self._database.read(
            "SELECT blob FROM job_blobs UNION SELECT blob FROM results WHERE blob IS NOT NULL "
            "UNION SELECT value FROM resting, json_each(resting.blobs)"
        )
        return frozenset(row["blob"] for row in rows)

    def wake(self) -> None:
        """Say that a job may have become ready to run, or that whoever runs jobs should look around."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    @property
    def changes(self) -> int:
        """How often `wake` was called; hand it to `wait` to miss nothing that came in between."""
        return self._changes

    def wait(self, seen: int, timeout: float) -> None:
        """Wait up to `timeout` seconds for a change after the one numbered `seen`."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen, timeout)

    def held_still(self) -> AbstractContextManager[Any]:
        """While open, no other thread puts, claims or ends a job."""
        return self._database.lock

    def _get(self, database: sqlite3.Connection, job_id: str) -> Job:
        row = database.execute(f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise InvalidRequest(f'there is no job "{job_id}"')
        return job_of(row)


def _marks(values: tuple[Any, ...]) -> str:
    """As many placeholders as there are values."""
    return ", ".join("?" * len(values))
