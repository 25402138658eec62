"""Moving pictures out of sight and back: a `.trash` folder beside them, so that nothing crosses a file system.

The text file beside a picture (`save_txt`) goes along; in the trash it is called `<the picture's whole name>.txt`,
since pictures of different kinds may have one stem.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from modules.errors import SavingError
from modules.images.formats import EXTENSIONS

TRASH = ".trash"


def move_to_trash(path: Path, trashed: Path | None = None) -> Path | None:
    """Move a picture into the trash beside it; returns where it is now, None when it was gone already.

    It is called `trashed` there if that name was free, by default what it was called before.

    Raises SavingError when it cannot be moved; everything is where it was then.
    """
    target = trashed or path.parent / TRASH / path.name
    try:
        if not path.exists():
            return None
        target.parent.mkdir(exist_ok=True)
        return _move(path, target, text=_own_text(path), text_of=_trashed_text)
    except OSError as error:
        raise SavingError(f"{path} cannot be moved to the trash: {error.strerror or error}") from error


def move_back(trashed: Path, path: Path) -> Path | None:
    """Move a picture from the trash to `path`, or to a free name like it; None when it is not in the trash any more.

    Raises SavingError when it cannot be moved; everything is where it was then.
    """
    try:
        if not trashed.exists():
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        text = _trashed_text(trashed)
        return _move(trashed, path, text=text if text.is_file() else None, text_of=_text_beside)
    except OSError as error:
        raise SavingError(f"{path} cannot be brought back from the trash: {error.strerror or error}") from error


def delete(trashed: Path) -> None:
    """Delete a picture in the trash for good; one that is gone already is as well. Raises SavingError."""
    try:
        _trashed_text(trashed).unlink(missing_ok=True)
        trashed.unlink(missing_ok=True)
    except OSError as error:
        raise SavingError(f"{trashed} cannot be deleted: {error.strerror or error}") from error


def _text_beside(path: Path) -> Path:
    return path.with_suffix(".txt")


def _trashed_text(trashed: Path) -> Path:
    return trashed.with_name(f"{trashed.name}.txt")


def _own_text(path: Path) -> Path | None:
    """The text beside a picture, None without one and for one that another picture of the same stem needs too."""
    text = _text_beside(path)
    others = (path.with_suffix(extension) for extension in EXTENSIONS if extension != path.suffix.lower())
    return text if text.is_file() and not any(other.exists() for other in others) else None


def _move(source: Path, target: Path, *, text: Path | None, text_of: Callable[[Path], Path]) -> Path:
    """Move a picture and its text without overwriting: both to `a`, else both to `a-1`, `a-2` …; all or nothing."""
    sources = [source] if text is None else [source, text]
    for count in itertools.count():
        free = target.with_stem(f"{target.stem}-{count}") if count else target
        targets = [free] if text is None else [free, text_of(free)]
        if _claim(targets):
            _replace(sources, targets)
            return free
    raise AssertionError("counting never ends")


def _claim(paths: list[Path]) -> bool:
    """Take these names with empty files; False, and none is taken, when one of them is somebody's already."""
    taken: list[Path] = []
    try:
        for path in paths:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            taken.append(path)
    except OSError as error:
        _remove(taken)
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def _replace(sources: list[Path], targets: list[Path]) -> None:
    """Put files under names that are claimed; when one cannot be, those before it go back."""
    moved = 0
    try:
        for source, target in zip(sources, targets, strict=True):
            os.replace(source, target)
            moved += 1
    except OSError:
        _remove(targets[moved:])
        for source, target in zip(sources[:moved], targets[:moved], strict=True):
            os.replace(target, source)
        raise


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
