"""A textual inversion in memory: vectors that a word in the prompt stands for (Gal et al. 2022, arXiv:2208.01618)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Embedding:
    """`vectors` by text tower ("clip_l", "clip_g"), each (n, width) with the same n, on the CPU.

    A file that names no tower has its only vectors under "": they fit a model with one tower of that width.
    `name` is what a prompt calls it by: the file's stem, or the name stored in an embedding picture. `sha256_short`
    is the first 12 digits of the file's sha256 (infotext `TI hashes`), "" when unknown. `path` is "" for an embedding
    bundled in a LoRA, whose name `bundled_in` then is.
    """

    name: str
    vectors: Mapping[str, Tensor]
    sha256_short: str = ""
    path: str = ""
    bundled_in: str = ""

    @property
    def length(self) -> int:
        """How many vectors, and so how many token positions, it takes."""
        return next(iter(self.vectors.values())).shape[0]

    def fits(self, widths: Mapping[str, int]) -> bool:
        """Whether a model whose towers have these `widths` by name can use it: vectors for each of them, no others."""
        found = {tower: vectors.shape[-1] for tower, vectors in self.vectors.items()}
        return found == dict(widths) or (list(found) == [""] and list(widths.values()) == [found[""]])

    def vectors_for(self, tower: str) -> Tensor:
        """The vectors (n, width) for one of the towers it fits."""
        return self.vectors[tower] if tower in self.vectors else self.vectors[""]
