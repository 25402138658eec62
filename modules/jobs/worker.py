"""The protocol between the front and whatever makes pictures: a local thread, a process, a Ray actor."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from modules.generation.events import Event, SoFar
from modules.generation.part import Choice
from modules.generation.plan import Plan

AT_ONCE = frozenset({"memory"})
"""The functions of a worker process that it answers beside whatever is in hand."""


class Control(Choice):
    """What can be said to a running job. SKIP abandons the batch, INTERRUPT ends the job now with what there is,
    STOP_AFTER_BATCH ends it when the batch in hand is done (A1111's first click on Interrupt), GIVE_WAY has it put down
    there, to go on later."""

    RUN = "run"
    SKIP = "skip"
    GIVE_WAY = "give_way"
    INTERRUPT = "interrupt"
    STOP_AFTER_BATCH = "stop_after_batch"


class ControlSource(Protocol):
    """Asked between steps and between tiles; `take` returns SKIP once and RUN afterwards, the others stay."""

    def take(self) -> Control: ...


class Worker(Protocol):
    """Runs plans one after another."""

    @property
    def is_asked(self) -> bool:
        """Whether somebody waits for an answer that the worker gives between jobs."""
        ...

    def run(self, plan: Plan, control: ControlSource, so_far: SoFar | None = None) -> Generator[Event, None, None]:
        """Yield the job's events; always ends with JobDone, JobFailed or JobPaused, never raises for a failing plan.

        `so_far` is that of the JobPaused with which an earlier run of the job ended, on whichever worker.
        """
        ...

    def close(self) -> None:
        """End the worker and free its device; waits at most a few seconds."""
        ...
