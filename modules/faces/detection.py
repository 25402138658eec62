"""Where faces are in a picture: RetinaFace's answers, of which those stay that are sure and say different things."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from modules.errors import NotANumber
from modules.images.faces import Points
from modules.networks.retinaface import RetinaFace

SURE = 0.97
"""The least score of a face, as in A1111."""

OVERLAP = 0.4
"""Of two faces that share more than this part of what both cover, the surer one stays."""

SHORTER_SIDE, LONGER_SIDE = 640, 2560
"""Pixels to which a picture is brought before it is searched: the shorter side, as in A1111, or at most the longer."""

LEAST_EYE_DISTANCE = 5.0
"""Pixels of the picture between the eyes; where there are fewer there is nothing to restore."""


@dataclass(frozen=True)
class Face:
    """A face in pixels of the picture: its box (left, top, right, bottom), how sure it is, and its five points."""

    box: tuple[float, float, float, float]
    score: float
    points: Points


def find(network: RetinaFace, image: Image.Image, device: torch.device) -> tuple[Face, ...]:
    """The faces of a picture (RGB), the surest first. The network is on the device. Raises NotANumber."""
    scale = min(SHORTER_SIDE / min(image.size), LONGER_SIDE / max(image.size))
    size = tuple(max(1, int(side * scale)) for side in image.size)
    looked_at = image.resize(size, Image.Resampling.LANCZOS) if size != image.size else image
    pixels = np.ascontiguousarray(np.asarray(looked_at)[:, :, ::-1].transpose(2, 0, 1)).astype(np.float32)
    with torch.no_grad():
        answers = [answer.cpu().numpy() for answer in network(torch.from_numpy(pixels)[None].to(device))]
    boxes, scores, points = answers
    if not np.isfinite(scores).all():
        raise NotANumber("the face detector produced NaN; its file may be damaged")
    sure = np.flatnonzero(scores > SURE)
    order = sure[np.argsort(-scores[sure], kind="stable")]
    boxes, scores, points = boxes[order] / scale, scores[order], points[order] / scale
    return tuple(
        Face(tuple(float(value) for value in boxes[place]), float(scores[place]), points[place].astype(np.float64))
        for place in _different(boxes)
        if np.linalg.norm(points[place, 0] - points[place, 1]) >= LEAST_EYE_DISTANCE
    )


def _different(boxes: NDArray[np.floating]) -> list[int]:
    """The places of boxes (N, 4), in their order, that overlap none before them too much."""
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for place, box in enumerate(boxes):
        others = boxes[kept]
        widths = np.minimum(others[:, 2], box[2]) - np.maximum(others[:, 0], box[0])
        heights = np.minimum(others[:, 3], box[3]) - np.maximum(others[:, 1], box[1])
        shared = np.maximum(widths, 0) * np.maximum(heights, 0)
        if (shared <= OVERLAP * (areas[kept] + areas[place] - shared)).all():
            kept.append(place)
    return kept
