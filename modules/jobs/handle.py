"""A job in the hand of whoever asked for it: watch it, wait for it, steer it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from modules import errors
from modules.errors import GenerationError, WebuiError
from modules.jobs.feed import END_KINDS, Feeds, Said
from modules.jobs.queue import JobQueue
from modules.jobs.record import Job, JobState, Result

_LOOK_AGAIN_S = 1.0  # another program may share the queue; its jobs say nothing here


@dataclass(frozen=True)
class Picture:
    """A picture of a job with its bytes at hand: `read()` gives the file as saved."""

    result: Result
    read: Callable[[], bytes]


@dataclass(frozen=True)
class JobResult:
    """What became of a job. `pictures` in the order they were made, extra ones and grids included."""

    job: Job
    pictures: tuple[Picture, ...]

    def raise_if_failed(self) -> JobResult:
        """Itself, or the error that the job failed with, as its own class of `modules/errors.py` where it is one."""
        if self.job.state is not JobState.FAILED:
            return self
        kind = getattr(errors, self.job.error_kind, None)
        is_ours = isinstance(kind, type) and issubclass(kind, WebuiError)
        raise (kind if is_ours else GenerationError)(self.job.error_message)


class JobHandle:
    """One job. `events` and `result` block; `finished` and `watch` are the same for asyncio."""

    def __init__(self, job_id: str, queue: JobQueue, feeds: Feeds, read: Callable[[Result], bytes]) -> None:
        self.id = job_id
        self._queue, self._feeds, self._read = queue, feeds, read

    def job(self) -> Job:
        """The job as it is now."""
        job = self._queue.find(self.id)
        if job is None:
            raise errors.InvalidRequest(f'there is no job "{self.id}" any more')
        return job

    def progress(self) -> dict[str, Any]:
        return self._feeds.progress(self.id)

    def events(self, last_id: str | None = None, timeout: float | None = None) -> Iterator[Said]:
        """What the job says, from the first or after `last_id`, until its end; raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            said = self._feeds.wait(self.id, last_id, _LOOK_AGAIN_S)
            if said is None and self.job().state.is_end:
                return
            for one in said or ():
                yield one
                last_id = one.id
                if one.kind in END_KINDS:
                    return
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"the job did not end within {timeout:g} s; it goes on")
            if said is None:
                time.sleep(_LOOK_AGAIN_S)

    def result(self, timeout: float | None = None) -> JobResult:
        """Wait for the end; raises TimeoutError."""
        for _ in self.events(timeout=timeout):
            pass
        return self.made()

    def made(self) -> JobResult:
        """What there is by now."""
        pictures = tuple(Picture(row, lambda row=row: self._read(row)) for row in self._queue.results(self.id))
        return JobResult(self.job(), pictures)

    async def watch(self, last_id: str | None = None) -> AsyncIterator[Said | None]:
        """What the job says until its end; None about every second in which it says nothing."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def heard(job_id: str, owner: str) -> None:
            if job_id == self.id:
                loop.call_soon_threadsafe(news.set)

        stop = self._feeds.listen(heard)
        try:
            while True:
                news.clear()
                said = self._feeds.since(self.id, last_id)
                if said is None and (await asyncio.to_thread(self.job)).state.is_end:
                    return
                for one in said or ():
                    yield one
                    last_id = one.id
                    if one.kind in END_KINDS:
                        return
                if not said:
                    try:
                        await asyncio.wait_for(news.wait(), _LOOK_AGAIN_S)
                    except asyncio.TimeoutError:
                        yield None
        finally:
            stop()

    async def finished(self) -> JobResult:
        """Wait for the end without blocking the event loop."""
        async for _ in self.watch():
            pass
        return await asyncio.to_thread(self.made)
