"""What was said to the running job, as the engine asks for it, and whose turn it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from modules.jobs.worker import Control, ControlSource

_LASTING = (Control.RUN, Control.GIVE_WAY, Control.STOP_AFTER_BATCH, Control.INTERRUPT)  # the later the stronger
_LOOK_AGAIN_S = 1.0  # another program may share the queue; its jobs wake nobody here


class ControlBox:
    """Holds the wishes for one job. `take` gives SKIP once; of the others the strongest stays, INTERRUPT for good."""

    def __init__(self) -> None:
        self._lasting = Control.RUN
        self._skip = False
        self._lock = threading.Lock()

    def put(self, wish: Control) -> None:
        with self._lock:
            if wish is Control.SKIP:
                self._skip = True
            else:
                self._lasting = max(self._lasting, wish, key=_LASTING.index)

    def take(self) -> Control:
        with self._lock:
            if self._lasting is Control.INTERRUPT:
                return Control.INTERRUPT
            skip, self._skip = self._skip, False
            return Control.SKIP if skip else self._lasting


class Turn:
    """What was said to a job, and GIVE_WAY once it is somebody else's turn.

    `is_over()` tells that; it is asked when `changes()` gives another number than before, and every second.
    """

    def __init__(self, said: ControlSource, *, is_over: Callable[[], bool], changes: Callable[[], int]) -> None:
        self._said, self._is_over, self._changes = said, is_over, changes
        self._seen: int | None = None
        self._looked_at = 0.0
        self._over = False

    def take(self) -> Control:
        wish = self._said.take()
        if wish is Control.RUN and self._has_ended():
            return Control.GIVE_WAY
        return wish

    def _has_ended(self) -> bool:
        seen, now = self._changes(), time.monotonic()
        if not self._over and (seen != self._seen or now - self._looked_at >= _LOOK_AGAIN_S):
            self._seen, self._looked_at = seen, now
            self._over = self._is_over()
        return self._over
