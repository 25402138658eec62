"""Texts to hidden states, tower by tower: cutting into chunks, textual inversions, clip skip, emphasis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from modules.conditioning import emphasis
from modules.conditioning.cache import ConditioningCache, EncodedChunk
from modules.conditioning.embeddings import EmbeddingTable
from modules.conditioning.layouts import layout_for
from modules.conditioning.outputs import TowerOutput
from modules.models.embedding import Embedding
from modules.models.loaded import LoadedModel, PassageTower, TextTower
from modules.prompts import emphasis as emphasis_syntax
from modules.prompts.chunks import Chunk, SpecialTokens, cut, cut_legacy, empty_chunk
from modules.prompts.tokenizer import vocabulary
from modules.settings.stable_diffusion import GenerationOptions

MOST_CHUNKS_AT_ONCE = 32


class Encoder:
    """Encodes the texts of one pass for one model."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        options: GenerationOptions,
        clip_skip: int,
        embeddings: EmbeddingTable,
        cache: ConditioningCache,
        networks: Hashable = (),
    ) -> None:
        self.model = model
        self.options = options
        self.embeddings = embeddings
        self.cache = cache
        self.networks = networks
        self.layout = layout_for(model)
        self.clip_skip = clip_skip
        self._used: list[Embedding] = []
        self._outputs: dict[tuple[str, ...], tuple[TowerOutput, ...]] = {}

    @property
    def is_legacy(self) -> bool:
        """Whether the old emphasis is asked for and possible: it knows only CLIP-L by itself (SD 1)."""
        return self.options.use_old_emphasis_implementation and [t.name for t in self.model.towers] == ["clip_l"]

    def used_embeddings(self) -> tuple[Embedding, ...]:
        """The textual inversions that were used, in the order of A1111's `TI hashes`.

        Every run of an encoder puts its own in front of those before, so one that is used twice, by two texts or by
        SDXL's two towers, stands there twice. The legacy emphasis reports none.
        """
        return tuple(self._used)

    def encode(self, texts: tuple[str, ...]) -> tuple[TowerOutput, ...]:
        """Each tower's output for the *distinct* texts of one schedule, in the order of their first appearance.

        A text that stands in the schedule several times is encoded once, and counts as often in the mean of emphasis.
        """
        if texts not in self._outputs:
            repeats = Counter(texts)
            cut_texts = [self._cut(tower, tuple(repeats)) for tower in self.model.towers]
            columns = max(len(chunks) for prompts in cut_texts for chunks in prompts)
            tables = [
                _columns(prompts, columns, empty_chunk(_special(tower)))
                for tower, prompts in zip(self.model.towers, cut_texts, strict=True)
            ]
            outputs = self._run(tables, tuple(repeats.values()))
            self._outputs[texts] = (*outputs, *self._read_whole(tuple(repeats), outputs[0].hidden.shape[1]))
            if not self.is_legacy:
                for table in tables:
                    self._report(table)
        return self._outputs[texts]

    def _cut(self, tower: TextTower, texts: tuple[str, ...]) -> list[tuple[Chunk[str], ...]]:
        """The chunks of every text; towers are asked one by one because their tokenizers may differ in cleaning."""
        mode, names, special = self.options.emphasis, self.embeddings.names, _special(tower)

        def chunks(text: str) -> tuple[Chunk[str], ...]:
            if self.is_legacy:
                weighs = mode != "None"
                return (
                    cut_legacy(text, tower.tokenize, vocabulary(), names=names, brackets_weigh=weighs, special=special),
                )
            pieces = emphasis_syntax.plain(text) if mode == "None" else emphasis_syntax.parse(text)
            return cut(
                pieces, tower.tokenize, names=names, backtrack=self.options.comma_padding_backtrack, special=special
            )

        return [chunks(text) for text in texts]

    def _run(self, tables: list[list[list[Chunk[str]]]], repeats: tuple[int, ...]) -> tuple[TowerOutput, ...]:
        """Every tower's output for its table of chunks, with emphasis: tower by tower, or on all towers at once."""
        towers = self.model.towers
        known = [
            self._encode_chunks(tower, [chunk for column in table for chunk in column])
            for tower, table in zip(towers, tables, strict=True)
        ]
        columns: list[list[Tensor]] = [[] for _ in towers]
        for column in zip(*tables, strict=True):
            hidden = [
                torch.stack([chunks[_identity(chunk)].hidden for chunk in own])
                for chunks, own in zip(known, column, strict=True)
            ]
            weights = [torch.tensor([chunk.weights for chunk in own]) for own in column]
            if self.layout.joins_emphasis:
                widths = [states.shape[-1] for states in hidden]
                joined = emphasis.apply(torch.cat(hidden, dim=-1), weights[0], self.options.emphasis, repeats)
                weighted = list(joined.split(widths, dim=-1))
            else:
                weighted = [
                    emphasis.apply(states, own, self.options.emphasis, repeats)
                    for states, own in zip(hidden, weights, strict=True)
                ]
            for place, states in zip(columns, weighted, strict=True):
                place.append(states)
        outputs = []
        for chunks, table, parts in zip(known, tables, columns, strict=True):
            pooled = [chunks[_identity(chunk)].pooled for chunk in table[0]]
            has_pooled = all(vector is not None for vector in pooled)
            outputs.append(TowerOutput(torch.cat(parts, dim=1), torch.stack(pooled) if has_pooled else None))  # type: ignore[arg-type]
        return tuple(outputs)

    def _read_whole(self, texts: tuple[str, ...], length: int) -> tuple[TowerOutput, ...]:
        """The outputs of towers that read a text in one piece; its weights and BREAKs are left out, as in A1111."""
        if not self.model.passage_towers:
            return ()
        parse = emphasis_syntax.plain if self.options.emphasis == "None" else emphasis_syntax.parse
        pieces = [tuple(piece.text for piece in parse(text) if not piece.is_break) for text in texts]
        return tuple(
            TowerOutput(torch.stack([self._read_one(tower, one, length) for one in pieces]), None)
            for tower in self.model.passage_towers
        )

    def _read_one(self, tower: PassageTower, pieces: tuple[str, ...], length: int) -> Tensor:
        """One text's states (length, width), from the cache or from the tower."""
        key = (pieces, length, self.networks)
        encoded = self.cache.get(tower, key)
        if encoded is None:
            encoded = EncodedChunk(tower.encode([pieces], length)[0], None)
            self.cache.put(tower, key, encoded)
        return encoded.hidden.to(self.model.device)

    def _encode_chunks(self, tower: TextTower, chunks: list[Chunk[str]]) -> dict[Hashable, EncodedChunk]:
        """Every distinct chunk's encoding, from the cache or from the tower."""
        clip_skip = self.layout.clip_skip(tower, self.clip_skip, self.options)
        found: dict[Hashable, EncodedChunk] = {}
        missing: dict[Hashable, Chunk[str]] = {}
        keys: dict[Hashable, Hashable] = {}
        for chunk in chunks:
            identity = _identity(chunk)
            inversions = tuple(_source(self.embeddings.by_name[name]) for _, name in chunk.embeddings)
            keys[identity] = (identity, inversions, clip_skip, self.networks)
            cached = self.cache.get(tower, keys[identity])
            if cached is None:
                missing[identity] = chunk
            else:
                found[identity] = EncodedChunk(*(None if t is None else t.to(self.model.device) for t in cached))
        waiting = list(missing.items())
        for start in range(0, len(waiting), MOST_CHUNKS_AT_ONCE):
            group = waiting[start : start + MOST_CHUNKS_AT_ONCE]
            for (identity, _), encoded in zip(
                group, self._forward(tower, [c for _, c in group], clip_skip), strict=True
            ):
                found[identity] = encoded
                self.cache.put(tower, keys[identity], encoded)
        return found

    def _forward(self, tower: TextTower, chunks: list[Chunk[str]], clip_skip: int) -> list[EncodedChunk]:
        tokens = torch.tensor([_padded(chunk.tokens, tower) for chunk in chunks], device=self.model.device)
        replaced = [
            [(offset, self.embeddings.by_name[name].vectors_for(tower.name)) for offset, name in chunk.embeddings]
            for chunk in chunks
        ]
        hidden, pooled = tower.encode(tokens, replaced=replaced, clip_skip=clip_skip)
        return [
            EncodedChunk(hidden[row].clone(), None if pooled is None else pooled[row].clone())
            for row in range(len(chunks))
        ]

    def _report(self, table: list[list[Chunk[str]]]) -> None:
        names = dict.fromkeys(name for column in table for chunk in column for _, name in chunk.embeddings)
        self._used[:0] = [self.embeddings.by_name[name] for name in names]


def _special(tower: TextTower) -> SpecialTokens:
    return SpecialTokens(tower.start_id, tower.end_id, tower.comma_id)


def _columns(prompts: Sequence[tuple[Chunk[str], ...]], columns: int, empty: Chunk[str]) -> list[list[Chunk[str]]]:
    """Chunks by column, then by text: texts with fewer chunks go on with empty ones."""
    return [[chunks[i] if i < len(chunks) else empty for chunks in prompts] for i in range(columns)]


def _identity(chunk: Chunk[str]) -> Hashable:
    """What the encoder sees of a chunk; its weights come later."""
    return chunk.tokens, chunk.embeddings


def _source(embedding: Embedding) -> Hashable:
    """What tells an embedding's vectors from others' of its name: the file's hash, or else the very object."""
    return embedding.sha256_short or embedding


def _padded(tokens: tuple[int, ...], tower: TextTower) -> list[int]:
    """The tokens with the tower's own padding after the first end token."""
    if tower.pad_id == tower.end_id:
        return list(tokens)
    first_end = tokens.index(tower.end_id)
    return [*tokens[: first_end + 1], *[tower.pad_id] * (len(tokens) - first_end - 1)]
