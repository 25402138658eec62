"""A1111's `force_task_id`: names that clients give to their jobs, and may give again to later ones."""

from __future__ import annotations

import threading
from collections import OrderedDict

_KEEP = 10_000


class TaskNames:
    """Job ids by owner and name, the newest job under each name. In memory; thread-safe."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def name(self, owner: str, task: str, job_id: str) -> None:
        with self._lock:
            self._jobs[owner, task] = job_id
            self._jobs.move_to_end((owner, task))
            self._names[job_id] = task
            while len(self._jobs) > _KEEP:
                _, forgotten = self._jobs.popitem(last=False)
                self._names.pop(forgotten, None)

    def job(self, owner: str, task: str) -> str | None:
        with self._lock:
            return self._jobs.get((owner, task))

    def name_of(self, job_id: str) -> str | None:
        with self._lock:
            return self._names.get(job_id)
