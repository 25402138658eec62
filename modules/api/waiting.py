"""Threads for what may take as long as the jobs before it, so that the routes that answer at once always find one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

_T = TypeVar("_T")
_THREADS = 32


class Apart:
    """Runs work in threads of its own: whoever comes when all are taken waits without one."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(_THREADS)

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns or raises; it runs to its end, also when nobody waits for it any more."""
        return await to_thread.run_sync(work, limiter=self._limiter)
