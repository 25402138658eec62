"""Prompt editing `[before:after:when]` and alternation `[a|b]`: which text is meant at which step.

The grammar, where anything that does not fit is literal text:

    text       := (scheduled | alternate | emphasised | plain | stray "[" "]" "(" ")" ":")*
    scheduled  := "[" [inner ":"] inner ":" NUMBER "]"          spaces around NUMBER are allowed
    alternate  := "[" inner ("|" inner)+ "]"
    emphasised := "(" inner ")" | "(" inner ":" inner ")" | "[" inner "]"      stays in the text
    inner      := (scheduled | alternate | emphasised | plain)*
    plain      := any characters but \\ [ ] ( ) : |, or a backslash and any character

A stray "|" or a backslash at the end of a line makes the *whole* text literal, as in A1111. A construct holds only
balanced brackets, so its span is the only possible one and one pass with a stack reads the grammar in linear time (the
tests hold it against the same grammar given to lark, whose Earley parser needs seconds for a hostile prompt).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

_TOKEN = re.compile(r"[\[\]():|]|(?:[^\\\[\]():|]|\\.)+|\\")
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")


class Segment(NamedTuple):
    """`text` is meant up to and including step `end_at_step`, counted from 1."""

    end_at_step: int
    text: str


Schedule = tuple[Segment, ...]


@dataclass(frozen=True)
class Switch:
    """`before` until the step that `when` names, `after` from then on; `when` is kept as written."""

    before: Inner
    after: Inner
    when: str

    def last_step(self, steps: int, first_pass_steps: int | None, *, old_timelines: bool) -> int:
        """The last step of `before`, at most `steps`; below 1 `before` never shows.

        A number with a dot is a share of the steps, else a step. In the hires pass shares count from 1.0 and steps
        from the end of the first pass. Old timelines: below 1 a share, else a step, in both passes alike.
        """
        value = float(self.when)
        if old_timelines:
            last = value * steps if value < 1 else value
        elif "." in self.when:
            last = (value - (0.0 if first_pass_steps is None else 1.0)) * steps
        else:
            last = value - (first_pass_steps or 0)
        return int(max(-1.0, min(float(steps), last)))


@dataclass(frozen=True)
class Alternation:
    """One option a step, in turn."""

    options: tuple[Inner, ...]


Inner = tuple["str | Switch | Alternation", ...]


@dataclass
class _Group:
    """A bracket that is still open: what it holds, cut at its colons and bars."""

    opening: str
    parts: list[list[str | Switch | Alternation]] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)

    def literal(self) -> list[str | Switch | Alternation]:
        """The opening bracket and everything after it, as it was written."""
        items: list[str | Switch | Alternation] = [self.opening, *self.parts[0]]
        for separator, part in zip(self.separators, self.parts[1:], strict=True):
            items += [separator, *part]
        return items

    def close(self, closing: str) -> list[str | Switch | Alternation] | None:
        """What the finished bracket means, or None when it is none of the grammar's forms."""
        kinds, count = set(self.separators), len(self.separators)
        if not count or (self.opening == "(" and self.separators == [":"]):
            return [*self.literal(), closing]
        if self.opening == "[" and kinds == {"|"}:
            return [Alternation(tuple(tuple(part) for part in self.parts))]
        if self.opening == "[" and kinds == {":"} and count <= 2:
            last = self.parts[-1]
            number = _NUMBER.fullmatch("".join(last)) if all(isinstance(item, str) for item in last) else None
            if number is not None:
                before = tuple(self.parts[0]) if count == 2 else ()
                return [Switch(before, tuple(self.parts[-2]), number[1])]
        return None


def parse(text: str) -> Inner:
    """The text as literal parts, switches and alternations, in order; never raises."""
    top: list[str | Switch | Alternation] = []
    open_groups: list[_Group] = []

    def give_up_open_groups() -> None:
        for group in open_groups:
            top.extend(group.literal())
        open_groups.clear()

    for token in _TOKEN.findall(text):
        if token == "\\":
            return (text,)
        if token in "[(":
            open_groups.append(_Group(token))
        elif not open_groups:
            if token == "|":
                return (text,)
            top.append(token)
        elif token in ":|":
            open_groups[-1].separators.append(token)
            open_groups[-1].parts.append([])
        elif token in "])":
            group = open_groups[-1]
            matches = group.opening == ("[" if token == "]" else "(")
            closed = group.close(token) if matches else None
            if closed is None:  # then no bracket around it can hold only balanced brackets
                give_up_open_groups()
                top.append(token)
            else:
                open_groups.pop()
                (open_groups[-1].parts[-1] if open_groups else top).extend(closed)
        else:
            open_groups[-1].parts[-1].append(token)
    give_up_open_groups()
    return (text,) if "|" in top else tuple(top)


def schedule(text: str, steps: int, *, first_pass_steps: int | None = None, old_timelines: bool = False) -> Schedule:
    """The texts that a prompt means over `steps`, the last segment ending at `steps`; never raises.

    `steps` are model calls of this pass: twice the sampler's steps for second-order samplers. For the hires pass give
    the first pass's model calls as `first_pass_steps`; old timelines then use those for both passes, as A1111 does.
    An alternation makes one segment a step, even where neighbours are equal: all segments of a prompt are encoded
    together, and the "Original" emphasis takes its mean over all of them.

    Which model call uses which segment is `segment_at`.
    """
    if old_timelines and first_pass_steps is not None:
        steps, first_pass_steps = first_pass_steps, None
    sequence = parse(text)
    ends = {steps}
    for node in _nodes(sequence):
        if isinstance(node, Alternation):
            ends.update(range(1, steps + 1))
        else:
            last = node.last_step(steps, first_pass_steps, old_timelines=old_timelines)
            if last >= 1:
                ends.add(last)

    def render(step: int) -> str:
        texts: list[str] = []
        pending = list(reversed(sequence))
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                texts.append(item)
            elif isinstance(item, Alternation):
                pending.extend(reversed(item.options[(step - 1) % len(item.options)]))
            else:
                last = item.last_step(steps, first_pass_steps, old_timelines=old_timelines)
                pending.extend(reversed(item.before if step <= last else item.after))
        return "".join(texts)

    return tuple(Segment(end, render(end)) for end in sorted(ends))


def segment_at(schedule: Schedule, call: int) -> int:
    """The index of the segment that model call `call`, counted from 0, uses.

    A segment is used while call ≤ its end, so the first one covers one call more than its steps, and a call beyond the
    last end (DPM adaptive makes as many as it needs) uses the first one again. Both are A1111's, and show in pixels.
    """
    index = bisect_left(schedule, call, key=lambda segment: segment.end_at_step)
    return index if index < len(schedule) else 0


def _nodes(sequence: Inner) -> list[Switch | Alternation]:
    found: list[Switch | Alternation] = []
    pending = [*sequence]
    while pending:
        item = pending.pop()
        if isinstance(item, Switch):
            found.append(item)
            pending += [*item.before, *item.after]
        elif isinstance(item, Alternation):
            found.append(item)
            for option in item.options:
                pending += option
    return found
