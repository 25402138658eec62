"""Which seed and variation seed every picture of a job gets."""

from __future__ import annotations

import random
from collections.abc import Callable

from modules.generation.request import SeedPart

RANDOM_SEED_LIMIT = 4294967294
"""Drawn seeds are below this, as in A1111; given seeds may be any integer."""


def draw_seed() -> int:
    """A seed nobody can guess, 0 … 4294967293."""
    return random.SystemRandom().randrange(RANDOM_SEED_LIMIT)


def assign(seed: SeedPart, count: int, *, draw: Callable[[], int] = draw_seed) -> tuple[tuple[int, int], ...]:
    """(seed, variation seed) for each of `count` pictures.

    -1 is drawn, both independently, even where the variation is not used (its seed is reported). With a variation
    strength every picture keeps the same seed and only the variation seed counts up; without, both count up.
    """
    first = draw() if seed.value == -1 else seed.value
    variation = draw() if seed.variation == -1 else seed.variation
    step = 0 if seed.variation_strength else 1
    return tuple((first + step * index, variation + index) for index in range(count))
