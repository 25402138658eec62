"""Upscale, GFPGAN and CodeFormer: Extras' operations of these names as parts of every generation, where the settings
offer them there."""

from __future__ import annotations

from typing import Literal

from PIL import Image

from modules.extensions.api import (
    Arguments,
    Field,
    Plan,
    Registration,
    Script,
    Stage,
    StageContext,
    UpscalePart,
    enlarged,
)

from .faces import CodeFormer, Gfpgan

FACTOR, SIZE = "Scale by", "Scale to"


class UpscaleArguments(Arguments):
    enabled: bool = Field(False, title="Upscale every picture before it is saved")
    mode: Literal["Scale by", "Scale to"] = Field(FACTOR, title="How far", json_schema_extra={"row": "how"})
    factor: float = Field(4.0, ge=1, le=8, title="Resize", json_schema_extra={"step": 0.05, "row": "how"})
    max_side: int = Field(
        0, ge=0, le=16384, title="Max side length (0: no limit)", json_schema_extra={"step": 8, "row": "how"}
    )
    width: int = Field(512, ge=64, le=8192, title="Width", json_schema_extra={"step": 8, "row": "size"})
    height: int = Field(512, ge=64, le=8192, title="Height", json_schema_extra={"step": 8, "row": "size"})
    crop: bool = Field(True, title="Crop to fit", json_schema_extra={"row": "size"})
    upscaler: str = Field("None", title="Upscaler 1", json_schema_extra={"row": "names"})
    second: str = Field("None", title="Upscaler 2", json_schema_extra={"choices": "pixel_upscalers", "row": "names"})
    second_visibility: float = Field(
        0.0, ge=0, le=1, title="Upscaler 2 visibility", json_schema_extra={"step": 0.01, "row": "names"}
    )

    def part(self) -> UpscalePart:
        """As Extras takes it."""
        values = self.model_dump(exclude={"enabled", "mode"})
        return UpscalePart(mode="to" if self.mode == SIZE else "by", **values)


class Upscale(Script):
    """Enlarges what a generation made; hires fix, in contrast, works it over."""

    name = "Upscale"
    operation = "Upscale"
    Args = UpscaleArguments

    def stage(self, plan: Plan, args: UpscaleArguments) -> Stage | None:
        return _Enlarging(args.part()) if args.enabled else None


class _Enlarging(Stage):
    def __init__(self, part: UpscalePart) -> None:
        self.part = part

    def on_composed(self, image: Image.Image, context: StageContext) -> Image.Image:
        assert context.upscale is not None  # the engine gives it to every batch
        larger, facts = enlarged(image, self.part, context.upscale)
        context.facts.update(facts)
        return larger


def register(to: Registration) -> None:
    for one in (Upscale(), Gfpgan(), CodeFormer()):  # the order in which they work on a picture
        to.script(one)
