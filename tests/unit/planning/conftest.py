"""A catalog of two checkpoints and a VAE that need no files, and a planner over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import modules.sampling  # noqa: F401 - registers the samplers
from modules.errors import UnknownName
from modules.generation.plan import ModelRef, Plan, VaeRef
from modules.generation.request import GenerationRequest
from modules.models.faces import FaceFiles
from modules.planning.planner import plan
from modules.prompts.styles import Style, StyleBook, StyleFile
from modules.registry import did_you_mean
from modules.settings.schema import Settings
from modules.settings.stable_diffusion import GenerationOptions

CHECKPOINTS = {
    name: ModelRef(path=f"/models/{name}.safetensors", title=f"{name}.safetensors", name=name)
    for name in ("anything", "refined", "anything_Lightning")
}
VAE = VaeRef(path="/vae/sharp.safetensors", name="sharp.safetensors")


class ListedCatalog:
    """The part of the catalog's face that the planner knows, over fixed lists."""

    def __init__(self, names: tuple[str, ...] = tuple(CHECKPOINTS)) -> None:
        self._names = names

    def titles(self) -> tuple[str, ...]:
        return tuple(CHECKPOINTS[name].title for name in self._names)

    def find_checkpoint(self, text: str) -> ModelRef:
        for name in self._names:
            if text in (name, CHECKPOINTS[name].title):
                return CHECKPOINTS[name]
        raise UnknownName(f'no checkpoint named "{text}"{did_you_mean(text, self._names)}', field="model.checkpoint")

    def choose_vae(self, checkpoint: ModelRef, options: GenerationOptions) -> VaeRef | None:
        return VAE if options.sd_vae == VAE.name else None


@pytest.fixture
def planned() -> Callable[..., Plan]:
    """`planned(settings={…}, **request fields)`: a plan with a fixed seed unless one is given."""

    def make(
        *,
        settings: dict[str, Any] | None = None,
        catalog: ListedCatalog | None = None,
        faces: FaceFiles | None = None,
        **fields: Any,
    ) -> Plan:
        fields.setdefault("seed", {"value": 7, "variation": 9})
        from pathlib import Path

        styles = StyleBook((StyleFile(Path("styles.csv"), (Style("oil", "oil painting of {prompt}", "photo"),)),))
        return plan(
            GenerationRequest(**fields),
            catalog=catalog or ListedCatalog(),
            settings=Settings(**(settings or {})),
            styles=styles,
            faces=faces,
            version="v0",
        )

    return make
