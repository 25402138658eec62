"""Reading textual inversions: A1111's `.pt`, diffusers' `.bin` and `.safetensors`, pictures with one inside (11.7)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from modules.errors import ModelError, ModelFileBroken
from modules.models.embedding import Embedding
from modules.models.embedding_card import PICTURES
from modules.models.embedding_pictures import embedding_in_picture
from modules.models.files import ModelFile
from modules.models.hashes import FileFacts, sha256
from modules.models.weights import open_weights, read_pickle

logger = logging.getLogger(__name__)

ONLY = ""  # the tower's name where a file does not name one


class EmbeddingStore:
    """The embeddings among the files that `files` lists when asked, each read once.

    A file that cannot be read is left out and named in `broken`, with the reason.
    """

    def __init__(self, files: Callable[[], Iterable[ModelFile]], facts: FileFacts | None = None) -> None:
        self._files = files
        self._facts = facts or FileFacts()
        self._read: dict[tuple[Path, int, int], Embedding] = {}
        self.broken: dict[Path, str] = {}

    def all(self) -> tuple[Embedding, ...]:
        """Every embedding that there is now; equal files give the same objects again."""
        kept: dict[tuple[Path, int, int], Embedding] = {}
        broken: dict[Path, str] = {}
        for file in self._files():
            key = (file.path, file.size, file.mtime_ns)
            try:
                kept[key] = self._read.get(key) or self._open(file)
            except (ModelError, OSError) as error:
                if file.path not in self.broken:
                    logger.warning("%s", error)
                broken[file.path] = str(error)
        self._read, self.broken = kept, broken
        return tuple(kept.values())

    def _open(self, file: ModelFile) -> Embedding:
        name, vectors = read_embedding(file.path)
        return Embedding(name, vectors, self._facts.computed("sha256", file.path, sha256)[:12], str(file.path))


def read_embedding(path: str | Path) -> tuple[str, Mapping[str, Tensor]]:
    """(name, vectors (n, width) by tower) of a file; the tower is "" when the file has one tensor and no name for it.

    Raises ModelFileBroken or ModelFileUnsafe.
    """
    path = Path(path)
    if path.suffix.lower() in PICTURES:
        content = embedding_in_picture(path, torch.tensor)
        name = content.get("name", path.stem) if isinstance(content, Mapping) else path.stem
        return str(name), _vectors(path, content)
    if path.suffix.lower() == ".safetensors":
        with open_weights(path) as weights:
            return path.stem, _vectors(path, {key: weights.tensor(key).clone() for key in weights.header})
    return path.stem, _vectors(path, read_pickle(path))


def _vectors(path: Path, content: object) -> Mapping[str, Tensor]:
    if not isinstance(content, Mapping):
        raise ModelFileBroken(f"{path}: not a textual inversion: it holds a {type(content).__name__}")
    if isinstance(inner := content.get("string_to_param"), Mapping):
        tensors = list(inner.values())
        if len(tensors) != 1:
            raise ModelFileBroken(f"{path}: holds {len(tensors)} terms; only files with one are textual inversions")
        return {ONLY: _matrix(path, tensors[0])}
    if "clip_l" in content and "clip_g" in content:
        return {name: _matrix(path, content[name]) for name in ("clip_l", "clip_g")}
    tensors = [value for value in content.values() if isinstance(value, Tensor)]
    if len(tensors) != 1:
        raise ModelFileBroken(
            f"{path}: holds {len(tensors)} tensors; a textual inversion has one, or clip_l and clip_g"
        )
    return {ONLY: _matrix(path, tensors[0])}


def _matrix(path: Path, value: object) -> Tensor:
    if not isinstance(value, Tensor) or value.ndim not in (1, 2) or value.numel() == 0:
        raise ModelFileBroken(f"{path}: its vectors have an unexpected form; it is no textual inversion")
    return value.detach().float().reshape(-1, value.shape[-1])
