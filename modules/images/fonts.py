"""Fonts for legends: the one chosen in the settings or Pillow's own, and one of the system's for what those lack.

Pillow's own font knows Latin letters only. A text with others is written in the first font of the machine that has all
of them; without one, missing letters are boxes, as everywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from modules.errors import SettingsError

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PROBED_AT = 16
_NO_LETTER = "\U0010ffff"
"""Never assigned, so every font draws its sign for "missing" here."""

_LIKED = ("sans", "regular", "cjk", "msyh", "pingfang", "hiragino", "arial", "simhei", "wqy", "droidsansfallback")
_DISLIKED = ("bold", "italic", "oblique", "mono", "serif", "condensed", "light", "black", "thin", "narrow", "emoji")


def font_for(text: str, size: int, chosen: str = "") -> Font:
    """The font to write `text` in, `size` pixels high; `chosen` is a font file's path, "" for Pillow's own.

    Raises SettingsError for a chosen font that cannot be used.
    """
    if missing := _missing(chosen, text):
        other = _system_font_with(missing | _letters(text))
        if other is not None:
            return _opened(other, size)
    return _opened(chosen, size)


def system_fonts() -> Iterator[Path]:
    """Font files of this machine, plain ones first."""
    found = {path for folder in _folders() if folder.is_dir() for path in _files_below(folder)}

    def rank(path: Path) -> tuple[int, str]:
        name = path.stem.lower()
        return sum(word in name for word in _DISLIKED) * 2 - sum(word in name for word in _LIKED), name

    yield from sorted(found, key=rank)


def _folders() -> Iterator[Path]:
    home = Path.home()
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts")
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts")
    else:
        yield from (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
        yield from (home / ".fonts", home / ".local/share/fonts")


def _files_below(folder: Path) -> Iterable[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names if name.lower().endswith((".ttf", ".ttc", ".otf")))


def _letters(text: str) -> frozenset[str]:
    return frozenset(letter for letter in text if not letter.isspace() and letter.isprintable())


@lru_cache(maxsize=512)
def _opened(path: str, size: int) -> Font:
    if not path:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(path, size)
    except OSError as error:
        raise SettingsError(
            f"the font {path} cannot be used: {error}; change the setting font or leave it empty"
        ) from error


def _missing(path: str, text: str) -> frozenset[str]:
    """The letters of `text` that a font has no sign for."""
    return frozenset(letter for letter in _letters(text) if not _has(path, letter))


@lru_cache(maxsize=20_000)
def _has(path: str, letter: str) -> bool:
    font = _opened(path, _PROBED_AT)
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NO_LETTER))


@lru_cache(maxsize=1024)
def _system_font_with(letters: frozenset[str]) -> str | None:
    """The first of the machine's fonts that has every letter; None when there is none."""
    for path in system_fonts():
        try:
            if all(_has(str(path), letter) for letter in letters):
                return str(path)
        except SettingsError:
            continue  # a file of that name that is no font
    return None
