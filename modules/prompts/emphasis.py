"""Attention syntax: `(more)`, `[less]`, `(just so:1.3)`, `\\(` and BREAK become pieces of text with weights.

How weights act on the encoder's output is `modules/conditioning/emphasis.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modules.errors import InvalidPrompt

ROUND = 1.1
SQUARE = 1 / 1.1
BREAK_WEIGHT = -1.0
DEEPEST = 200
"""Brackets that may be open at once: what lies in more weighs more than any network can take."""

_TOKEN = re.compile(r"\\[()\[\]\\]|\\|\(|\[|:\s*(?P<number>[+-]?[.\d]+)\s*\)|\)|\]|:|[^\\()\[\]:]+")
_BREAK = re.compile(r"\bBREAK\b")


@dataclass(frozen=True)
class Piece:
    """A run of text with one weight; 1.0 is neutral."""

    text: str
    weight: float = 1.0

    @property
    def is_break(self) -> bool:
        """Whether this ends the chunk in hand, instead of being text.

        A BREAK inside weighted brackets has its marker weight multiplied and becomes the word "BREAK" with a negative
        weight (A1111 quirk, kept: it changes pixels).
        """
        return self.text == "BREAK" and self.weight == BREAK_WEIGHT


class _Pieces:
    """Pieces under construction, and the positions of brackets that are still open."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.weights: list[float] = []
        self.round_opened: list[int] = []
        self.square_opened: list[int] = []

    def add(self, text: str, weight: float = 1.0) -> None:
        self.texts.append(text)
        self.weights.append(weight)

    def add_words(self, text: str) -> None:
        """Text in which BREAK has its meaning; white space around it is swallowed."""
        first, *others = _BREAK.split(text)
        if not others:
            self.add(first)
            return
        self.add(first.rstrip())
        for part in others[:-1]:
            self.add("BREAK", BREAK_WEIGHT)
            self.add(part.strip())
        self.add("BREAK", BREAK_WEIGHT)
        self.add(others[-1].lstrip())

    def open(self, brackets: list[int]) -> None:
        brackets.append(len(self.texts))
        if len(self.round_opened) + len(self.square_opened) > DEEPEST:
            raise InvalidPrompt(
                f"more than {DEEPEST} brackets are open at once; close some, or write \\( and \\[ where they are text",
                field="prompt",
            )

    def weigh_from(self, start: int, factor: float) -> None:
        self.weights[start:] = [weight * factor for weight in self.weights[start:]]

    def merged(self) -> tuple[Piece, ...]:
        """The pieces, neighbours of equal weight joined."""
        merged: list[tuple[list[str], float]] = []
        for text, weight in zip(self.texts, self.weights, strict=True):
            if merged and merged[-1][1] == weight:
                merged[-1][0].append(text)
            else:
                merged.append(([text], weight))
        return tuple(Piece("".join(texts), weight) for texts, weight in merged)


def parse(text: str) -> tuple[Piece, ...]:
    """The weighted pieces of a prompt, at least one; neighbours of equal weight are one piece.

    `(x)` weighs 1.1, `[x]` 1 / 1.1, `(x:1.3)` 1.3; nested weights multiply. Brackets left open close at the end,
    stray closing ones are text, `[x:1.3]` is text at 1 / 1.1. A backslash makes the next bracket or backslash text and
    vanishes before anything else. Emphasis mode "None" uses `plain` instead, the legacy emphasis `legacy_factor`.

    Raises InvalidPrompt for a weight such as the one in "(a:1.2.3)", which A1111 refuses too, and for more than DEEPEST
    brackets in one another.
    """
    pieces = _Pieces()
    for match in _TOKEN.finditer(text):
        token, number = match[0], match["number"]
        if token[0] == "\\":
            pieces.add(token[1:])
        elif token == "(":
            pieces.open(pieces.round_opened)
        elif token == "[":
            pieces.open(pieces.square_opened)
        elif number is not None and pieces.round_opened:
            pieces.weigh_from(pieces.round_opened.pop(), _weight(number, text))
        elif token == ")" and pieces.round_opened:
            pieces.weigh_from(pieces.round_opened.pop(), ROUND)
        elif token == "]" and pieces.square_opened:
            pieces.weigh_from(pieces.square_opened.pop(), SQUARE)
        else:
            pieces.add_words(token)
    for start in pieces.round_opened:
        pieces.weigh_from(start, ROUND)
    for start in pieces.square_opened:
        pieces.weigh_from(start, SQUARE)
    return pieces.merged() or (Piece(""),)


def plain(text: str) -> tuple[Piece, ...]:
    """The whole text as one neutral piece: emphasis mode "None", where brackets and BREAK are literal."""
    return (Piece(text),)


def has_syntax(text: str) -> bool:
    """Whether A1111 writes `Emphasis: …` for this text when the mode is not the default: any ( or [, even escaped."""
    return "(" in text or "[" in text


def legacy_factor(token_text: str) -> float | None:
    """What a token of this text does to the running weight under the legacy emphasis, or None when it is text.

    Tokens whose brackets cancel out, such as "()", are text.
    """
    factor = 1.0
    for character in token_text:
        if character in "(]":
            factor *= 1.1
        elif character in ")[":
            factor /= 1.1
    return None if factor == 1.0 else factor


def _weight(number: str, prompt: str) -> float:
    try:
        return float(number)
    except ValueError as error:
        raise InvalidPrompt(
            f'"{number}" is not a number: the weight in "(text:{number})" must look like 1.2; '
            "write the colon without a number after it, or escape the bracket as \\)",
            field="prompt",
        ) from error
