"""Which textual inversions a model can use, and where a prompt calls them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from modules.models.embedding import Embedding
from modules.models.loaded import LoadedModel
from modules.prompts.chunks import CHUNK_LENGTH, EmbeddingNames


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """The embeddings that fit one model, ready to be found by name; `skipped` names those that do not fit."""

    names: EmbeddingNames[str] = field(default_factory=EmbeddingNames)
    by_name: dict[str, Embedding] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @classmethod
    def for_model(cls, embeddings: Iterable[Embedding], model: LoadedModel) -> EmbeddingTable:
        """The table of those `embeddings` whose vectors fit the towers of `model`, each of them and no others.

        An embedding with more than 75 vectors fits no chunk and is skipped too.
        """
        widths = {tower.name: tower.width for tower in model.towers}
        fitting: dict[str, Embedding] = {}
        skipped: list[str] = []
        for embedding in embeddings:
            if embedding.fits(widths) and 0 < embedding.length <= CHUNK_LENGTH:
                fitting[embedding.name] = embedding
            else:
                skipped.append(embedding.name)
        tokenize = model.towers[0].tokenize
        entries = [(tuple(tokenize(name)), name, embedding.length) for name, embedding in fitting.items()]
        return cls(EmbeddingNames.of(entries), fitting, tuple(skipped))
