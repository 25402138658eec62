"""SD upscale: enlarge the source, run img2img tile by tile, join the tiles with soft edges (A1111's script)."""

from __future__ import annotations

from typing import Any

from modules.extensions.api import (
    Arguments,
    Ask,
    Asked,
    Field,
    GenerationRequest,
    InvalidRequest,
    Made,
    NewPicture,
    Recipe,
    Registration,
    Script,
    Tools,
    changed,
    flatten,
    grids,
    with_seed_drawn,
)
from modules.images.data import ImageData


class SdUpscaleArguments(Arguments):
    caption: Any = None  # A1111's clients send its explaining text in the first place
    overlap: int = Field(64, ge=0, le=256, title="Tile overlap")
    upscaler: int | str = Field("None", title="Upscaler")
    scale_factor: float = Field(2.0, ge=1, le=4, title="Scale factor")


class SdUpscale(Script):
    """The tile is as large as the width and height of the request. The batch count makes whole repeats."""

    name = "SD upscale"
    tabs = frozenset({"img2img"})
    is_selectable = True
    Args = SdUpscaleArguments

    def recipe(self, request: GenerationRequest, args: SdUpscaleArguments, tools: Tools) -> Recipe:
        request = with_seed_drawn(request)
        source = request.source
        assert source is not None  # `tabs` says img2img
        if args.overlap >= min(request.size.width, request.size.height):
            raise InvalidRequest(
                f"tiles of {request.size} cannot overlap by {args.overlap} pixels; choose a smaller overlap",
                field=f"scripts.{self.name}.overlap",
            )
        upscaler = tools.upscaler_name(args.upscaler)
        image = flatten(source.images[0].open(), str(tools.setting("img2img_background_color")))
        if upscaler != "None":
            image = tools.upscale(image, upscaler, args.scale_factor)
        tiling = grids.split_tiles(image, request.size.width, request.size.height, args.overlap)
        tiles = [ImageData.from_image(tile.image) for row in tiling.rows for tile in row]
        infotext = {"SD upscale overlap": str(args.overlap), "SD upscale upscaler": upscaler}
        batches = [tiles[at : at + request.batch.size] for at in range(0, len(tiles), request.batch.size)]
        joined: list[NewPicture] = []
        for repeat in range(request.batch.count):
            seed = request.seed.value + repeat
            results: list[Made] = []
            for batch in batches:
                run = changed(
                    request,
                    source=changed(source, images=tuple(batch)),
                    seed=changed(request.seed, value=seed),
                    batch=changed(request.batch, size=len(batch), count=1),
                    save=False,
                )
                (made,) = yield Ask((Asked(run, infotext),), expected=len(batches) * request.batch.count)
                if len(made) < len(batch):  # stopped: there is nothing whole to join
                    return joined
                results.extend(made)
                seed = made[0].seed + 1
            whole = grids.combine_tiles(tiling.with_images([one.open().convert("RGB") for one in results]))
            joined.append(NewPicture(whole, like=results[0]))
        return joined


def register(to: Registration) -> None:
    to.script(SdUpscale())
