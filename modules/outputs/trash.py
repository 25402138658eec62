"""Moving files out of sight and back: a `.trash` folder beside them, so that nothing crosses a file system."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from modules.errors import SavingError

TRASH = ".trash"


def move_to_trash(path: Path) -> Path | None:
    """Move a file into the trash beside it; returns where it is now, None when it was gone already.

    Raises SavingError when it cannot be moved.
    """
    folder = path.parent / TRASH
    try:
        if not path.exists():
            return None
        folder.mkdir(exist_ok=True)
        return _move(path, folder / path.name)
    except OSError as error:
        raise SavingError(f"{path} cannot be moved to the trash: {error.strerror or error}") from error


def move_back(trashed: Path, path: Path) -> Path | None:
    """Move a file from the trash to `path`, or to a free name like it; None when it is not in the trash any more.

    Raises SavingError when it cannot be moved.
    """
    try:
        if not trashed.exists():
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        return _move(trashed, path)
    except OSError as error:
        raise SavingError(f"{path} cannot be brought back from the trash: {error.strerror or error}") from error


def _move(source: Path, target: Path) -> Path:
    """Move without overwriting: `a.png`, else `a-1.png`, `a-2.png` …"""
    for count in itertools.count():
        free = target.with_stem(f"{target.stem}-{count}") if count else target
        try:
            os.close(os.open(free, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            continue
        try:
            os.replace(source, free)
        except OSError:
            free.unlink(missing_ok=True)
            raise
        return free
    raise AssertionError("counting never ends")
