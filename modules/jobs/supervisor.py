"""Keeps a worker process alive and busy: starts it, gives it jobs from the queue, starts another when it dies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from modules.errors import SavingError, WebuiError, WorkerDied
from modules.jobs.process import WorkerProcess
from modules.jobs.queue import LEASE_S, JobQueue
from modules.jobs.record import Job, JobState
from modules.jobs.runner import JobRunner

log = logging.getLogger(__name__)

_RESTART_AFTER_S = (0.2, 1.0, 5.0, 30.0)
_LOOK_AGAIN_S = 5.0  # whether a full disk has room again
_GIVES_UP_AFTER = 3
"""So many deaths in a row without becoming ready, and waiting jobs are told so instead of waiting for ever."""


class Supervisor:
    """A thread that owns one worker process at a time. `start` once, `close` once; the rest from any thread.

    `spawn(on_report)` makes a process. `on_ready(process)` is called in a thread of its own whenever a process became
    ready for the first time, for example to load the configured checkpoint.
    """

    def __init__(
        self,
        queue: JobQueue,
        runner: JobRunner,
        spawn: Callable[[Callable[[dict[str, Any]], None]], WorkerProcess],
        *,
        on_ready: Callable[[WorkerProcess], None] = lambda process: None,
        on_report: Callable[[dict[str, Any]], None] = lambda report: None,
    ) -> None:
        self._queue, self._runner, self._spawn = queue, runner, spawn
        self._on_ready, self._on_report = on_ready, on_report
        self._closing = threading.Event()
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self._live, name="supervisor", daemon=True)
        self._process: WorkerProcess | None = None
        self._report: dict[str, Any] = {"state": "starting", "message": "the worker process is starting"}

    def start(self) -> None:
        self._process = self._spawn(self._hear)
        self._thread.start()

    def close(self) -> None:
        """End the process and the thread within a few seconds; a running job is marked interrupted."""
        with self._changing:  # no process is started after this
            self._closing.set()
        self._queue.wake()
        if self._process is not None:
            self._process.close()
        if self._thread.is_alive():
            self._thread.join(3)

    def kill(self) -> None:
        """End the process at once, without waiting for anything: the program is about to end."""
        if self._process is not None:
            self._process.kill_without_waiting()

    @property
    def report(self) -> dict[str, Any]:
        """What the worker last said of itself; see `modules/jobs/worker_main.py`."""
        return dict(self._report)

    @property
    def process(self) -> WorkerProcess | None:
        """The process at this moment; it may be gone a moment later."""
        return self._process

    def call(self, name: str, timeout: float | None = None, **arguments: Any) -> Any:
        """Call a function of the worker between its jobs; raises WorkerDied, TimeoutError, RuntimeError."""
        process = self._process
        if process is None or process.is_gone:
            raise WorkerDied("the worker is being restarted; try again in a moment")
        return process.call(name, timeout, **arguments)

    def _hear(self, report: dict[str, Any]) -> None:
        if report["state"] == "dead" and self._closing.is_set():
            return
        self._report = {**self._report, **report} if report["state"] != "dead" else report
        self._on_report(self._report)
        self._queue.wake()

    def _live(self) -> None:
        deaths = 0
        while not self._closing.is_set():
            process = self._process
            assert process is not None
            try:
                if self._wait_until_ready(process):
                    deaths = 0
                    threading.Thread(target=self._greet, args=(process,), name="worker-ready", daemon=True).start()
                    self._work(process)
            except WorkerDied as death:
                if self._closing.is_set():
                    return
                deaths += 1
                log.error("%s; starting another one", death)
                if deaths >= _GIVES_UP_AFTER:
                    self._refuse_waiting(death)
                self._closing.wait(_RESTART_AFTER_S[min(deaths, len(_RESTART_AFTER_S)) - 1])
            with self._changing:
                if not self._closing.is_set():
                    self._process = self._spawn(self._hear)

    def _wait_until_ready(self, process: WorkerProcess) -> bool:
        while not process.is_ready:
            if self._closing.is_set():
                return False
            if process.is_gone:
                raise process.death()
            self._queue.wait(self._queue.changes, 0.2)
        return True

    def _greet(self, process: WorkerProcess) -> None:
        try:
            self._on_ready(process)
        except (WorkerDied, RuntimeError) as error:  # said by the worker; its state reports carry it to the page
            log.warning("%s", error)

    def _work(self, process: WorkerProcess) -> None:
        """Run jobs until closing; raises WorkerDied when the process is gone."""
        while not self._closing.is_set():
            seen = self._queue.changes
            if process.is_gone:
                raise process.death()
            try:
                job = self._runner.claim()
            except SavingError as error:
                log.error("%s; waiting jobs start when there is room", error)
                self._closing.wait(_LOOK_AGAIN_S)
                continue
            if job is None:
                self._queue.wait(seen, 1.0)
                continue
            self._run(process, job)

    def _run(self, process: WorkerProcess, job: Job) -> None:
        renewal = _Renewal(self._queue, job.id)
        try:
            self._runner.run(job, process)
        except WorkerDied as death:
            if self._closing.is_set():
                self._runner.end(
                    job,
                    JobState.INTERRUPTED,
                    error=("Interrupted", "the program ended while this job ran; run it again"),
                )
            else:
                self._runner.lost(job, death)
            raise
        except Exception as error:  # the boundary: what goes wrong around one job is the end of that job only
            log.exception("job %s could not be carried out", job.id)
            self._give_up(job, f"{type(error).__name__}: {error}" if not isinstance(error, WebuiError) else str(error))
        finally:
            renewal.stop()

    def _give_up(self, job: Job, message: str) -> None:
        try:
            self._runner.end(job, JobState.FAILED, error=("JobFailed", f"{message}; pictures made before are kept"))
        except SavingError as error:  # it stays marked as running, and is marked interrupted at the next start
            log.error("%s", error)

    def _refuse_waiting(self, death: WorkerDied) -> None:
        while (job := self._queue.claim(("generate",))) is not None:
            message = f"no worker can be started, so no picture can be made: {death}"
            self._runner.end(job, JobState.FAILED, error=("WorkerDied", message))


class _Renewal:
    """Renews a job's lease while it runs."""

    def __init__(self, queue: JobQueue, job_id: str) -> None:
        self._queue, self._job_id = queue, job_id
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._stopped.wait(LEASE_S / 3):
            try:
                self._queue.renew(self._job_id)
            except SavingError as error:
                log.warning("%s", error)

    def stop(self) -> None:
        self._stopped.set()
