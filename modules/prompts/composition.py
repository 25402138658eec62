"""Composable diffusion (Liu et al. 2022, arXiv:2206.01714): `a cat :1.2 AND a dog :0.6` becomes weighted parts."""

from __future__ import annotations

import re
from typing import NamedTuple

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"\s*([-+]?(?:\d+\.?|\d*\.\d+))")


class Part(NamedTuple):
    """One of the texts that are guided towards together; its direction is multiplied by `weight`."""

    text: str
    weight: float = 1.0


def split(prompt: str) -> tuple[Part, ...]:
    """The parts of a positive prompt, at least one.

    Parts are separated by the upper-case word AND, wherever it stands: inside brackets it tears them apart. A part may
    end in `:number`; so "cat:1.5" alone already weighs the whole prompt, while "(cat:1.5)" is emphasis.
    """
    return tuple(_part(text) for text in _AND.split(prompt))


def _part(text: str) -> Part:
    text = text.rstrip()
    before, colon, after = text.rpartition(":")
    weight = _WEIGHT.fullmatch(after) if colon else None
    return Part(before.rstrip(), float(weight[1])) if weight else Part(text)
