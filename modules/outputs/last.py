"""`params.txt`: the parameters of the picture made last, where A1111 keeps them and where people and tools look."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "params.txt"


def keep_parameters(data_path: Path, infotext: str) -> None:
    """Write `infotext` into the data folder's params.txt, all of it or nothing.

    A disk that is full costs this file only: the picture itself carries its parameters.
    """
    target = data_path / FILE_NAME
    draft = target.with_suffix(f".{os.getpid()}.new")
    try:
        draft.write_text(infotext, encoding="utf-8", errors="replace", newline="")
        draft.replace(target)
    except OSError as error:
        log.warning("%s is not up to date: %s", target, error)
        draft.unlink(missing_ok=True)
