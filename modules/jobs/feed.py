"""What jobs say while they run, for whoever watches: replayable per job, and as one stream per owner.

Kept in memory only. The queue and its results are the truth; a feed of an ended job is rebuilt from them (`App`).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from modules.jobs.record import JobState

END_KINDS = frozenset(state.value for state in JobState if state.is_end)
"""The kinds of event after which a job says nothing more."""

_REPLACED_BY_NEWER = frozenset({"queued", "step"})  # only the newest of these is worth replaying


@dataclass(frozen=True)
class Said:
    """One thing that a job said. `number` grows by at least one from each to the next within a feed's `epoch`."""

    epoch: str
    number: int
    kind: str
    data: dict[str, Any]

    @property
    def id(self) -> str:
        """The event id of server-sent events: where a client that lost its connection goes on."""
        return f"{self.epoch}-{self.number}"


@dataclass(frozen=True)
class Preview:
    number: int
    content: bytes
    media_type: str


@dataclass
class _Feed:
    owner: str
    epoch: str = field(default_factory=lambda: secrets.token_hex(4))
    said: list[Said] = field(default_factory=list)
    numbers: int = 0
    preview: Preview | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    ended_at: float | None = None


class Feeds:
    """The feeds of the jobs of this run of the program. Thread-safe.

    `keep` ended feeds stay in memory for late watchers, the oldest go first.
    """

    def __init__(self, *, keep: int = 200) -> None:
        self._keep = keep
        self._feeds: OrderedDict[str, _Feed] = OrderedDict()
        self._changed = threading.Condition()
        self._listeners: set[Callable[[str, str], None]] = set()

    def open(self, job_id: str, owner: str) -> None:
        """Make room for a job's feed; nothing happens when it has one."""
        with self._changed:
            self._feeds.setdefault(job_id, _Feed(owner))

    def knows(self, job_id: str) -> bool:
        with self._changed:
            return job_id in self._feeds

    def say(self, job_id: str, kind: str, data: dict[str, Any]) -> None:
        """Add to a job's feed and wake its watchers; a feed that has ended takes no more."""
        with self._changed:
            feed = self._feeds.get(job_id)
            if feed is None or feed.ended_at is not None:
                return
            if kind in _REPLACED_BY_NEWER:
                feed.said = [said for said in feed.said if said.kind != kind]
            feed.numbers += 1
            feed.said.append(Said(feed.epoch, feed.numbers, kind, {"job": job_id, **data}))
            if kind in END_KINDS:
                feed.ended_at = time.monotonic()
                feed.preview = None
                self._feeds.move_to_end(job_id)
                self._forget_oldest()
            owner = feed.owner
            self._changed.notify_all()
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(job_id, owner)

    def _forget_oldest(self) -> None:
        ended = [job_id for job_id, feed in self._feeds.items() if feed.ended_at is not None]
        for job_id in ended[: max(0, len(ended) - self._keep)]:
            del self._feeds[job_id]

    def show(self, job_id: str, content: bytes, media_type: str) -> int | None:
        """Make a picture the job's newest preview and return its number; None when the job is not watched any more."""
        with self._changed:
            feed = self._feeds.get(job_id)
            if feed is None:
                return None
            number = feed.preview.number + 1 if feed.preview else 1
            feed.preview = Preview(number, content, media_type)
            return number

    def preview(self, job_id: str) -> Preview | None:
        with self._changed:
            feed = self._feeds.get(job_id)
            return feed.preview if feed else None

    def note_progress(self, job_id: str, **values: Any) -> None:
        """Keep where a job is, for those that ask instead of watching (`GET /jobs/{id}`, A1111's `/progress`)."""
        with self._changed:
            if (feed := self._feeds.get(job_id)) is not None:
                feed.progress.update(values)

    def progress(self, job_id: str) -> dict[str, Any]:
        with self._changed:
            feed = self._feeds.get(job_id)
            return dict(feed.progress) if feed else {}

    def since(self, job_id: str, last_id: str | None) -> tuple[Said, ...] | None:
        """What the job said after `last_id` (all of it for None and ids of another run); None for an unknown job."""
        with self._changed:
            feed = self._feeds.get(job_id)
            if feed is None:
                return None
            epoch, _, number = (last_id or "").partition("-")
            seen = int(number) if epoch == feed.epoch and number.isdigit() else 0
            return tuple(said for said in feed.said if said.number > seen)

    def wait(self, job_id: str, last_id: str | None, timeout: float) -> tuple[Said, ...] | None:
        """Like `since`, but waits up to `timeout` seconds for something new."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                new = self.since(job_id, last_id)
                left = deadline - time.monotonic()
                if new is None or new or left <= 0:
                    return new
                self._changed.wait(left)

    def listen(self, listener: Callable[[str, str], None]) -> Callable[[], None]:
        """Call `listener(job id, owner)` after everything said, in the thread that said it; returns the way out."""
        with self._changed:
            self._listeners.add(listener)

        def stop() -> None:
            with self._changed:
                self._listeners.discard(listener)

        return stop
