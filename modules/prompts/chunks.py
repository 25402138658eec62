"""Cutting a prompt's tokens into windows of 75: word wrap at commas, BREAK, names of textual inversions.

No torch here: the page's token counter and the encoder cut alike because they share this.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from modules.prompts.emphasis import Piece, legacy_factor

CHUNK_LENGTH = 75
PLACEHOLDER_ID = 0  # stands where a textual inversion's vectors go

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Chunk(Generic[Key]):
    """What one run of the encoder sees: 77 tokens with start and end, their weights, and the embeddings among them.

    `embeddings` lists (offset, key): the key's vectors replace the tokens from position offset + 1 on (the start token
    is position 0). `used` counts tokens before padding.
    """

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    embeddings: tuple[tuple[int, Key], ...] = ()
    used: int = 0


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that cutting needs to know."""

    start: int = 49406
    end: int = 49407
    comma: int = 267


@dataclass(frozen=True)
class EmbeddingNames(Generic[Key]):
    """Textual inversions by the tokens of their names, so that a prompt calls one by writing its name."""

    by_first_token: Mapping[int, tuple[tuple[tuple[int, ...], Key, int], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[tuple[tuple[int, ...], Key, int]]) -> EmbeddingNames[Key]:
        """From (the name's tokens, key, number of vectors); among names with the same tokens the first one counts."""
        found: dict[int, list[tuple[tuple[int, ...], Key, int]]] = {}
        for entry in entries:
            if entry[0]:
                found.setdefault(entry[0][0], []).append(entry)
        return cls({first: tuple(sorted(same, key=lambda e: -len(e[0]))) for first, same in found.items()})

    def find(self, tokens: list[int], position: int) -> tuple[Key, int, int] | None:
        """The longest name at `position`: (key, number of vectors, number of tokens of the name)."""
        for name, key, vectors in self.by_first_token.get(tokens[position], ()):
            if tuple(tokens[position : position + len(name)]) == name:
                return key, vectors, len(name)
        return None


def cut(
    pieces: Iterable[Piece],
    tokenize: Callable[[str], list[int]],
    *,
    names: EmbeddingNames[Key] | None = None,
    backtrack: int = 20,
    special: SpecialTokens = SpecialTokens(),
) -> tuple[Chunk[Key], ...]:
    """The chunks of a prompt, at least one.

    A full chunk is wrapped at its last comma when at most `backtrack` tokens follow it (0 turns that off). A textual
    inversion is never split over two chunks.
    """
    names = names if names is not None else EmbeddingNames()
    builder = _Builder[Key](special)
    for piece in pieces:
        if piece.is_break:
            builder.close()
            continue
        tokens = tokenize(piece.text)
        position = 0
        while position < len(tokens):
            token = tokens[position]
            if token == special.comma:
                builder.comma = len(builder.tokens)
            elif backtrack and builder.is_full and 0 <= CHUNK_LENGTH - builder.comma <= backtrack:
                builder.wrap_at_comma()
            if builder.is_full:
                builder.close()
            found = names.find(tokens, position)
            if found is None:
                builder.push((token,), piece.weight)
                position += 1
            else:
                key, vectors, length = found
                if len(builder.tokens) + vectors > CHUNK_LENGTH:
                    builder.close()
                builder.embeddings.append((len(builder.tokens), key))
                builder.push((PLACEHOLDER_ID,) * vectors, piece.weight)
                position += length
    if builder.tokens or not builder.chunks:
        builder.close()
    return tuple(builder.chunks)


def cut_legacy(
    text: str,
    tokenize: Callable[[str], list[int]],
    token_texts: tuple[str, ...],
    *,
    names: EmbeddingNames[Key] | None = None,
    brackets_weigh: bool = True,
    special: SpecialTokens = SpecialTokens(),
) -> Chunk[Key]:
    """The single chunk of `use_old_emphasis_implementation`: brackets are tokens that scale a running weight.

    The text is tokenised as a whole; a token whose text has unbalanced brackets (even "),") only changes the weight.
    What exceeds 75 tokens is cut off; BREAK and `(x:1.2)` have no meaning, commas are not wrapped at. Without
    `brackets_weigh` (emphasis mode "None") brackets are text.
    """
    names = names if names is not None else EmbeddingNames()
    builder = _Builder[Key](special)
    tokens = tokenize(text)
    weight, position = 1.0, 0
    while position < len(tokens):
        found = names.find(tokens, position)
        factor = legacy_factor(token_texts[tokens[position]]) if brackets_weigh else None
        if factor is not None:
            weight *= factor
            position += 1
        elif found is not None:
            key, vectors, length = found
            builder.embeddings.append((len(builder.tokens), key))
            builder.push((PLACEHOLDER_ID,) * vectors, weight)
            position += length
        else:
            builder.push((tokens[position],), weight)
            position += 1
    del builder.tokens[CHUNK_LENGTH:], builder.weights[CHUNK_LENGTH:]
    builder.embeddings = [(offset, key) for offset, key in builder.embeddings if offset < CHUNK_LENGTH]
    builder.close()
    return builder.chunks[0]


def empty_chunk(special: SpecialTokens = SpecialTokens()) -> Chunk:
    """What pads a prompt with fewer chunks than its neighbour: start, then end tokens, all neutral."""
    return Chunk((special.start, *(special.end,) * (CHUNK_LENGTH + 1)), (1.0,) * (CHUNK_LENGTH + 2))


class _Builder(Generic[Key]):
    """The chunk being filled, and those that are done."""

    def __init__(self, special: SpecialTokens) -> None:
        self.special = special
        self.chunks: list[Chunk[Key]] = []
        self._start_new()

    def _start_new(self) -> None:
        self.tokens: list[int] = []
        self.weights: list[float] = []
        self.embeddings: list[tuple[int, Key]] = []
        self.comma = CHUNK_LENGTH + 1  # nowhere

    @property
    def is_full(self) -> bool:
        return len(self.tokens) == CHUNK_LENGTH

    def push(self, tokens: tuple[int, ...], weight: float) -> None:
        self.tokens += tokens
        self.weights += [weight] * len(tokens)

    def close(self) -> None:
        """Pad the chunk with end tokens of weight 1 and begin another."""
        padding = CHUNK_LENGTH - len(self.tokens)
        tokens = (self.special.start, *self.tokens, *(self.special.end,) * (padding + 1))
        weights = (1.0, *self.weights, *(1.0,) * (padding + 1))
        self.chunks.append(Chunk(tokens, weights, tuple(self.embeddings), len(self.tokens)))
        self._start_new()

    def wrap_at_comma(self) -> None:
        """Close the chunk after its last comma; the tokens that followed begin the next one.

        An embedding among them stays behind in the closed chunk, over its padding, and only its placeholder tokens
        move: A1111 forgets to take it along, and pictures depend on it.
        """
        cut_at = self.comma + 1
        moved, moved_weights = self.tokens[cut_at:], self.weights[cut_at:]
        del self.tokens[cut_at:], self.weights[cut_at:]
        self.close()
        self.tokens, self.weights = moved, moved_weights
