"""A registry of named things: samplers, schedules, families, upscalers, tabs, scripts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Generic, TypeVar

from modules.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Things by name, in the order they were registered, with aliases and a helpful error.

    `kind` is the word used in messages: `no sampler named "Eulr a"; did you mean "Euler a", "Euler"?`
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self._aliases: dict[str, str] = {}

    def add(self, name: str, item: T, *, aliases: tuple[str, ...] = ()) -> None:
        """Register `item`; raises ValueError when the name or an alias is taken."""
        for taken in (name, *aliases):
            if taken in self._items or taken in self._aliases:
                raise ValueError(f'two {self.kind}s are named "{taken}"')
        self._items[name] = item
        self._aliases.update({alias: name for alias in aliases})

    def remove(self, name: str) -> None:
        """Take back what `add` registered, aliases included."""
        del self._items[name]
        self._aliases = {alias: target for alias, target in self._aliases.items() if target != name}

    def name_of(self, asked: str) -> str:
        """The registered name for a name or alias, exact or else ignoring case; raises UnknownName."""
        if asked in self._items:
            return asked
        if asked in self._aliases:
            return self._aliases[asked]
        folded = {key.casefold(): key for key in (*self._aliases, *self._items)}
        if (match := folded.get(asked.casefold())) is not None:
            return self._aliases.get(match, match)
        raise UnknownName(f'no {self.kind} named "{asked}"{did_you_mean(asked, self.names())}')

    def get(self, asked: str) -> T:
        """The thing registered under a name or alias; raises UnknownName."""
        return self._items[self.name_of(asked)]

    def names(self) -> tuple[str, ...]:
        return tuple(self._items)

    def aliases_of(self, name: str) -> tuple[str, ...]:
        return tuple(alias for alias, target in self._aliases.items() if target == name)

    def __contains__(self, name: str) -> bool:
        return name in self._items or name in self._aliases

    def __iter__(self) -> Iterator[T]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)


_LONGEST = 200
"""Letters that are compared: more is no name, and would take minutes."""


def did_you_mean(asked: str, names: tuple[str, ...]) -> str:
    """`; did you mean "Euler a", "Euler"?` for near misses; `; there is "a", "b" …` for none near."""
    folded = {name.casefold(): name for name in names}
    near = [folded[match] for match in difflib.get_close_matches(asked[:_LONGEST].casefold(), folded, n=3, cutoff=0.5)]
    if near:
        return "; did you mean " + ", ".join(f'"{name}"' for name in near) + "?"
    if not names:
        return "; there is none at all"
    shown = ", ".join(f'"{name}"' for name in names[:8])
    return f"; there is {shown}" + (" …" if len(names) > 8 else "")
