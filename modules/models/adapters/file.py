"""An adapter file in memory: its tensors grouped by the module they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from modules.errors import ModelFileBroken
from modules.models.adapters.keys import split_key
from modules.models.weights import open_weights

BUNDLED = "bundle_emb."


@dataclass(frozen=True)
class AdapterFile:
    """`modules`: kohya's module name → tensor name → tensor. `embeddings`: textual inversions that came along."""

    path: Path
    modules: Mapping[str, Mapping[str, Tensor]]
    embeddings: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def read_adapter(path: str | Path) -> AdapterFile:
    """Read a LoRA or relative; raises ModelFileBroken when no tensor in it belongs to a known format."""
    modules: dict[str, dict[str, Tensor]] = {}
    embeddings: dict[str, dict[str, Tensor]] = {}
    unknown = []
    with open_weights(path) as weights:
        for key in weights.header:
            if key.startswith(BUNDLED):
                name, _, vector = key.removeprefix(BUNDLED).partition(".")
                embeddings.setdefault(name, {})[vector.removeprefix("string_to_param.")] = weights.tensor(key)
            elif (split := split_key(key)) is not None:
                modules.setdefault(split[0], {})[split[1]] = weights.tensor(key)
            else:
                unknown.append(key)
    if not modules and not embeddings:
        first = f', first "{unknown[0]}"' if unknown else ""
        raise ModelFileBroken(f"{path}: not a LoRA: none of its {len(unknown)} tensors has a known name{first}")
    return AdapterFile(Path(path), modules, embeddings, tuple(unknown))
