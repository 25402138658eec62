"""Making a new textual inversion to train: vectors that begin as those of some words (A1111's "Create embedding")."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from modules.errors import InvalidRequest
from modules.models.towers import ClipTower

_PLACEHOLDER = 265
"""The token id that A1111 writes beside the vectors; nothing reads it."""


@torch.no_grad()
def initial_vectors(tower: ClipTower, text: str, count: int) -> Tensor:
    """`count` vectors (count, width), float32 on the CPU: the token embeddings of `text`, stretched; zeros for no text.

    The text counts with at most `count` tokens; with fewer, each vector takes the token at its share of the way.
    """
    tokens = tower.tokenize(text)[:count]
    if not tokens:
        return torch.zeros(count, tower.width)
    tower.before_run(tower.network)
    embedded = tower.network.embeddings.token_embedding(torch.tensor(tokens, device=tower.device)).float().cpu()
    return embedded[[index * len(tokens) // count for index in range(count)]].clone()


def write_embedding(path: Path, vectors: Mapping[str, Tensor], *, overwrite: bool) -> Path:
    """Write vectors by tower as A1111 does: one tower a `.pt`, more a `.safetensors`; returns where.

    `path` has no extension. Raises InvalidRequest when the file is there and must not be overwritten.
    """
    target = path.with_name(path.name + (".pt" if len(vectors) == 1 else ".safetensors"))
    if target.exists() and not overwrite:
        raise InvalidRequest(f"file {target.name} already exists; choose another name, or overwrite_old")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        if len(vectors) == 1:
            torch.save(_content(path.name, next(iter(vectors.values()))), temporary)
        else:
            safetensors.torch.save_file(dict(vectors), temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def create(towers: Sequence[ClipTower], path: Path, *, text: str, count: int, overwrite: bool) -> Path:
    """A new embedding for a model's text towers, written to disk; raises InvalidRequest."""
    vectors = {tower.name: initial_vectors(tower, text, count) for tower in towers}
    return write_embedding(path, vectors, overwrite=overwrite)


def _content(name: str, vectors: Tensor) -> dict[str, object]:
    return {
        "string_to_token": {"*": _PLACEHOLDER},
        "string_to_param": {"*": vectors},
        "name": name,
        "step": 0,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }
