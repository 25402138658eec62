"""Faces cut out of a picture upright and in one size, and put back where they were: pixels with Pillow and numpy.

A face is placed by five points: eyes, nose, corners of the mouth. Places are in pixels; (0, 0) is the middle of the
first one, as OpenCV counts, after which facexlib and with it A1111 place faces. Masks and rounding are facexlib's too.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 512
"""Pixels of a face that was cut out, on both sides."""

TEMPLATE = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043],
     [313.08905, 371.15118]]
)  # fmt: skip
"""Where the five points are in a face of SIDE pixels as in the FFHQ pictures, which the networks were trained on."""

AROUND = (132, 133, 135)
"""What is seen of a face that reaches over the picture's border."""

Points = NDArray[np.floating]
"""(5, 2): x and y of the left eye, right eye, nose, left and right corner of the mouth, as seen."""

Placement = NDArray[np.floating]
"""(2, 3): from a place in the picture to one in the face cut out of it."""


def placement(points: Points, template: Points = TEMPLATE) -> Placement:
    """The turn, scale and shift that bring `points` onto `template`, whatever single points are far off.

    Least median of squares (Rousseeuw 1984): the median error of every pair's own similarity tells which points belong
    together; those are then fitted by least squares.
    """
    candidates = [_similarity(points[list(pair)], template[list(pair)]) for pair in combinations(range(len(points)), 2)]
    errors = [((moved(points, one) - template) ** 2).sum(axis=1) for one in candidates]
    best = min(errors, key=lambda squares: float(np.median(squares)))
    # 1.4826 makes a median a standard deviation, the bracket corrects for few points; 2.5 of them are taken in
    reach = 2.5 * 1.4826 * (1 + 5 / (len(points) - 2)) * np.sqrt(np.median(best))
    belongs = best <= max(reach, 0.001) ** 2
    return _similarity(points[belongs], template[belongs])


def moved(points: Points, place: Placement) -> Points:
    """`points` (N, 2) after a placement."""
    return points @ place[:, :2].T + place[:, 2]


def inverse(place: Placement) -> Placement:
    turn = np.linalg.inv(place[:, :2])
    return np.hstack([turn, (-turn @ place[:, 2])[:, None]])


def cut(image: Image.Image, place: Placement) -> Image.Image:
    """The face of a picture (RGB), SIDE × SIDE."""
    return Image.fromarray(_warped(np.asarray(image), inverse(place), (SIDE, SIDE), AROUND).round().astype(np.uint8))


def paste(picture: NDArray[np.uint8], face: Image.Image, place: Placement, outline: NDArray | None = None) -> None:
    """Put a face (RGB, SIDE × SIDE) into `picture` (H, W, 3), which is changed in place; it fades out at its border.

    `outline` (SIDE, SIDE), 0…1, says how much of the face shows where; without one all but the border does.
    """
    height, width = picture.shape[:2]
    back = inverse(place)
    corners = moved(np.array([[-1, -1], [SIDE, -1], [SIDE, SIDE], [-1, SIDE]], dtype=float), back)
    left, top = (max(0, int(np.floor(least)) - 2) for least in corners.min(axis=0))
    right, bottom = (
        min(size, int(np.ceil(most)) + 3) for size, most in zip((width, height), corners.max(axis=0), strict=True)
    )
    if left >= right or top >= bottom:
        return
    from_here = np.hstack([place[:, :2], moved(np.array([[left, top]], dtype=float), place).T])
    size = (right - left, bottom - top)
    if outline is None:
        shown = _faded(_warped(np.ones((SIDE, SIDE, 1)), from_here, size)[..., 0])[..., None]
    else:
        shown = _warped(outline[..., None], from_here, size)
    region = picture[top:bottom, left:right].astype(np.float64)
    region += shown * (_warped(np.asarray(face), from_here, size).round() - region)
    picture[top:bottom, left:right] = region.astype(np.uint8)


def outline_of(labels: NDArray[np.integer], surroundings: tuple[int, ...]) -> NDArray[np.floating]:
    """How much of a face (SIDE, SIDE) shows where, 0…1, from what each pixel is; soft, and nothing of the border."""
    from scipy.ndimage import gaussian_filter

    shown = np.where(np.isin(labels, surroundings), 0.0, 1.0)
    for _ in range(2):
        shown = gaussian_filter(shown, 11, mode="mirror", radius=50)
    border = np.zeros_like(shown)
    border[10:-10, 10:-10] = 1.0
    return shown * border


def _similarity(points: Points, template: Points) -> Placement:
    """The similarity with the least squares between `points` moved by it and `template`; at least two points."""
    # x' = a x - b y + c, y' = b x + a y + d
    x, y, ones, zeros = points[:, 0], points[:, 1], np.ones(len(points)), np.zeros(len(points))
    left = np.vstack([np.stack([x, -y, ones, zeros], axis=1), np.stack([y, x, zeros, ones], axis=1)])
    a, b, c, d = np.linalg.lstsq(left, np.concatenate([template[:, 0], template[:, 1]]), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


def _warped(
    pixels: NDArray, from_made: Placement, size: tuple[int, int], outside: tuple[int, ...] = (0, 0, 0)
) -> NDArray[np.floating]:
    """Pixels (height, width, C), not rounded, that come from where `from_made` says in `pixels` (H, W, C)."""
    turn, shift = from_made[:, :2], from_made[:, 2]
    shift = shift + 0.5 - turn @ np.array([0.5, 0.5])  # Pillow counts from the first pixel's corner
    values = (*turn[0], shift[0], *turn[1], shift[1])
    channels = (
        Image.fromarray(np.ascontiguousarray(pixels[..., place], dtype=np.float32)).transform(
            size, Image.Transform.AFFINE, values, Image.Resampling.BILINEAR, fillcolor=outside[place]
        )
        for place in range(pixels.shape[2])
    )
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


def _faded(covered: NDArray[np.floating]) -> NDArray[np.floating]:
    """What a face covers (1: all of the pixel), less a twentieth of its side all around, and softly."""
    from scipy.ndimage import gaussian_filter, minimum_filter

    inner = minimum_filter(covered, size=2, mode="constant", cval=1.0)
    edge = int(float(inner.sum()) ** 0.5) // 20
    if edge == 0:
        return inner
    inner = minimum_filter(inner, size=2 * edge, mode="constant", cval=1.0)
    return gaussian_filter(inner, 0.3 * (edge - 1) + 0.8, mode="mirror", radius=edge)
