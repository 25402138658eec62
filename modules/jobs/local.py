"""A worker in this very thread, over anything that generates: inside the worker process, and in tests."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from modules.errors import WebuiError
from modules.generation.events import Event, JobDone, JobFailed, JobPaused, SoFar
from modules.generation.plan import Plan
from modules.jobs.worker import ControlSource

log = logging.getLogger(__name__)


class Generates(Protocol):
    """The engine, as far as a worker needs it."""

    def generate(self, plan: Plan, control: ControlSource, so_far: SoFar | None = None) -> Iterator[Event]:
        """Yield events and end with JobDone or JobPaused; raises what went wrong."""
        ...


class LocalWorker:
    """Runs plans on an engine and turns whatever it raises into a JobFailed that a person can read."""

    def __init__(
        self,
        engine: Generates,
        *,
        close: Callable[[], None] = lambda: None,
        on_failure: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._engine = engine
        self._close = close
        self._on_failure = on_failure

    @property
    def is_asked(self) -> bool:
        return False  # who calls it is in this thread, and waits for nothing

    def run(self, plan: Plan, control: ControlSource, so_far: SoFar | None = None) -> Generator[Event, None, None]:
        """Yield the engine's events; the last is JobDone, JobFailed or JobPaused."""
        last: Event | None = None
        try:
            for last in self._engine.generate(plan, control, so_far):
                yield last
        except Exception as error:  # the boundary: whatever an engine raises ends this job, not the worker
            self._on_failure(error)
            yield failure(error)
            return
        if not isinstance(last, JobDone | JobFailed | JobPaused):
            yield JobFailed(error="EngineStopped", message="the engine stopped without saying why; please report this")

    def close(self) -> None:
        self._close()


def failure(error: BaseException) -> JobFailed:
    """What an exception says to people: our own errors in their own words, others with their class in front."""
    detail = "".join(traceback.format_exception(error))
    if isinstance(error, WebuiError):
        log.info("job failed: %s", error)
        return JobFailed(error=type(error).__name__, message=str(error), detail=detail)
    log.error("job failed unexpectedly\n%s", detail)
    return JobFailed(error=type(error).__name__, message=f"{type(error).__name__}: {error}", detail=detail)
