"""Room on the disk that is held back, so that what must be written can be written when the disk is full."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

SIZE_BYTES = 1 << 20  # some forty changes of the queue


class Reserve:
    """A file of `SIZE_BYTES` that is there for nothing but to be given up; not thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._is_held = file.is_file()

    def hold(self) -> None:
        """Take the room again, if it was given up and there is plenty now."""
        if self._is_held or shutil.disk_usage(self._file.parent).free < 2 * SIZE_BYTES:
            return
        try:
            self._file.write_bytes(os.urandom(SIZE_BYTES))  # zeros may take no room on some file systems
        except OSError as error:
            log.debug("no room could be held back: %s", error)
            self._file.unlink(missing_ok=True)
            return
        self._is_held = True

    def give_up(self) -> bool:
        """Make the room free; False when there was none left."""
        if not self._is_held:
            return False
        self._file.unlink(missing_ok=True)
        self._is_held = False
        log.error("the disk is full; free some space, or the next pictures cannot be kept")
        return True
