"""What text towers say, before a family's layout puts it together."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class TowerOutput(NamedTuple):
    """One tower on n texts: hidden (n, 77 * chunks, width) with emphasis, pooled (n, P) of first chunks or None."""

    hidden: Tensor
    pooled: Tensor | None
