"""Comments in prompts: everything from `#` to the end of its line."""

from __future__ import annotations

import re

_WHOLE_LINE = re.compile(r"(?:\A|\n)#[^\n]*(?:\n|\Z)")
_REST_OF_LINE = re.compile(r"#[^\n]*(?:\n|\Z)")


def strip(text: str) -> str:
    """The text without comments; there is no way to write a `#` that stays.

    A line that is all comment goes together with its line break. A comment at the very end of the text leaves a line
    break behind, as in A1111, where metadata shows it.
    """
    return _REST_OF_LINE.sub("\n", _WHOLE_LINE.sub("\n", text))
