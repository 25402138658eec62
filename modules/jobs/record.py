"""What the queue knows about a job and about the pictures it made: plain values, read from and written to SQLite."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass, field
from typing import Any

from modules.generation.part import Choice


class JobState(Choice):
    """Where a job is in its life. The last four are ends; only a retry (a new job) leads on from them."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # stopped by its owner or by the end of the program; may have pictures
    CANCELLED = "cancelled"  # never ran

    @property
    def is_end(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Priority:
    """Smaller goes first. Interactive jobs of every owner go before anybody's batch jobs."""

    INTERACTIVE = 0
    BATCH = 10


@dataclass(frozen=True)
class NewJob:
    """What is needed to queue a job. `payload` is JSON text whose large images are blobs (`modules/jobs/blobs.py`).

    `kind` says who runs it: "generate" payloads are plans for a worker, "script" payloads are requests whose script
    makes further jobs, its children. A child is run by the same worker threads but shown only through its parent.
    """

    kind: str
    payload: str
    owner: str
    blobs: frozenset[str] = frozenset()
    title: str = ""
    priority: int = Priority.INTERACTIVE
    idempotency_key: str | None = None
    parent: str | None = None
    retry_of: str | None = None


@dataclass(frozen=True)
class Job:
    """A job as the queue has it now. Times are seconds since 1970."""

    id: str
    owner: str
    kind: str
    state: JobState
    title: str
    priority: int
    created: float
    started: float | None = None
    finished: float | None = None
    attempts: int = 0
    held: bool = False
    parent: str | None = None
    retry_of: str | None = None
    error_kind: str = ""
    error_message: str = ""
    notices: tuple[str, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)  # the JobDone event as JSON, once there is one


@dataclass(frozen=True)
class Result:
    """A picture that a job made. `path` is where it was saved, `blob` where its bytes are kept when it was not."""

    id: str
    job: str
    role: str
    index: int
    seed: int
    subseed: int
    prompt: str
    negative_prompt: str
    width: int
    height: int
    infotext: str
    shown: bool
    media_type: str
    path: str | None = None
    blob: str | None = None
    saving_error: str = ""

    def replace(self, **changes: Any) -> Result:
        return dataclasses.replace(self, **changes)


def new_result_id() -> str:
    """An id that nobody can guess, although routes check the owner as well."""
    return secrets.token_hex(16)


def owner_in(header: str) -> str:
    """The owner that the gate wrote into a request's header: UTF-8, which servers hand on as Latin-1."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")


def login_of(owner: str) -> str | None:
    """The name of an owner who has shown a password or a key."""
    kind, _, name = owner.partition(":")
    return name if kind in ("user", "api") and name else None
