"""GFPGAN and CodeFormer: Extras' operations of these names as parts of every generation, after Upscale."""

from __future__ import annotations

from typing import Any

from PIL import Image

from modules.extensions.api import Arguments, Field, Plan, Script, Stage, StageContext, faces_restored


class GfpganArguments(Arguments):
    enabled: bool = Field(False, title="Restore the faces of every picture by GFPGAN")
    visibility: float = Field(1.0, ge=0, le=1, title="Visibility", json_schema_extra={"step": 0.001})


class CodeFormerArguments(Arguments):
    enabled: bool = Field(False, title="Restore the faces of every picture by CodeFormer")
    visibility: float = Field(1.0, ge=0, le=1, title="Visibility", json_schema_extra={"step": 0.001, "row": "how"})
    weight: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Weight (0 = maximum effect, 1 = minimum effect)",
        json_schema_extra={"step": 0.001, "row": "how"},
    )


class Gfpgan(Script):
    """Restores faces of finished pictures; the setting "Restore faces", in contrast, works below an inpainted mask."""

    name = operation = "GFPGAN"
    Args = GfpganArguments

    def stage(self, plan: Plan, args: Any) -> Stage | None:
        return _Restoring(self.name, args.visibility) if args.enabled else None


class CodeFormer(Script):
    """As GFPGAN, with a weight."""

    name = operation = "CodeFormer"
    Args = CodeFormerArguments

    def stage(self, plan: Plan, args: Any) -> Stage | None:
        return _Restoring(self.name, args.visibility, args.weight) if args.enabled else None


class _Restoring(Stage):
    def __init__(self, restorer: str, visibility: float, weight: float | None = None) -> None:
        self.restorer, self.visibility, self.weight = restorer, visibility, weight

    def on_composed(self, image: Image.Image, context: StageContext) -> Image.Image:
        assert context.restore_faces is not None  # the engine gives it to every batch
        restored, facts, found = faces_restored(
            image, self.restorer, self.visibility, self.weight, context.restore_faces
        )
        if found:
            context.facts.update(facts)
        return restored
