"""Styles: named texts from csv files, put around a prompt; and found again in a prompt that was pasted."""

from __future__ import annotations

import csv
import glob
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from modules.errors import SettingsError

PLACEHOLDER = "{prompt}"
COLUMNS = ("name", "prompt", "negative_prompt")
_SPACES = re.compile("  +")


@dataclass(frozen=True)
class Style:
    """Texts to put around, or after, the prompt and the negative prompt."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


@dataclass(frozen=True)
class StyleFile:
    """One csv file. Rows whose name starts with `#` are no styles, but stay where they are when the file is saved."""

    path: Path
    rows: tuple[Style, ...] = ()

    @property
    def styles(self) -> tuple[Style, ...]:
        return tuple(row for row in self.rows if not row.name.startswith("#"))


@dataclass(frozen=True)
class StyleBook:
    """The styles of every known file; a changed book is a new book, and reaches the disk with `save`."""

    files: tuple[StyleFile, ...] = ()

    @classmethod
    def load(cls, patterns: Sequence[str | Path]) -> StyleBook:
        """Read the files that `patterns` name (paths, or wildcards in the last part), in that order.

        A path without wildcards need not exist yet. Raises SettingsError for a file that is not text in UTF-8 or not
        csv with a `name` column.
        """
        paths = dict.fromkeys(path for pattern in patterns for path in _matching(str(pattern)))
        return cls(tuple(StyleFile(path, _read(path)) for path in paths))

    @property
    def styles(self) -> dict[str, Style]:
        """Every style by name, in order; where two files have one of the same name, the later file's counts."""
        return {style.name: style for file in self.files for style in file.styles}

    def choices(self) -> tuple[str, ...]:
        """What a drop-down shows: all names, under a line with the file's name when there are several files.

        Such a line is no style's name, so applying it changes nothing.
        """
        if len(self.files) < 2:
            return tuple(self.styles)
        grouped = ((divider(file.path), *(style.name for style in file.styles)) for file in self.files if file.styles)
        return tuple(dict.fromkeys(name for group in grouped for name in group))

    def apply(self, names: Iterable[str], prompt: str, negative_prompt: str) -> tuple[str, str]:
        """Prompt and negative prompt with the named styles, one after another.

        An unknown name is a style without texts: like any style it takes the blanks off the ends, as in A1111.
        """
        styles = self.styles
        for style in (styles.get(name, Style(name)) for name in names):
            prompt = apply_text(style.prompt, prompt)
            negative_prompt = apply_text(style.negative_prompt, negative_prompt)
        return prompt, negative_prompt

    def extract(self, prompt: str, negative_prompt: str) -> Extraction:
        """The styles that were applied to a prompt, as far as its text tells, and the texts without them.

        The first style whose both texts are found is taken off, again and again; a style without any text never is.
        The names come in the order in which applying them gives the texts back.
        """
        candidates = list(self.styles.values())
        found: list[str] = []
        while True:
            for style in candidates:
                stripped = _without(style, prompt, negative_prompt)
                if stripped is not None:
                    prompt, negative_prompt = stripped
                    found.append(style.name)
                    candidates.remove(style)
                    break
            else:
                return Extraction(tuple(reversed(found)), prompt, negative_prompt)

    def with_style(self, style: Style) -> StyleBook:
        """A book in which `style` takes the place of the one of its name, or else ends the first file.

        Raises SettingsError for a name that a file could not give back, or when the book has no file.
        """
        if not style.name.strip() or style.name.startswith("#") or style.name != style.name.lstrip():
            raise SettingsError(
                f'"{style.name}" cannot name a style: use a name that begins with neither "#" nor a space'
            )
        if not self.files:
            raise SettingsError("there is no styles file to keep the style in; name one with --styles-file")
        if style.name not in self.styles:
            first = self.files[0]
            return StyleBook((replace(first, rows=(*first.rows, style)), *self.files[1:]))
        return StyleBook(
            tuple(
                replace(file, rows=tuple(style if row.name == style.name else row for row in file.rows))
                for file in self.files
            )
        )

    def without(self, name: str) -> StyleBook:
        """A book in which no file has a style of this name; the same book when none had."""
        return StyleBook(
            tuple(replace(file, rows=tuple(row for row in file.rows if row.name != name)) for file in self.files)
        )

    def save(self) -> None:
        """Write every file, keeping what was there as `<file>.bak`; each file is either the old or the new one, whole.

        A file that does not exist and has no rows is not made. Raises SettingsError when one cannot be written.
        """
        for file in self.files:
            if file.rows or file.path.exists():
                _write(file)


class Extraction(NamedTuple):
    """What `StyleBook.extract` found: names in the order of applying, and the texts that are left."""

    names: tuple[str, ...]
    prompt: str
    negative_prompt: str


def apply_text(style_text: str, prompt: str) -> str:
    """One text with one style: put into `{prompt}` where the style has it, else joined with a comma."""
    if PLACEHOLDER in style_text:
        return style_text.replace(PLACEHOLDER, prompt)
    return ", ".join(part for part in (prompt.strip(), style_text.strip()) if part)


def extract_text(style_text: str, prompt: str) -> str | None:
    """What `prompt` was before the style was applied, or None when it does not show the style."""
    text, style = _single_spaced(prompt), _single_spaced(style_text)
    before, placeholder, after = style.partition(PLACEHOLDER)
    if placeholder:
        fits = text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)
        return text[len(before) : len(text) - len(after)] if fits else None
    return text[: len(text) - len(style)].removesuffix(", ") if text.endswith(style) else None


def divider(path: Path) -> str:
    """The line above a file's styles in a drop-down: `--------------- STYLES ----------------`."""
    return f" {path.stem.upper()} ".center(40, "-")


def _without(style: Style, prompt: str, negative_prompt: str) -> tuple[str, str] | None:
    if not style.prompt and not style.negative_prompt:
        return None
    stripped = extract_text(style.prompt, prompt)
    stripped_negative = extract_text(style.negative_prompt, negative_prompt)
    return None if stripped is None or stripped_negative is None else (stripped, stripped_negative)


def _single_spaced(text: str) -> str:
    return _SPACES.sub(" ", text.strip())


def _matching(pattern: str) -> list[Path]:
    folder, name = os.path.split(pattern)
    if "*" not in name and "?" not in name:
        return [Path(pattern)]
    return [Path(found) for found in sorted(glob.glob(os.path.join(glob.escape(folder), name)))]


def _read(path: Path) -> tuple[Style, ...]:
    if not path.exists():
        return ()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or ()
            if columns and "name" not in columns:
                raise SettingsError(f"{path}: expected the columns {', '.join(COLUMNS)}, found {', '.join(columns)}")
            text_column = "prompt" if "prompt" in columns else "text"
            return tuple(
                Style(row["name"], row.get(text_column) or "", row.get("negative_prompt") or "")
                for row in reader
                if row["name"]
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: cannot be read as styles (csv in UTF-8): {error}") from error


def _write(file: StyleFile) -> None:
    text = io.StringIO(newline="")
    as_needed, always = csv.writer(text), csv.writer(text, quoting=csv.QUOTE_ALL)
    as_needed.writerow(COLUMNS)
    for row in file.rows:
        cells = (row.name, row.prompt, row.negative_prompt)
        begins_with_space = any(cell.startswith(" ") for cell in cells)  # which reading skips, unless quoted
        (always if begins_with_space else as_needed).writerow(cells)
    path = file.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as output:
                output.write(text.getvalue().encode("utf-8-sig"))
                output.flush()
                os.fsync(output.fileno())
            if path.exists():
                shutil.copymode(path, temporary)
                shutil.copy2(path, f"{path}.bak")
            else:
                os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise SettingsError(f"{path}: the styles could not be saved: {error}") from error
