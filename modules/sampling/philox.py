"""CUDA's random numbers without CUDA: the Philox 4x32-10 generator, so that pictures made on an NVIDIA card come again.

Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3" (section 3.3); normal numbers by Box and Muller's
transformation, of which CUDA's `curand_normal` layout keeps the sine in every first place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF


class Philox:
    """A stream of standard normal numbers for a seed; every request takes the next counter for all its elements."""

    def __init__(self, seed: int) -> None:
        self.key = (seed & LOW, seed >> 32 & LOW)
        self.requests = 0

    def randn(self, shape: Sequence[int]) -> np.ndarray:
        """float32 numbers in `shape`, filled in C order."""
        import numpy as np

        count = int(np.prod(shape))
        counters = np.zeros((4, count), dtype=np.uint32)
        counters[0] = self.requests
        counters[2] = np.arange(count, dtype=np.uint32)
        self.requests += 1
        first, second, _, _ = philox_4x32(counters, self.key)
        return _normal(first, second).reshape(shape)


def philox_4x32(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Ten rounds over counters (4, n) uint32 with a key of two 32-bit numbers: (4, n) uint32."""
    import numpy as np

    a, b, c, d = counters
    key_0, key_1 = key
    for _ in range(ROUNDS):
        left, right = a.astype(np.uint64) * MULTIPLIERS[0], c.astype(np.uint64) * MULTIPLIERS[1]
        a, b, c, d = (
            (right >> 32).astype(np.uint32) ^ b ^ np.uint32(key_0),
            right.astype(np.uint32),
            (left >> 32).astype(np.uint32) ^ d ^ np.uint32(key_1),
            left.astype(np.uint32),
        )
        key_0, key_1 = key_0 + KEY_STEPS[0] & LOW, key_1 + KEY_STEPS[1] & LOW
    return np.stack([a, b, c, d])


def _normal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Box–Muller in float64 with CUDA's float32 constants, rounded to float32 at the end."""
    import numpy as np

    unit, turn = np.float32(2.3283064e-10), np.float32(2.3283064e-10 * 6.2831855)
    u = first * np.float64(unit) + np.float64(unit / 2)
    v = second * np.float64(turn) + np.float64(turn / 2)
    return (np.sqrt(-2.0 * np.log(u)) * np.sin(v)).astype(np.float32)
