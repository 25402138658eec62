"""The worker process's loop: reads plans from its standard input, makes pictures, writes events to its standard output.

What it hears: {"do": "setup", "flags", "options"} first; then {"do": "run", "run", "plan", "so_far"}, {"do": "control",
"run", "control"}, {"do": "call", "call", "name", "arguments"}, {"do": "close"}. What it says: {"is": "report", "state":
"starting" | "loading" | "ready" | "busy", "model", "device", "dtype", "attention", "message", "memory"} whenever one of
them changes and every two seconds, {"is": "event", "run", "event"}, {"is": "reply", "call", "value" | "error"}.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from modules.generation.events import SoFar
from modules.generation.plan import Plan
from modules.jobs.control import ControlBox
from modules.jobs.frames import Channel, Closed
from modules.jobs.local import failure
from modules.jobs.worker import AT_ONCE, Control, Worker

log = logging.getLogger(__name__)

BEAT_S = 2.0


class Machine(Protocol):
    """What the process is built around: a worker, functions to call between jobs, and what to report.

    `is_broken`: the device fails from now on whatever is asked of it, and only a new process helps.
    """

    worker: Worker
    calls: dict[str, Callable[..., Any]]
    is_broken: bool

    def note_failure(self, error: BaseException) -> None:
        """Hears every error of a job or call."""
        ...

    def report(self) -> dict[str, Any]:
        """ "model", "device", "dtype", "attention", "memory" as they are now; quick, called from another thread."""
        ...


class Service:
    """Takes messages from a channel until it closes: controls at once, plans and calls one after another."""

    def __init__(self, channel: Channel, build: Callable[[dict[str, Any]], Machine]) -> None:
        self._channel = channel
        self._build = build
        self._todo: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._controls: dict[int, ControlBox] = {}
        self._machine: Machine | None = None
        self._state, self._message = "starting", "loading PyTorch"
        self._closing = threading.Event()

    def serve(self) -> None:
        """Work until the channel closes or `close` is heard."""
        setup = self._channel.receive()
        threading.Thread(target=self._hear, name="hear", daemon=True).start()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        self._report()
        self._machine = self._build(setup)
        gc.freeze()  # what is loaded now stays; garbage is looked for among the rest from here on
        gc.enable()
        self._become("ready")
        while (message := self._todo.get()) is not None:
            if message["do"] == "run":
                self._run(message)
            else:
                self._call(message)
            if self._machine.is_broken:
                log.error("the device cannot be used any more after this error")
                os._exit(1)  # the front starts another process; a job that it has sent meanwhile is tried again there
        self._closing.set()
        self._machine.worker.close()

    def _hear(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except Closed:
                os._exit(0)  # the front is gone: no one to work for, and the main thread may be deep in a kernel
            match message["do"]:
                case "control":
                    if (box := self._controls.get(message["run"])) is not None:
                        box.put(Control(message["control"]))
                case "close":
                    for box in tuple(self._controls.values()):
                        box.put(Control.INTERRUPT)
                    self._todo.put(None)
                case "run":
                    self._controls[message["run"]] = ControlBox()
                    self._todo.put(message)
                case "call" if message["name"] in AT_ONCE and self._machine is not None:
                    self._reply(message)
                case _:
                    self._todo.put(message)

    def _run(self, message: dict[str, Any]) -> None:
        assert self._machine is not None
        number = message["run"]
        self._become("busy")
        plan, so_far = Plan.model_validate(message["plan"]), message["so_far"]
        try:
            goes_on = SoFar.model_validate(so_far) if so_far is not None else None
            for event in self._machine.worker.run(plan, self._controls[number], goes_on):
                self._say({"is": "event", "run": number, "event": event.model_dump(mode="json")})
        finally:
            del self._controls[number]
            self._become("ready")

    def _call(self, message: dict[str, Any]) -> None:
        self._become("loading" if message["name"] == "load" else "busy")
        self._reply(message, ends=True)

    def _reply(self, message: dict[str, Any], *, ends: bool = False) -> None:
        """Say what a function answers; `ends`: it was all there was in hand."""
        assert self._machine is not None
        try:
            value = self._machine.calls[message["name"]](**message["arguments"])
            reply = {"value": value}
        except Exception as error:  # the boundary: a failing call is answered, the worker goes on
            self._machine.note_failure(error)
            failed = failure(error)
            reply = {"error": failed.error, "message": failed.message}
        if ends:
            self._become("ready", reply.get("message", "") if message["name"] == "load" else "")
        self._say({"is": "reply", "call": message["call"], **reply})

    def _become(self, state: str, message: str = "") -> None:
        self._state, self._message = state, message
        self._report()

    def _report(self) -> None:
        known = self._machine.report() if self._machine else {}
        self._say({"is": "report", "state": self._state, "message": self._message, **known})

    def _beat(self) -> None:
        while not self._closing.wait(BEAT_S):
            self._report()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self._channel.send(message)
        except Closed:
            os._exit(0)


def take_standard_streams() -> Channel:
    """A channel over standard input and output; prints of libraries go to standard error from now on."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.stdout = sys.stderr
    return Channel(incoming, outgoing)


def main(build: Callable[[dict[str, Any]], Machine]) -> None:
    """Serve until told to close. Ctrl-C and SIGTERM are the front's business, which starts us deaf to them."""
    channel = take_standard_streams()
    logging.basicConfig(level=os.environ.get("SD_WEBUI_LOG_LEVEL", "INFO").upper(), format="worker: %(message)s")
    try:
        Service(channel, build).serve()
    except Closed:
        log.debug("the front closed the connection")
