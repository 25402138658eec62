"""Infotext → prompt, negative prompt and values by key, as A1111 reads it. What missing keys mean is in `legacy.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_KEY_CHARACTER = re.compile(r"[\w \-/]")
_QUOTED = re.compile(r'\s*("(?:\\.|[^\\"])+")(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")
_FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Infotext:
    """A read infotext: texts, and values by key in the order they stood.

    A value like "512x768" under `Size` stands as `Size-1` and `Size-2`. Values are texts, unquoted.
    """

    prompt: str = ""
    negative_prompt: str = ""
    values: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> Infotext:
    """Read an infotext; any text is one, in doubt a prompt alone. Linear in the text's length.

    The last line holds the values if at least three pairs are found in it. A line that begins with "Negative prompt:"
    begins the negative prompt. Lines lose the blanks at their ends.
    """
    *lines, last = text.strip().split("\n")
    found = list(pairs(last))
    if len(found) < _FEWEST_PAIRS:
        lines, found = [*lines, last], []
    prompt: list[str] = []
    negative: list[str] = []
    current = prompt
    for line in (line.strip() for line in lines):
        if line.startswith("Negative prompt:"):
            current = negative
            line = line.removeprefix("Negative prompt:").strip()
        if current or line:
            current.append(line)
    values: dict[str, str] = {}
    for key, value in found:
        if size := _SIZE.fullmatch(value):
            values[f"{key}-1"], values[f"{key}-2"] = size[1], size[2]
        elif value:
            values[key] = value
    return Infotext("\n".join(prompt), "\n".join(negative), values)


def pairs(line: str) -> Iterator[tuple[str, str]]:
    """The `key: value` pairs of a line, values unquoted, empty ones included.

    A key is at least two letters, digits, "_", blanks, "-" or "/", the first of them a letter, digit or "_". A value is
    a whole JSON string in quotes that a comma or the end follows, or everything up to the next comma.
    """
    position = 0
    while (colon := line.find(":", position)) >= 0:
        start = colon
        while start > position and _KEY_CHARACTER.match(line[start - 1]):
            start -= 1
        while start < colon and not (line[start].isalnum() or line[start] == "_"):
            start += 1
        if colon - start < 2:
            position = colon + 1
            continue
        if quoted := _QUOTED.match(line, colon + 1):
            value, end = quoted[1], quoted.end(1)
        else:
            comma = line.find(",", colon)
            end = len(line) if comma < 0 else comma
            value = line[colon + 1 : end].lstrip()
        yield line[start:colon], unquote(value)
        position = end + 1


def unquote(value: str) -> str:
    """The text that a JSON string means; anything else as it is."""
    if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
        return value
    try:
        text = json.loads(value)
    except ValueError:
        return value
    return text if isinstance(text, str) else value
