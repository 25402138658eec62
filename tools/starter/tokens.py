"""Captions as CLIP token ids, and the compact table of those that captions use.

Training keeps a row only for tokens that occur, plus one for all others; export spreads that row over the whole of
CLIP's vocabulary, so that unknown words in a prompt are as harmless as those met in training.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from modules.prompts.tokenizer import clip_tokenizer
from tools.starter.architecture import END_TOKEN, POSITIONS, START_TOKEN, VOCABULARY
from tools.starter.concepts import BACKGROUNDS, Concept
from tools.starter.scenes import COUNT_WORDS

_GRAMMAR = ("a an on in the and left right top bottom at background small large , . with of", *COUNT_WORDS.values())


@cache
def encode(words: str) -> tuple[int, ...]:
    """CLIP's ids of `words`, without start and end."""
    return tuple(clip_tokenizer().encode(words))


@dataclass(frozen=True)
class CompactVocabulary:
    """Rows of the training table: one for each id in `ids`, then unknown, start and end."""

    ids: tuple[int, ...]

    @classmethod
    def of(cls, concepts: Iterable[Concept]) -> "CompactVocabulary":
        words = [*_GRAMMAR, *BACKGROUNDS]
        for concept in concepts:
            words += [concept.name, concept.plural]
        return cls(tuple(sorted({token for it in words for token in encode(it)})))

    @property
    def unknown(self) -> int:
        return len(self.ids)

    @property
    def start(self) -> int:
        return len(self.ids) + 1

    @property
    def end(self) -> int:
        return len(self.ids) + 2

    def __len__(self) -> int:
        return len(self.ids) + 3

    def rows(self, caption: str) -> list[int]:
        """Table rows of a caption, without start and end."""
        place = _places(self)
        return [place.get(token, self.unknown) for token in encode(caption)]

    def pad(self, rows: Sequence[Sequence[int]], length: int = POSITIONS) -> Tensor:
        """Start, rows, and end repeated to `length`: batch x length."""
        full = [[self.start, *it[: length - 2], *[self.end] * (length - 1 - len(it[: length - 2]))] for it in rows]
        return torch.tensor(full)

    def expand(self, table: Tensor) -> Tensor:
        """The compact table (rows x width) spread over CLIP's vocabulary."""
        full = table[self.unknown].repeat(VOCABULARY, 1)
        full[list(self.ids)] = table[: len(self.ids)]
        full[START_TOKEN] = table[self.start]
        full[END_TOKEN] = table[self.end]
        return full

    def compact(self, table: Tensor) -> Tensor:
        """The rows of CLIP's whole table (49,408 x width) that training keeps; the inverse of `expand`."""
        known = {*self.ids, START_TOKEN, END_TOKEN}
        unknown = next(token for token in range(VOCABULARY) if token not in known)
        return table[[*self.ids, unknown, START_TOKEN, END_TOKEN]]


@cache
def _places(vocabulary: CompactVocabulary) -> dict[int, int]:
    return {token: row for row, token in enumerate(vocabulary.ids)}


def with_fillers(rows: Sequence[int], unknown: int, generator: torch.Generator, share: float = 0.08) -> list[int]:
    """`rows`, at times with one to four unknown words put before or after: prompts have words captions do not."""
    if float(torch.rand((), generator=generator)) >= share:
        return list(rows)
    before, after = torch.randint(0, 3, (2,), generator=generator).tolist()
    return [unknown] * before + list(rows) + [unknown] * after
