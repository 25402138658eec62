"""The values of an axis as people write them: comma-separated, with ranges, steps and counts (A1111's syntax)."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator

NUMBER = r"([+-]?\s*\d+(?:\.\d*)?)"
STEPPED = re.compile(rf"{NUMBER}\s*-\s*{NUMBER}(?:\s*\(([+-]\s*\d+(?:\.\d*)?)\s*\))?")
COUNTED = re.compile(rf"{NUMBER}\s*-\s*{NUMBER}\s*\[\s*(\d+)\s*\]")

LIMIT = 10_000
"""More values than this on one axis are a slip of the pen."""


def texts(text: str) -> list[str]:
    """The trimmed parts between commas; quotes keep a comma inside a part, empty parts are left out."""
    parts = [part for line in csv.reader(text.splitlines(), skipinitialspace=True) for part in line]
    return [part.strip() for part in parts if part.strip()]


def whole_numbers(text: str) -> list[int]:
    """`3`, `1-5`, `1-10 (+3)`, `10-1 (-3)`, `1-100 [5]`: ends included, counts evenly spread and cut to whole numbers.

    Raises ValueError for what is not a whole number or range.
    """
    found: list[int] = []
    for part in texts(text):
        values = list(_numbers(part, "a whole number"))
        if not COUNTED.fullmatch(part) and not all(value.is_integer() for value in values):
            raise ValueError(f'"{part}" is a fraction where whole numbers are needed')
        found += [int(value) for value in values]
    return found


def numbers(text: str) -> list[float]:
    """`0.5`, `1-2`, `1-2 (+0.25)`, `0-1 [5]`: ends included; raises ValueError for what is not a number or range."""
    return [round(value, 8) for part in texts(text) for value in _numbers(part, "a number")]


def _numbers(part: str, wanted: str) -> Iterator[float]:
    if match := COUNTED.fullmatch(part):
        first, last, count = _number(match[1]), _number(match[2]), int(match[3])
        _check_count(count, part)
        for place in range(count):
            yield first + (last - first) * place / max(1, count - 1)
    elif match := STEPPED.fullmatch(part):
        first, last = _number(match[1]), _number(match[2])
        step = _number(match[3]) if match[3] else math.copysign(1.0, last - first)
        if step == 0 or (last - first) * step < 0:
            raise ValueError(f'the step of "{part}" never gets from {match[1]} to {match[2]}')
        count = math.floor((last - first) / step + 1e-9) + 1  # 0-1 (+0.1) has eleven values, not ten or twelve
        _check_count(count, part)
        for place in range(count):
            yield first + step * place
    else:
        try:
            yield float(part)
        except ValueError:
            raise ValueError(f'"{part}" is neither {wanted} nor a range such as 1-5, 1-10 (+3) or 1-10 [4]') from None


def _number(text: str) -> float:
    return float(text.replace(" ", ""))


def _check_count(count: int, part: str) -> None:
    if count > LIMIT:
        raise ValueError(f'"{part}" makes {count} values; {LIMIT} are the most')
