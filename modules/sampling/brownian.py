"""A Brownian path that is a function of its seed: the same increments wherever and in whatever order it is asked.

The numbers are those of torchsde's `BrownianTree` (its defaults, without Lévy area), which A1111 and k-diffusion use;
unlike it, a path here takes its normal numbers from a function it is handed, so that no library has to be patched to
draw them from another source, and it needs no other package.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Draw = Callable[[int], "Tensor"]
"""Standard normal numbers in the path's shape from a fresh generator with the given seed."""

DIGITS = 6
"""Times are rounded to 1e-6, torchsde's default tolerance."""

POOL_SIZE = 24
"""Words of entropy that torchsde's tree mixes for each node's seed."""

REMEMBERED = 64
"""Increments kept in memory: two walks from the root to the finest intervals, and some to spare."""


@dataclass(frozen=True)
class Interval:
    """A node of the tree: number `place` among the 2 ** depth intervals of its depth."""

    depth: int
    place: int
    start: float
    end: float

    @property
    def middle(self) -> float:
        return round(0.5 * (self.end + self.start), DIGITS)

    def halves(self) -> tuple[Interval, Interval]:
        depth, place, middle = self.depth + 1, 2 * self.place, self.middle
        return Interval(depth, place, self.start, middle), Interval(depth, place + 1, middle, self.end)


class BrownianPath:
    """W(t) for t between `start` and `end`, as a binary tree of halved intervals with a Brownian bridge in each.

    An interval's increment follows from its parent's and from normal numbers seeded by the path's entropy (a whole
    number from 0) and the parent's place in the tree.

    Gaines and Lyons 1997, "Variable Step Size Control in the Numerical Solution of Stochastic Differential Equations";
    Li et al. 2020 (arXiv:2001.01328), section 4.
    """

    def __init__(self, start: float, end: float, *, entropy: int, draw: Draw) -> None:
        self.root = Interval(0, 0, round(start, DIGITS), round(end, DIGITS))
        self.entropy = entropy
        self.draw = draw
        self.total = self._normal() * math.sqrt(end - start)
        self._left_increments: OrderedDict[Interval, Tensor] = OrderedDict()

    def increment(self, start: float, end: float) -> Tensor:
        """W(end) − W(start), in the shape that `draw` gives; `end` may come before `start`.

        Times outside the path count as its ends. Between times that round to the same there is no increment: zeros.
        """
        low, high = (min(max(round(time, DIGITS), self.root.start), self.root.end) for time in sorted((start, end)))
        if low == high:
            return self.total * 0.0
        first, *others = self._parts(self.root, self.total, low, high)
        total = sum(others, first)
        return total if start < end else -total

    def _parts(self, interval: Interval, increment: Tensor, low: float, high: float) -> Iterator[Tensor]:
        """The increments of the largest intervals of the tree that make up [low, high], from left to right."""
        if (interval.start, interval.end) == (low, high):
            yield increment
            return
        left, right = interval.halves()
        left_increment = self._left_of(interval, increment)
        if low < left.end:
            yield from self._parts(left, left_increment, low, min(high, left.end))
        if high > right.start:
            yield from self._parts(right, increment - left_increment, max(low, right.start), high)

    def _left_of(self, interval: Interval, increment: Tensor) -> Tensor:
        """The increment over an interval's left half, given that over all of it: a Brownian bridge's midpoint."""
        known = self._left_increments.get(interval)
        if known is None:
            inverse = 1 / (interval.end - interval.start)
            left, right = interval.middle - interval.start, interval.end - interval.middle
            noise = self._normal(spawn_key=(interval.place, interval.depth))
            known = left * increment * inverse + math.sqrt(left * right * inverse) * noise
            self._left_increments[interval] = known
            if len(self._left_increments) > REMEMBERED:
                self._left_increments.popitem(last=False)
        else:
            self._left_increments.move_to_end(interval)
        return known

    def _normal(self, spawn_key: tuple[int, ...] = ()) -> Tensor:
        import numpy as np

        seeds = np.random.SeedSequence(self.entropy, spawn_key=spawn_key, pool_size=POOL_SIZE)
        return self.draw(int(seeds.generate_state(1)[0]))
