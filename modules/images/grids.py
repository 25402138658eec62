"""Several pictures on one sheet: plain grids, grids with legends, and cutting a picture into overlapping tiles."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from modules.images.fonts import font_for

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han: written without spaces, so a line may break between any two."""


def grid_rows(count: int, *, n_rows: int = -1, batch_size: int = 1, prevent_empty_spots: bool = False) -> int:
    """The number of rows for `count` pictures by A1111's settings.

    `n_rows` above 0 is taken as it is, 0 means one row a batch slot (`batch_size`), -1 means about square: the rounded
    root of `count` (halves to even) or, to prevent empty spots, its largest divisor up to the root.
    """
    if n_rows > 0:
        rows = n_rows
    elif n_rows == 0:
        rows = batch_size
    elif prevent_empty_spots:
        rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    else:
        rows = round(math.sqrt(count))
    return max(1, min(rows, count))


def image_grid(
    images: Sequence[Image.Image], rows: int, *, background: str = "#ffffff", margin: int = 0
) -> Image.Image:
    """`images` row by row on one sheet; cells are as large as the largest picture, smaller ones are centred.

    Raises ValueError for no pictures.
    """
    if not images:
        raise ValueError("a grid needs at least one picture")
    rows = max(1, min(rows, len(images)))
    columns = math.ceil(len(images) / rows)
    width, height = max(image.width for image in images), max(image.height for image in images)
    sheet = Image.new(
        "RGB", (columns * width + (columns - 1) * margin, rows * height + (rows - 1) * margin), background
    )
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        left = column * (width + margin) + (width - image.width) // 2
        top = row * (height + margin) + (height - image.height) // 2
        sheet.paste(image, (left, top))
    return sheet


@dataclass(frozen=True)
class Label:
    """One line of a legend; an inactive one is grey and struck through."""

    text: str
    is_active: bool = True


@dataclass(frozen=True)
class LegendStyle:
    """How legends look; `font` is a path of a font file, empty for Pillow's own (`images/fonts.py`)."""

    font: str = ""
    active_color: str = "#000000"
    inactive_color: str = "#999999"
    background: str = "#ffffff"


def annotated_grid(
    grid: Image.Image,
    columns: Sequence[Sequence[Label]],
    rows: Sequence[Sequence[Label]],
    *,
    style: LegendStyle = LegendStyle(),
    margin: int = 0,
) -> Image.Image:
    """`grid` with legends above its columns and left of its rows, laid out as A1111's X/Y/Z plot does.

    `grid` holds len(columns) x len(rows) cells with `margin` between them. Text is (cell width + height) / 25 high,
    wrapped at words; a line that is still too wide is written smaller.
    """
    cell_width = (grid.width - margin * (len(columns) - 1)) // len(columns)
    cell_height = (grid.height - margin * (len(rows) - 1)) // len(rows)
    size = max(1, (cell_width + cell_height) // 25)
    spacing = size // 2
    left = cell_width * 3 // 4 if any(label.text for labels in rows for label in labels) else 0
    canvas = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    above = [_wrapped(canvas, labels, style.font, size, cell_width) for labels in columns]
    beside = [_wrapped(canvas, labels, style.font, size, left) for labels in rows]
    tallest = max((_height(lines, spacing) for lines in above), default=0)
    top = tallest + 2 * spacing if any(label.text for labels in columns for label in labels) else 0

    sheet = Image.new("RGB", (grid.width + left, grid.height + top), style.background)
    sheet.paste(grid, (left, top))
    draw = ImageDraw.Draw(sheet)
    for place, lines in enumerate(above):
        middle = left + (cell_width + margin) * place + cell_width / 2
        _write(draw, lines, middle, top / 2 - _height(lines, spacing) / 2, cell_width, style, size, spacing)
    for place, lines in enumerate(beside):
        middle = top + (cell_height + margin) * place + cell_height / 2
        _write(draw, lines, left / 2, middle - _height(lines, spacing) / 2, left, style, size, spacing)
    return sheet


@dataclass(frozen=True)
class _Line:
    text: str
    is_active: bool
    height: int


def _wrapped(draw: ImageDraw.ImageDraw, labels: Sequence[Label], chosen: str, size: int, width: int) -> list[_Line]:
    """The labels' words in lines that fit `width` where words allow; each label in a font that has its letters."""
    lines = []
    for label in labels:
        font = font_for(label.text, size, chosen)
        current = ""
        texts = []
        for word in _words(label.text):
            longer = f"{current}{word}" if not current or word[:1] != " " else f"{current} {word[1:]}"
            if current and draw.textlength(longer.strip(), font=font) > width:
                texts.append(current.strip())
                current = word.lstrip()
            else:
                current = longer
        for text in [*texts, current.strip()]:
            box = draw.textbbox((0, 0), text or "X", font=font)
            lines.append(_Line(text, label.is_active, math.ceil(box[3])))
    return lines


def _words(text: str) -> list[str]:
    """The pieces between which a line may break: words with the space before them, and every ideograph by itself."""
    return re.findall(rf" ?[{_IDEOGRAPHS}]| ?[^\s{_IDEOGRAPHS}]+", " ".join(text.split()))


def _height(lines: Sequence[_Line], spacing: int) -> int:
    return sum(line.height + spacing for line in lines) - (spacing if lines else 0)


def _write(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[_Line],
    middle: float,
    top: float,
    width: int,
    style: LegendStyle,
    size: int,
    spacing: int,
) -> None:
    """Draw lines centred on `middle`, the first one beginning at `top`."""
    for line in lines:
        fitting = size
        while fitting > 1 and draw.textlength(line.text, font=font_for(line.text, fitting, style.font)) > width:
            fitting -= 1
        font = font_for(line.text, fitting, style.font)
        color = style.active_color if line.is_active else style.inactive_color
        draw.text((middle, top + line.height / 2), line.text, font=font, fill=color, anchor="mm")
        if not line.is_active and line.text:
            half = draw.textlength(line.text, font=font) / 2
            y = top + line.height / 2
            draw.line((middle - half, y, middle + half, y), fill=color, width=4)
        top += line.height + spacing


@dataclass(frozen=True)
class Tile:
    """A piece of a picture and where its upper left corner was."""

    image: Image.Image
    left: int
    top: int


@dataclass(frozen=True)
class Tiling:
    """A picture as overlapping tiles, row by row; all tiles are of one size unless the picture is smaller."""

    width: int
    height: int
    overlap: int
    rows: tuple[tuple[Tile, ...], ...]

    def with_images(self, images: Sequence[Image.Image]) -> Tiling:
        """The same places with other pictures, given row by row."""
        left = iter(images)
        rows = tuple(tuple(Tile(next(left), tile.left, tile.top) for tile in row) for row in self.rows)
        return Tiling(self.width, self.height, self.overlap, rows)


def split_tiles(image: Image.Image, tile_width: int = 512, tile_height: int = 512, overlap: int = 64) -> Tiling:
    """`image` cut into tiles that overlap by at least `overlap` pixels and are spread evenly.

    Raises ValueError when the overlap leaves no step.
    """
    if overlap >= min(tile_width, tile_height):
        raise ValueError(f"tiles of {tile_width}x{tile_height} cannot overlap by {overlap} pixels")
    tile_width, tile_height = min(tile_width, image.width), min(tile_height, image.height)
    overlap = min(overlap, tile_width - 1, tile_height - 1)
    lefts = _places(image.width, tile_width, overlap)
    tops = _places(image.height, tile_height, overlap)
    rows = tuple(
        tuple(Tile(image.crop((left, top, left + tile_width, top + tile_height)), left, top) for left in lefts)
        for top in tops
    )
    return Tiling(image.width, image.height, overlap, rows)


def combine_tiles(tiling: Tiling) -> Image.Image:
    """The picture again, each tile faded in over its first `overlap` columns and rows."""
    sheet = Image.new("RGB", (tiling.width, tiling.height))
    for row_number, row in enumerate(tiling.rows):
        height = row[0].image.height
        strip = Image.new("RGB", (tiling.width, height))
        for column, tile in enumerate(row):
            ramp = _ramp(tile.image.width, height, tiling.overlap if column else 0, horizontal=True)
            strip.paste(tile.image, (tile.left, 0), ramp)
        ramp = _ramp(tiling.width, height, tiling.overlap if row_number else 0, horizontal=False)
        sheet.paste(strip, (0, row[0].top), ramp)
    return sheet


def _places(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side: evenly spread, the last one flush."""
    count = max(1, math.ceil((length - overlap) / (tile - overlap)))
    return [0] if count == 1 else [int(place * (length - tile) / (count - 1)) for place in range(count)]


def _ramp(width: int, height: int, overlap: int, *, horizontal: bool) -> Image.Image:
    """A mask that rises from 0 over `overlap` pixels and stays 255."""
    length = width if horizontal else height
    values = bytes(255 * place // overlap if place < overlap else 255 for place in range(length))
    line = Image.frombytes("L", (length, 1) if horizontal else (1, length), values)
    return line.resize((width, height), Image.Resampling.NEAREST)
