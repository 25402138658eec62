"""Colour correction, held against OpenCV 4.8.1, scikit-image 0.21 and blendmodes 2022 by digests of their results."""

from __future__ import annotations

import numpy as np
from PIL import Image

from modules.images import color
from tests.unit.images.pixels import digest, noise

STEPS = np.arange(0, 256, 5, dtype=np.uint8)
CUBE = np.stack(np.meshgrid(STEPS, STEPS, STEPS, indexing="ij"), -1).reshape(-1, len(STEPS), 3)


def test_rgb_to_lab_gives_opencvs_bytes():
    assert digest(color.rgb_to_lab(CUBE)) == "1a91f1e617266b34"


def test_lab_to_rgb_gives_opencvs_bytes():
    assert digest(color.lab_to_rgb(CUBE)) == "3de4e9d6735fd650"


def test_the_correction_gives_a1111s_bytes():
    like = Image.fromarray((noise(16, 16, 3, seed=9) // 2 + 60).astype(np.uint8))
    assert digest(color.color_correct(Image.fromarray(noise(40, 50, 3)), like)) == "3e405499cfd213a7"


def test_a_picture_matched_to_itself_stays_nearly_itself():
    picture = Image.fromarray(noise(20, 20, 3)).resize((60, 60))
    corrected = np.asarray(color.color_correct(picture, picture)).astype(int)
    assert np.abs(corrected - np.asarray(picture)).mean() < 4  # 8-bit Lab is coarse


def test_matched_values_are_distributed_like_the_other_pictures():
    dark = (noise(64, 64, 3) // 4).astype(np.uint8)
    matched = color.match_histograms(noise(64, 64, 3, seed=5), dark)
    assert matched.max() <= dark.max() and abs(matched.mean() - dark.mean()) < 1


def test_luminance_comes_from_the_foreground():
    red, grey = np.full((1, 1, 3), (200, 20, 20), np.uint8), np.full((1, 1, 3), 128, np.uint8)
    r, g, b = color.luminosity_blend(red, grey)[0, 0].astype(float)
    assert abs(0.299 * r + 0.587 * g + 0.114 * b - 128) < 1.5 and r > g
