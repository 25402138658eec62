"""Soft inpainting's arguments under A1111's names; the stage is `modules/engine/soft_inpainting.py`."""

from __future__ import annotations

from modules.extensions.api import Arguments, Field, Registration, Script


class SoftInpaintingArguments(Arguments):
    enabled: bool = Field(False, title="Soft inpainting")
    bias: float = Field(1, ge=0, le=8, title="Schedule bias")
    preservation: float = Field(0.5, ge=0, le=8, title="Preservation strength")
    contrast: float = Field(4, ge=1, le=32, title="Transition contrast boost")
    influence: float = Field(0, ge=0, le=1, title="Mask influence")
    threshold: float = Field(0.5, ge=0, le=8, title="Difference threshold")
    difference_contrast: float = Field(2, ge=0, le=8, title="Difference contrast")


class SoftInpainting(Script):
    """Blends the repainted area into its surroundings step by step."""

    name = "Soft Inpainting"
    tabs = frozenset({"img2img"})
    needs_mask = True
    Args = SoftInpaintingArguments


def register(to: Registration) -> None:
    to.script(SoftInpainting())
