"""What someone asks of the Extras tab: pictures, and what is to be done to them. No prompt takes part.

Every operation is a part of the request that is None where the operation is switched off; the values, bounds and
defaults are A1111's (behaviour reference, 8.7).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from modules.generation.part import Part
from modules.images.data import ImageData

NO_UPSCALER = "None"


class ExtrasPicture(Part):
    """A picture sent along, or the `path` of a file that is read when its turn comes.

    `name` is its file's name if it had one, which batches keep for the result.
    """

    image: ImageData | None = None
    path: str = ""
    name: str = ""

    @model_validator(mode="after")
    def _is_somewhere(self) -> ExtrasPicture:
        if (self.image is None) == (not self.path):
            raise ValueError("give either a picture or the path of one")
        return self


class UpscalePart(Part):
    """How pictures are enlarged: `by` a factor or `to` a size.

    With `upscaler` "None" they stay as they are. `second` runs on the same picture and is mixed in by
    `second_visibility`. By a factor, `max_side` above 0 bounds the longer side of the result. To a size, the result
    covers it; `crop` cuts off (or fills up) the rest, centred.
    """

    upscaler: str = NO_UPSCALER
    second: str = NO_UPSCALER
    second_visibility: float = Field(0.0, ge=0.0, le=1.0)
    mode: Literal["by", "to"] = "by"
    factor: float = Field(4.0, gt=0.0, le=16.0)
    max_side: int = Field(0, ge=0, le=65536)
    width: int = Field(512, ge=1, le=16384)
    height: int = Field(512, ge=1, le=16384)
    crop: bool = True


class GfpganPart(Part):
    """Faces restored by GFPGAN; `visibility` mixes the result with the picture."""

    visibility: float = Field(1.0, ge=0.0, le=1.0, title="Visibility", json_schema_extra={"step": 0.001})


class CodeFormerPart(Part):
    """Faces restored by CodeFormer; `weight` says how true they stay to what they were."""

    visibility: float = Field(1.0, ge=0.0, le=1.0, title="Visibility", json_schema_extra={"step": 0.001})
    weight: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        title="Weight (0 = maximum effect, 1 = minimum effect)",
        json_schema_extra={"step": 0.001},
    )


class SplitPart(Part):
    """A picture much longer than the target size is cut along its longer side, into overlapping pieces of that size.

    It is left whole when its proportions differ from the target's by less than `threshold` says: the share of the
    picture that one piece would show, at most, for it to be cut. Pieces overlap by at least `overlap` of their length.
    """

    threshold: float = Field(0.5, ge=0.0, le=1.0, title="Threshold", json_schema_extra={"step": 0.05})
    overlap: float = Field(0.2, ge=0.0, le=0.9, title="Overlap ratio", json_schema_extra={"step": 0.05})


class FocalCropPart(Part):
    """A cut of the target's proportions around what stands out: by faces, by edges and by entropy, weighed. Without
    a file that finds faces their weight counts for nothing. `debug` adds a picture that shows why."""

    face_weight: float = Field(0.9, ge=0.0, le=1.0, title="Face weight", json_schema_extra={"step": 0.05})
    entropy_weight: float = Field(0.15, ge=0.0, le=1.0, title="Entropy weight", json_schema_extra={"step": 0.05})
    edges_weight: float = Field(0.5, ge=0.0, le=1.0, title="Edges weight", json_schema_extra={"step": 0.05})
    debug: bool = Field(False, title="Create debug image")


class AutoSizePart(Part):
    """A centred cut of the size, in steps of 64, that suits the picture best within bounds of sides and area."""

    side_lower: int = Field(384, ge=64, le=2048, title="Dimension lower bound", json_schema_extra={"step": 8})
    side_upper: int = Field(768, ge=64, le=2048, title="Dimension upper bound", json_schema_extra={"step": 8})
    area_lower: int = Field(64 * 64, ge=64 * 64, le=2048 * 2048, title="Area lower bound")
    area_upper: int = Field(640 * 640, ge=64 * 64, le=2048 * 2048, title="Area upper bound")
    objective: Literal["Maximize area", "Minimize error"] = Field("Maximize area", title="Resizing objective")
    threshold: float = Field(0.1, ge=0.0, le=1.0, title="Error threshold", json_schema_extra={"step": 0.01})


class FlipPart(Part):
    """Mirrored copies beside each picture."""

    horizontal: bool = Field(True, title="Horizontal")
    vertical: bool = Field(False, title="Vertical")
    both: bool = Field(False, title="Both")


class CaptionPart(Part):
    """A text file beside each result that describes it. A1111's DeepDanbooru is not part of this program."""

    blip: bool = Field(True, title="BLIP")


class ExtrasRequest(Part):
    """One job of the Extras tab. A batch names its files after their sources; `save` False keeps them off the disk.

    `output_folder` takes the place of the settings' folder; `shows` False keeps a long batch's results off the page.
    """

    pictures: tuple[ExtrasPicture, ...] = Field(min_length=1)
    upscale: UpscalePart = UpscalePart()
    gfpgan: GfpganPart | None = None
    codeformer: CodeFormerPart | None = None
    split: SplitPart | None = None
    focal_crop: FocalCropPart | None = None
    auto_size: AutoSizePart | None = None
    flips: FlipPart | None = None
    caption: CaptionPart | None = None
    is_batch: bool = False
    save: bool = True
    output_folder: str = ""
    shows: bool = True
