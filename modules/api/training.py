"""A1111's routes around training: embeddings and hypernetworks are created; training itself answers 501."""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import os
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import Field

from modules.api import shapes
from modules.api.answers import NOT_IMPLEMENTED
from modules.api.bodies import Body
from modules.api.jobs import MayChange
from modules.api.waiting import Apart
from modules.errors import InvalidRequest

if TYPE_CHECKING:
    from modules.app import App

_LONGEST_NAME = 120


class NewEmbedding(Body):
    """POST /sdapi/v1/create/embedding"""

    name: str
    num_vectors_per_token: int = Field(1, ge=1, le=75)
    overwrite_old: bool = False
    init_text: str = "*"


class NewHypernetwork(Body):
    """POST /sdapi/v1/create/hypernetwork"""

    name: str
    enable_sizes: list[Annotated[int, Field(ge=1, le=8192)]] = Field([768, 320, 640, 1280], min_length=1, max_length=16)
    overwrite_old: bool = False
    layer_structure: list[float] | None = Field(None, max_length=16)
    activation_func: str | None = None
    weight_init: str = "Normal"
    add_layer_norm: bool = False
    use_dropout: bool = False
    dropout_structure: list[float] | None = Field(None, max_length=16)
    activate_output: bool = False

    def dropout(self) -> list[float]:
        """A share a layer; A1111's usual ones where only `use_dropout` is given."""
        if not self.use_dropout:
            return []
        layers = len(self.layer_structure or (1, 2, 1))
        return self.dropout_structure or [0.0, *[0.3] * max(0, layers - 2), 0.0]


def routes(app: "App") -> APIRouter:
    """POST /sdapi/v1/create/embedding, create/hypernetwork, train/embedding, train/hypernetwork."""
    router = APIRouter(prefix="/sdapi/v1", tags=["training"])
    apart = Apart()

    @router.post("/create/embedding", response_model=shapes.Info, dependencies=[MayChange])
    async def create_embedding(asked: NewEmbedding) -> dict[str, str]:
        """Write a new embedding that begins as the words of `init_text`, for the checkpoint in use.

        As in A1111, an embedding that is there already is told in `info`, with status 200.
        """
        name = file_stem(asked.name)
        folder = app.catalog.folders.embeddings[0]
        try:
            path = await apart.run(
                lambda: app.call_with_model(
                    "create_embedding",
                    path=os.fspath(folder / name),
                    text=asked.init_text,
                    count=asked.num_vectors_per_token,
                    overwrite=asked.overwrite_old,
                )
            )
        except InvalidRequest as error:
            return {"info": f"create embedding error: {error}"}
        await apart.run(app.catalog.refresh)
        return {"info": f"create embedding filename: {path}"}

    @router.post("/create/hypernetwork", response_model=shapes.Info, dependencies=[MayChange])
    async def create_hypernetwork(asked: NewHypernetwork) -> dict[str, str]:
        """Write a new hypernetwork; as in A1111, one that is there already is told in `info`, with status 200."""
        folder = app.catalog.folders.hypernetworks[0]
        try:
            path = await apart.run(
                lambda: app.call(
                    "create_hypernetwork",
                    path=os.fspath(folder / f"{file_stem(asked.name)}.pt"),
                    widths=sorted(set(asked.enable_sizes)),
                    structure=asked.layer_structure or [1, 2, 1],
                    activation=asked.activation_func,
                    weight_init=asked.weight_init,
                    layer_norm=asked.add_layer_norm,
                    dropout=asked.dropout(),
                    activate_output=asked.activate_output,
                    overwrite=asked.overwrite_old,
                )
            )
        except InvalidRequest as error:
            return {"info": f"create hypernetwork error: {error}"}
        await apart.run(app.catalog.refresh)
        return {"info": f"create hypernetwork filename: {path}"}

    @router.post("/train/embedding", response_model=shapes.Info, responses=NOT_IMPLEMENTED)
    def train_embedding(asked: dict[str, Any]) -> dict[str, str]:
        raise HTTPException(
            501,
            "training is not built in; an embedding from create/embedding can be trained elsewhere",
        )

    @router.post("/train/hypernetwork", response_model=shapes.Info, responses=NOT_IMPLEMENTED)
    def train_hypernetwork(asked: dict[str, Any]) -> dict[str, str]:
        raise HTTPException(501, "training is not built in; one from create/hypernetwork can be trained elsewhere")

    return router


def file_stem(name: str) -> str:
    """A name as A1111 makes it safe for a file: letters, digits, `._- `; raises InvalidRequest when nothing is left."""
    stem = "".join(letter for letter in name if letter.isalnum() or letter in "._- ").strip(" .")
    if not stem or len(stem.encode()) > _LONGEST_NAME:
        raise InvalidRequest(f'"{name[:60]}" is no name for a file; use letters and digits, not too many', field="name")
    return stem
