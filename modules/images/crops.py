"""Cutting pictures to sizes: long ones into pieces, others around what stands out, or to the size that suits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

Objective = Literal["Maximize area", "Minimize error"]

STEP = 64
"""Sizes that `suitable_size` considers are multiples of this, as in A1111."""

_COLORS = {"entropy": (220, 0, 0), "edges": (0, 80, 255), "faces": (230, 0, 230)}

_LOOKED_AT = 192
"""The longer side, in pixels, at which a picture is searched for what stands out."""


def pieces(image: Image.Image, size: tuple[int, int], *, threshold: float, overlap: float) -> list[Image.Image]:
    """`image` scaled to the target's shorter side and cut along the longer into overlapping pieces of `size`.

    One that is not long enough comes back as it is: when one piece would show more than `threshold` of it. Neighbours
    overlap by at least `overlap` (0…0.9) of a piece's length.
    """
    width, height = size
    is_tall = image.height > image.width
    shown = image.width * height / (image.height * width) if is_tall else image.height * width / (image.width * height)
    if shown >= 1.0 or shown > threshold:
        return [image]
    along, across = (height, width) if is_tall else (width, height)
    length = (image.height if is_tall else image.width) * across // (image.width if is_tall else image.height)
    scaled = image.resize((across, length) if is_tall else (length, across), Image.Resampling.LANCZOS)
    count = max(2, ceil((length - along * overlap) / (along * (1.0 - overlap))))
    starts = [int(index * (length - along) / (count - 1)) for index in range(count)]
    boxes = [(0, at, across, at + along) if is_tall else (at, 0, at + along, across) for at in starts]
    return [scaled.crop(box) for box in boxes]


@dataclass(frozen=True)
class FocalCrop:
    """A cut, and where it was made: the points that drew it, in pixels of the scaled picture, and the box."""

    image: Image.Image
    scaled: Image.Image
    points: dict[str, tuple[float, float]]
    box: tuple[int, int, int, int]

    def explained(self) -> Image.Image:
        """The scaled picture with the box and the points drawn on it."""
        picture = self.scaled.convert("RGB")
        draw = ImageDraw.Draw(picture)
        draw.rectangle((self.box[0], self.box[1], self.box[2] - 1, self.box[3] - 1), outline=(0, 200, 0), width=3)
        radius = max(4, max(picture.size) // 60)
        for name, (x, y) in self.points.items():
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=_COLORS[name], width=3)
        return picture


def focal_crop(
    image: Image.Image,
    size: tuple[int, int],
    *,
    entropy: float,
    edges: float,
    face_weight: float = 0.0,
    faces: Sequence[Box] = (),
) -> FocalCrop:
    """`image` scaled to cover `size` and cut to it around the mean of up to three points, each with a weight.

    They are the centre of the window of that size with the most different tones (`entropy`), the centre of the
    strongest edges (`edges`) and that of the `faces`, if there are any (`face_weight`). With no weight at all the cut
    is centred.
    """
    width, height = size
    factor = max(width / image.width, height / image.height)
    scaled = image.resize((max(width, round(image.width * factor)), max(height, round(image.height * factor))))
    shrink = min(1.0, _LOOKED_AT / max(scaled.size))
    small = scaled.convert("L").resize([max(1, round(side * shrink)) for side in scaled.size])
    tones = np.asarray(small)
    found = {
        "entropy": (_busiest_window(tones, round(width * shrink), round(height * shrink)), entropy),
        "edges": (_centre_of_edges(tones), edges),
    }
    if faces:
        middle = np.array(faces).reshape(-1, 2, 2).mean(axis=(0, 1)) * factor * shrink
        found["faces"] = ((float(middle[0]), float(middle[1])), face_weight)
    weights = {name: weight for name, (_, weight) in found.items() if weight > 0}
    points = {name: tuple(value / shrink for value in found[name][0]) for name in weights}
    total = sum(weights.values())
    if total:
        centre = [sum(points[name][axis] * weight for name, weight in weights.items()) / total for axis in (0, 1)]
    else:
        centre = [side / 2 for side in scaled.size]
    left, top = (
        int(min(max(0.0, middle - side / 2), whole - side))
        for middle, side, whole in zip(centre, size, scaled.size, strict=True)
    )
    box = (left, top, left + width, top + height)
    return FocalCrop(scaled.crop(box), scaled, points, box)


def suitable_size(
    size: tuple[int, int],
    *,
    sides: tuple[int, int],
    areas: tuple[int, int],
    objective: Objective,
    threshold: float,
) -> tuple[int, int] | None:
    """The width and height, in steps of 64, that suit a picture of `size` best; None when nothing is in the bounds.

    `sides` and `areas` are inclusive bounds. The error of a size is the share of the picture that cutting it to that
    size's proportions loses; it may be at most `threshold`. "Maximize area" takes the largest and then the truest,
    "Minimize error" the truest and then the largest.
    """
    proportion = size[0] / size[1]
    steps = range(sides[0], sides[1] + 1, STEP)

    def error(width: int, height: int) -> float:
        ratio = proportion / (width / height)
        return 1.0 - min(ratio, 1.0 / ratio)

    fitting = [
        (width, height)
        for width in steps
        for height in steps
        if areas[0] <= width * height <= areas[1] and error(width, height) <= threshold
    ]

    def worth(one: tuple[int, int]) -> tuple[float, float]:
        area, truth = float(one[0] * one[1]), -error(*one)
        return (area, truth) if objective == "Maximize area" else (truth, area)

    return max(fitting, key=worth, default=None)


def centre_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of `image` in the proportions of `size`, resampled to it."""
    width, height = size
    if image.height / height < image.width / width:
        lost = (image.width - width * image.height / height) / 2
        box = (lost, 0.0, image.width - lost, float(image.height))
    else:
        lost = (image.height - height * image.width / width) / 2
        box = (0.0, lost, float(image.width), image.height - lost)
    return image.resize(size, Image.Resampling.LANCZOS, box=box)


def _centre_of_edges(tones: NDArray[np.uint8]) -> tuple[float, float]:
    """(x, y) of the mean place of the strongest hundredth of the edges; the middle of a picture without any."""
    values = tones.astype(np.float64)
    strength = np.zeros_like(values)
    strength[1:-1, 1:-1] = np.hypot(values[1:-1, 2:] - values[1:-1, :-2], values[2:, 1:-1] - values[:-2, 1:-1])
    enough = max(np.quantile(strength, 0.99), 1.0)
    rows, columns = np.nonzero(strength >= enough)
    if not len(rows):
        return tones.shape[1] / 2, tones.shape[0] / 2
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def _busiest_window(tones: NDArray[np.uint8], width: int, height: int) -> tuple[float, float]:
    """(x, y) of the centre of the window, moved along the side that is too long, whose tones have most entropy."""
    rows, columns = tones.shape
    is_tall = rows - height > columns - width
    free = max(0, rows - height if is_tall else columns - width)
    best, found = -1.0, 0
    for at in range(0, free + 1, max(1, free // 64)):
        window = tones[at : at + height] if is_tall else tones[:, at : at + width]
        shares = np.bincount(window.ravel(), minlength=256) / window.size
        shares = shares[shares > 0]
        entropy = float(-(shares * np.log2(shares)).sum())
        if entropy > best:
            best, found = entropy, at
    return (columns / 2, found + height / 2) if is_tall else (found + width / 2, rows / 2)
