"""Poor man's outpainting: a larger canvas whose new edges are inpainted tile by tile (A1111's script)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

from modules.extensions.api import (
    SIDES,
    Arguments,
    Ask,
    Asked,
    Field,
    GenerationRequest,
    ImageData,
    InvalidRequest,
    Made,
    NewPicture,
    Recipe,
    Registration,
    Script,
    Side,
    Tools,
    changed,
    grids,
    growth,
    with_seed_drawn,
)

CONTENTS = ("fill", "original", "latent noise", "latent nothing")


class PoorMansArguments(Arguments):
    pixels: int = Field(128, ge=8, le=256, title="Pixels to expand", json_schema_extra={"step": 8})
    mask_blur: int = Field(4, ge=0, le=64, title="Mask blur")
    content: int | Literal["fill", "original", "latent noise", "latent nothing"] = Field(
        "fill", title="Masked content", json_schema_extra={"choices": list(CONTENTS)}
    )
    directions: tuple[Side, ...] = Field(SIDES, title="Outpainting direction")


@dataclass(frozen=True)
class Canvas:
    """The larger picture: its size, and how much of it is new on each side."""

    width: int
    height: int
    left: int
    up: int
    right: int
    down: int

    def frame(self, inset: int) -> Image.Image:
        """White where it is new and `inset` pixels into the old picture on the sides that grow, else black."""
        mask = Image.new("L", (self.width, self.height), 255)
        left, up = (side + inset if side else 0 for side in (self.left, self.up))
        right, down = (side + inset if side else 0 for side in (self.right, self.down))
        if left < self.width - right and up < self.height - down:
            ImageDraw.Draw(mask).rectangle((left, up, self.width - right - 1, self.height - down - 1), fill=0)
        return mask


class PoorMansOutpainting(Script):
    """Tiles are as large as the request's width and height; only those that touch new area are run."""

    name = "Poor man's outpainting"
    tabs = frozenset({"img2img"})
    is_selectable = True
    Args = PoorMansArguments

    def settle(self, request: GenerationRequest, args: PoorMansArguments, tools: Tools) -> GenerationRequest:
        if args.pixels >= min(request.size.width, request.size.height):
            raise InvalidRequest(
                f"tiles of {request.size} cannot overlap by {args.pixels} pixels; expand by less", field="size"
            )
        if not args.directions:
            raise InvalidRequest("choose at least one direction to expand to", field=f"scripts.{self.name}.directions")
        return with_seed_drawn(request)

    def recipe(self, request: GenerationRequest, args: PoorMansArguments, tools: Tools) -> Recipe:
        source = request.source
        assert source is not None  # `tabs` says img2img
        old = source.images[0].open().convert("RGB")
        canvas = grown(old.size, args)
        image = Image.new("RGB", (canvas.width, canvas.height))
        image.paste(old, (canvas.left, canvas.up))
        blur = args.mask_blur * 2
        content = CONTENTS[args.content] if isinstance(args.content, int) else args.content
        size = (request.size.width, request.size.height, args.pixels)
        tiling = grids.split_tiles(image, *size)
        masks = grids.split_tiles(canvas.frame(blur), *size)
        latent_masks = grids.split_tiles(canvas.frame(args.mask_blur // 2), *size)
        new_area = grids.split_tiles(canvas.frame(0), *size)
        places = [
            (row, column)
            for row, tiles in enumerate(new_area.rows)
            for column, tile in enumerate(tiles)
            if tile.image.getbbox() is not None
        ]
        results: dict[tuple[int, int], Made] = {}
        for count, (row, column) in enumerate(places):
            inpaint = {
                "mask": ImageData.from_image(masks.rows[row][column].image),
                "latent_mask": ImageData.from_image(latent_masks.rows[row][column].image),
                "blur_x": blur, "blur_y": blur, "content": content, "only_masked": False,
            }  # fmt: skip
            tile = changed(source, images=(ImageData.from_image(tiling.rows[row][column].image),), inpaint=inpaint)
            run = changed(
                request,
                source=tile,
                seed=changed(request.seed, value=request.seed.value + count),
                batch=changed(request.batch, size=1, count=1),
                save=False,
            )
            (made,) = yield Ask((Asked(run),), expected=len(places))
            if not made:  # stopped: there is nothing whole to join
                return []
            results[row, column] = made[0]
        joined = [
            results[row, column].open().convert("RGB") if (row, column) in results else tile.image
            for row, tiles in enumerate(tiling.rows)
            for column, tile in enumerate(tiles)
        ]
        return [NewPicture(grids.combine_tiles(tiling.with_images(joined)), like=next(iter(results.values())))]


def grown(size: tuple[int, int], args: PoorMansArguments) -> Canvas:
    """The canvas for a picture: each asked side grows, then both measures are rounded up to multiples of 64."""
    by = growth(size, args.pixels, args.directions)
    left, up, right, down = (by.get(side, 0) for side in ("left", "up", "right", "down"))
    return Canvas(size[0] + left + right, size[1] + up + down, left, up, right, down)


def register(to: Registration) -> None:
    to.script(PoorMansOutpainting())
