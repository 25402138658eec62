"""What the encoders answered before: each distinct chunk of 77 tokens is encoded once."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from torch import Tensor

from modules.models.loaded import PassageTower, TextTower

DEFAULT_LIMIT_BYTES = 64 * 2**20  # some 280 chunks of SD 1


class EncodedChunk(NamedTuple):
    """One tower's answer to one chunk: hidden states (77, width), before emphasis, and pooled (P,) or None."""

    hidden: Tensor
    pooled: Tensor | None

    @property
    def size_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self if tensor is not None)


class ConditioningCache:
    """Encoded chunks by tower and key, the least recently used dropped beyond `limit_bytes` a tower.

    It lives with the worker and is handed to `encode_batch`. A tower is held weakly: when its model is unloaded, what
    it answered goes too. Emphasis, schedules, AND weights and SDXL's sizes are applied after the cache and are no part
    of the key, so a prompt with one word changed reuses all its other chunks.
    """

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._towers: weakref.WeakKeyDictionary[TextTower | PassageTower, _Shelf] = weakref.WeakKeyDictionary()

    def get(self, tower: TextTower | PassageTower, key: Hashable) -> EncodedChunk | None:
        shelf = self._towers.get(tower)
        if shelf is None or key not in shelf.chunks:
            return None
        shelf.chunks.move_to_end(key)
        return shelf.chunks[key]

    def put(self, tower: TextTower | PassageTower, key: Hashable, chunk: EncodedChunk) -> None:
        shelf = self._towers.setdefault(tower, _Shelf())
        shelf.chunks[key] = chunk
        shelf.size_bytes += chunk.size_bytes
        while shelf.size_bytes > self.limit_bytes and len(shelf.chunks) > 1:
            shelf.size_bytes -= shelf.chunks.popitem(last=False)[1].size_bytes

    def clear(self) -> None:
        self._towers.clear()


class _Shelf:
    """One tower's chunks, the least recently used first."""

    def __init__(self) -> None:
        self.chunks: OrderedDict[Hashable, EncodedChunk] = OrderedDict()
        self.size_bytes = 0
