"""Outpainting mk2: grows a picture side by side, each new strip started from noise that matches the picture
(A1111's script)."""

from __future__ import annotations

from typing import Any

import numpy as np
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
    rounded_up,
    sheet_of,
    with_seed_drawn,
)

from .noise import matched_noise


class Mk2Arguments(Arguments):
    caption: Any = Field(
        None, json_schema_extra={"is_hidden": True}
    )  # A1111's clients send its advice in the first place
    pixels: int = Field(128, ge=8, le=256, title="Pixels to expand", json_schema_extra={"step": 8})
    mask_blur: int = Field(8, ge=0, le=64, title="Mask blur")
    directions: tuple[Side, ...] = Field(SIDES, title="Outpainting direction")
    falloff: float = Field(
        1.0, ge=0, le=4, title="Fall-off exponent (lower=higher detail)", json_schema_extra={"step": 0.01}
    )
    color_variation: float = Field(0.05, ge=0, le=1, title="Color variation", json_schema_extra={"step": 0.01})


class OutpaintingMk2(Script):
    """Best with 80 to 100 steps, an ancestral sampler, a strength of 0.8 and a prompt for the whole picture."""

    name = "Outpainting mk2"
    tabs = frozenset({"img2img"})
    is_selectable = True
    Args = Mk2Arguments

    def settle(self, request: GenerationRequest, args: Mk2Arguments, tools: Tools) -> GenerationRequest:
        if not args.directions:
            raise InvalidRequest("choose at least one direction to expand to", field=f"scripts.{self.name}.directions")
        return with_seed_drawn(request)

    def recipe(self, request: GenerationRequest, args: Mk2Arguments, tools: Tools) -> Recipe:
        source = request.source
        assert source is not None  # `tabs` says img2img
        start = source.images[0].open().convert("RGB")
        sides = growth(start.size, args.pixels, args.directions)
        expected = len(sides) * request.batch.count
        results: list[NewPicture] = []
        for repeat in range(request.batch.count):
            seed = request.seed.value + repeat * request.batch.size
            images = [start] * request.batch.size
            made: tuple[Made, ...] = ()
            for direction, pixels in sides.items():
                strips = [Strip(image, direction, pixels, request, args) for image in images]
                run = _run(request, strips, seed)
                (made,) = yield Ask((Asked(run),), expected=expected)
                if len(made) < len(strips):  # stopped: keep the repeats that are whole
                    return _with_grid(results, tools)
                images = [strip.joined(one.open().convert("RGB")) for strip, one in zip(strips, made, strict=True)]
            results += [NewPicture(image, like=one) for image, one in zip(images, made, strict=True)]
        return _with_grid(results, tools)


class Strip:
    """One picture growing to one side: the window that is inpainted, its masks, and how it is put back."""

    def __init__(
        self, image: Image.Image, direction: Side, pixels: int, request: GenerationRequest, args: Mk2Arguments
    ) -> None:
        self.is_horizontal = direction in ("left", "right")
        self.is_before = direction in ("left", "up")
        self.pixels, self.blur = pixels, args.mask_blur
        across, down = (pixels, 0) if self.is_horizontal else (0, pixels)
        self.size = (image.width + across, image.height + down)
        self.padded = (rounded_up(self.size[0]), rounded_up(self.size[1]))
        canvas = Image.new("RGB", self.padded)
        canvas.paste(image, (across, down) if self.is_before else (0, 0))
        self.canvas = self._with_noise(canvas, args)
        self.window = self._window(request)
        self.mask = self._frame(self.blur).crop(self.window)
        self.latent_mask = self._frame(self.blur * 2).crop(self.window)

    @property
    def start(self) -> Image.Image:
        """What the inpainting starts from."""
        return self.canvas.crop(self.window)

    def joined(self, result: Image.Image) -> Image.Image:
        """The grown picture with the inpainted window in its place."""
        whole = self.canvas.copy()
        whole.paste(result, self.window[:2])
        return whole.crop((0, 0, *self.size))

    def _window(self, request: GenerationRequest) -> tuple[int, int, int, int]:
        """The part of the canvas that is run: all across the strip, and as deep as the request's size allows."""
        width, height = self.padded
        if self.is_horizontal:
            width = min(rounded_up(request.size.width), width)
        else:
            height = min(rounded_up(request.size.height), height)
        left, top = (0, 0) if self.is_before else (self.padded[0] - width, self.padded[1] - height)
        return left, top, left + width, top + height

    def _frame(self, inset: int) -> Image.Image:
        """White over the new strip and `inset` pixels into the picture, black elsewhere."""
        mask = Image.new("L", self.padded, 255)
        edge = self.pixels + inset
        width, height = self.size
        box = {
            (True, True): (edge, 0, width, height), (True, False): (0, 0, width - edge, height),
            (False, True): (0, edge, width, height), (False, False): (0, 0, width, height - edge),
        }[self.is_horizontal, self.is_before]  # fmt: skip
        if box[0] < box[2] and box[1] < box[3]:
            ImageDraw.Draw(mask).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=0)
        return mask

    def _with_noise(self, canvas: Image.Image, args: Mk2Arguments) -> Image.Image:
        known = np.asarray(self._frame(0)) == 0
        pixels = np.asarray(canvas, dtype=np.float64) / 255
        filled = matched_noise(pixels, known, args.falloff, args.color_variation)
        return Image.fromarray((np.clip(filled, 0, 1) * 255).round().astype(np.uint8))


def _run(request: GenerationRequest, strips: list[Strip], seed: int) -> GenerationRequest:
    first = strips[0]
    source = request.source
    assert source is not None
    blur_x, blur_y = (first.blur * 4, 0) if first.is_horizontal else (0, first.blur * 4)
    inpaint = {
        "mask": ImageData.from_image(first.mask), "latent_mask": ImageData.from_image(first.latent_mask),
        "blur_x": blur_x, "blur_y": blur_y, "content": "original", "only_masked": False,
    }  # fmt: skip
    images = tuple(ImageData.from_image(strip.start) for strip in strips)
    return changed(
        request,
        source=changed(source, images=images, inpaint=inpaint),
        size={"width": first.start.width, "height": first.start.height},
        seed=changed(request.seed, value=seed),
        batch=changed(request.batch, size=len(strips), count=1),
        save=False,
    )


def _with_grid(results: list[NewPicture], tools: Tools) -> list[NewPicture]:
    if not results:
        return []
    rows = grids.grid_rows(len(results), n_rows=tools.setting("n_rows"))
    return [*sheet_of([one.image for one in results], results[0].like, tools, rows=rows), *results]


def register(to: Registration) -> None:
    to.script(OutpaintingMk2())
