"""A worker in a process of its own, as the front sees it: start it, hand it plans, hear it, end it."""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from modules.errors import WorkerDied
from modules.generation.events import Event, JobDone, JobFailed, JobPaused, SoFar
from modules.generation.plan import Plan
from modules.jobs.frames import Channel, Closed
from modules.jobs.worker import AT_ONCE, Control, ControlSource

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_BEGIN = "import gc, runpy, sys; gc.disable(); runpy.run_module(sys.argv[1], run_name='__main__', alter_sys=True)"
"""`python -m MODULE`, and no looking for garbage while PyTorch and its company are loaded (a fifth of that time)."""

_FALL_BACK = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
"""What Apple's GPUs have no kernel for is computed on the processor (as A1111 starts on Macs)."""

_POLL_S = 0.05  # how long an interrupt may take to be passed on


class WorkerProcess:
    """One spawned process that owns one device. `run` from one thread; everything else from any.

    The process ends by itself when this end of its pipe closes, so nothing stays behind when the front is killed.
    A job without an event for longer than `patience_s()` seconds (0: as long as it likes) ends the process.
    `on_report` hears every state report (a dict as in `modules/jobs/worker_main.py`), from a thread of our own.
    """

    def __init__(
        self,
        setup: dict[str, Any],
        *,
        on_report: Callable[[dict[str, Any]], None] = lambda report: None,
        module: str = "modules.worker",
        patience_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        environment = {
            **_patient_threads(),
            **_FALL_BACK,
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        with _held_back(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", _BEGIN, module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=os.getcwd(),
            )
        assert self._process.stdin and self._process.stdout
        self._channel = Channel(self._process.stdout, self._process.stdin)
        self._on_report, self._patience_s = on_report, patience_s
        self._ended_because = ""
        self._last_lines: collections.deque[str] = collections.deque(maxlen=30)
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._replies: dict[int, queue.Queue[dict[str, Any] | None]] = {}
        self._urgent: set[int] = set()  # the calls among `_replies` for which a job gives way
        self._replies_lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._ready = threading.Event()
        self._gone = threading.Event()
        self._heard_at = time.monotonic()
        threading.Thread(target=self._pass_log_on, name="worker-log", daemon=True).start()
        threading.Thread(target=self._listen, name="worker-listen", daemon=True).start()
        try:
            self._channel.send({"do": "setup", **setup})
        except Closed:  # it died at once; whoever uses it hears why
            log.debug("the worker ended before it was set up")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it has loaded its libraries and can take plans."""
        return self._ready.is_set() and not self._gone.is_set()

    @property
    def is_gone(self) -> bool:
        return self._gone.is_set()

    @property
    def silent_s(self) -> float:
        """Seconds since it was last heard; it says something every two seconds."""
        return time.monotonic() - self._heard_at

    def death(self) -> WorkerDied:
        """Why it is gone, as far as known."""
        return WorkerDied(self._reason())

    @property
    def is_asked(self) -> bool:
        """Whether a call waits for the job in hand; one to load a checkpoint can wait until all of it is done."""
        with self._replies_lock:
            return bool(self._urgent)

    def run(self, plan: Plan, control: ControlSource, so_far: SoFar | None = None) -> Generator[Event, None, None]:
        """Yield the events of one job; raises WorkerDied when the process ends first.

        The last is JobDone, JobFailed, or JobPaused with the `so_far` that goes on with the job. Closing the generator
        early interrupts the job.
        """
        number = next(self._numbers)
        before = so_far.model_dump(mode="json") if so_far is not None else None
        self._send({"do": "run", "run": number, "plan": plan.model_dump(mode="json"), "so_far": before})
        passed_on, is_over, heard_at = Control.RUN, False, time.monotonic()
        try:
            while True:
                wish = control.take()
                if wish is Control.SKIP or (wish is not Control.RUN and wish is not passed_on):
                    passed_on = wish if wish is not Control.SKIP else passed_on
                    self._send({"do": "control", "run": number, "control": wish.value})
                try:
                    message = self._events.get(timeout=_POLL_S)
                except queue.Empty:
                    self._end_if_stuck(time.monotonic() - heard_at)
                    continue
                heard_at = time.monotonic()
                if message is None:
                    is_over = True
                    raise self.death()
                if message["run"] != number:  # the tail of a run that was given up
                    continue
                event = _EVENT.validate_python(message["event"])
                is_over = isinstance(event, JobDone | JobFailed | JobPaused)
                yield event
                if is_over:
                    return
        finally:
            if not is_over:  # whoever listened gave up: nobody needs the rest
                with contextlib.suppress(Closed):  # it is gone already
                    self._channel.send({"do": "control", "run": number, "control": Control.INTERRUPT.value})

    def call(self, name: str, timeout: float | None = None, **arguments: Any) -> Any:
        """Call one of the worker's functions, between its jobs unless it is one of AT_ONCE, and wait for the answer.

        Arguments and answer are JSON values. Raises WorkerDied when it ends first, TimeoutError, and for an error of
        the function itself a RuntimeError with its class in front.
        """
        number = next(self._numbers)
        answer: queue.Queue[dict[str, Any] | None] = queue.Queue()
        with self._replies_lock:
            self._replies[number] = answer
            if name not in ("load", *AT_ONCE):
                self._urgent.add(number)
        try:
            if self.is_gone:
                raise self.death()
            self._send({"do": "call", "call": number, "name": name, "arguments": arguments})
            reply = answer.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the worker did not answer {name} within {timeout:g} s; it is busy") from None
        finally:
            with self._replies_lock:
                self._replies.pop(number, None)
                self._urgent.discard(number)
        if reply is None:
            raise self.death()
        if "error" in reply:
            raise RuntimeError(f"{reply['error']}: {reply['message']}")
        return reply["value"]

    def close(self, *, patience_s: float = 2.0) -> None:
        """End the process: ask, then insist. Nothing of it is left when this returns."""
        try:
            self._channel.send({"do": "close"})
        except Closed:
            log.debug("the worker was gone before it was asked to end")
        self._channel.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self.kill_without_waiting()
        self._process.wait(5)

    def kill_without_waiting(self) -> None:
        self._process.kill()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send(message)
        except Closed as error:
            self._gone.wait(5)  # let the reader find out, so that the reason is known
            raise self.death() from error

    def _listen(self) -> None:
        try:
            while True:
                self._hear(self._channel.receive())
        except Closed:
            self._process.wait()
            self._gone.set()
            self._events.put(None)
            with self._replies_lock:
                waiting = tuple(self._replies.values())
            for answer in waiting:
                answer.put(None)
            self._on_report({"state": "dead", "message": self._reason()})

    def _hear(self, message: dict[str, Any]) -> None:
        self._heard_at = time.monotonic()
        match message["is"]:
            case "event":
                self._events.put(message)
            case "report":
                if message["state"] != "starting":
                    self._ready.set()
                self._on_report({key: value for key, value in message.items() if key != "is"})
            case "reply":
                with self._replies_lock:
                    answer = self._replies.get(message["call"])
                if answer is not None:
                    answer.put(message)

    def _pass_log_on(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            text = line.decode("utf-8", "replace")
            self._last_lines.append(text.rstrip())
            sys.stderr.write(text)
            sys.stderr.flush()

    def _end_if_stuck(self, silent_s: float) -> None:
        """End the process when the job it has made no progress for longer than `patience_s` (0: for ever)."""
        patience_s = self._patience_s()
        if 0 < patience_s < silent_s and not self._ended_because:
            self._ended_because = (
                f"the worker process made no progress for {silent_s / 60:.3g} minutes and was ended; "
                'the setting "Minutes without progress" says how long it may take'
            )
            self._process.kill()  # `run` hears of it as of every other death

    def _reason(self) -> str:
        if self._ended_because:
            return self._ended_because
        code = self._process.poll()
        if code is None:
            return "the worker process closed its connection"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            hint = "; that is what the system does when memory runs out" if -code == signal.SIGKILL else ""
            return f"the worker process was killed ({name}){hint}"
        said = next((line for line in reversed(self._last_lines) if line.strip()), "")
        return f"the worker process ended with code {code}" + (f": {said}" if code and said else "")


def _patient_threads() -> dict[str, str]:
    """How the threads of PyTorch's OpenMP wait for one another, unless the environment says so already.

    By default they spin for milliseconds at every barrier, of which a picture has tens of thousands: on a machine that
    does something else beside, the thread they wait for is not even running. Measured with the starter checkpoint on
    two cores: with ten other processes on them 10 s a picture by default and 0.9 s with this; on free cores no
    difference (OMP_WAIT_POLICY=PASSIVE, no spinning at all, takes a quarter longer there).
    """
    return {} if "OMP_WAIT_POLICY" in os.environ else {"GOMP_SPINCOUNT": "1000"}


@contextlib.contextmanager
def _held_back(*signals: signal.Signals) -> Iterator[None]:
    """Keep signals from this thread and from every process that is started meanwhile, for all of its life.

    Ctrl-C in a terminal and a service manager's SIGTERM reach front and worker alike. Ending is the front's business,
    which tells the worker; a worker that went first would look like one that crashed. From its very first instruction:
    it takes seconds until it has loaded what it needs to ignore a signal by itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
