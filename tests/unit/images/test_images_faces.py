"""Faces cut out and put back: where they come from and where they go, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.images import faces
from modules.images.faces import SIDE, TEMPLATE


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """From a face of SIDE pixels into a picture."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def smooth(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    channels = [128 + 100 * np.sin(x / 23 + turn) * np.cos(y / 31 - turn) for turn in (0.0, 1.0, 2.0)]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def test_five_points_tell_turn_scale_and_shift_exactly() -> None:
    into_picture = turned(0.4, 0.3, (120.0, 40.0))
    place = faces.placement(faces.moved(TEMPLATE, into_picture))
    assert place == pytest.approx(faces.inverse(into_picture), abs=1e-9)


def test_one_point_far_off_changes_nothing() -> None:
    into_picture = turned(-0.2, 0.5, (10.0, 90.0))
    points = faces.moved(TEMPLATE, into_picture)
    points[3] += (80.0, -60.0)
    assert faces.placement(points) == pytest.approx(faces.inverse(into_picture), abs=1e-6)


def test_points_that_do_not_quite_agree_are_fitted_as_opencv_does() -> None:
    # cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS) of OpenCV 5.0
    points = np.array([[202.84975, 101.43466], [247.06296, 103.0728], [223.4397, 129.75871], [200.85612, 139.03015],
                       [245.72717, 140.5374]])  # fmt: skip
    by_opencv = np.array([[2.969693, 0.132273, -424.838106], [-0.132273, 2.969693, -27.607697]])
    assert faces.placement(points) == pytest.approx(by_opencv, abs=1e-3)


def test_a_face_is_cut_out_upright_with_grey_beyond_the_picture() -> None:
    image = Image.new("RGB", (300, 200), (0, 0, 255))
    place = faces.inverse(turned(0.0, 0.5, (150.0, -50.0)))  # reaches over the top and the right
    face = np.asarray(faces.cut(image, place))
    assert face.shape == (SIDE, SIDE, 3)
    assert tuple(face[300, 150]) == (0, 0, 255)  # 225, 100 of the picture
    assert tuple(face[50, 150]) == tuple(face[300, 400]) == faces.AROUND


@pytest.mark.parametrize("angle, scale", [(0.0, 1.0), (0.3, 0.4), (-0.5, 1.2)])
def test_what_was_cut_out_goes_back_to_where_it_was(angle: float, scale: float) -> None:
    image = smooth(900, 900)
    place = faces.inverse(turned(angle, scale, (50.0, 330.0)))
    picture = np.array(image)
    faces.paste(picture, faces.cut(image, place), place)
    changed = np.abs(picture.astype(int) - np.asarray(image)).max()
    assert changed < 4  # of 255: interpolated twice


def test_only_the_face_itself_is_changed_and_its_border_fades() -> None:
    image = Image.new("RGB", (400, 300), (10, 20, 30))
    corner, side = (100.0, 60.0), 128
    place = faces.inverse(turned(0.0, side / SIDE, corner))
    picture = np.array(image)
    faces.paste(picture, Image.new("RGB", (SIDE, SIDE), (250, 250, 250)), place)
    changed = np.abs(picture.astype(int) - np.asarray(image)).max(axis=2) > 0
    rows, columns = np.nonzero(changed)
    # a twentieth of the side is left out all around; the blur takes half of it in again
    assert (rows.min(), columns.min()) >= (60, 100) and (rows.max(), columns.max()) <= (60 + side, 100 + side)
    assert tuple(picture[60 + side // 2, 100 + side // 2]) == (250, 250, 250)
    across = picture[60 + side // 2, 100 : 100 + side // 2, 0].astype(int)
    assert (np.diff(across) >= -1).all() and 10 < across[side // 20] < 250


def test_an_outline_lets_only_what_is_inside_show() -> None:
    labels = np.zeros((SIDE, SIDE), int)
    labels[150:350, 200:300] = 1
    outline = faces.outline_of(labels, (0,))
    assert outline[250, 250] == pytest.approx(1.0, abs=5e-3) and outline[20, 20] == 0.0
    assert outline[250, 200] == pytest.approx(0.5, abs=0.02)  # soft, and half at the edge itself
    picture = np.zeros((600, 600, 3), np.uint8)
    faces.paste(picture, Image.new("RGB", (SIDE, SIDE), "white"), np.eye(2, 3), outline)
    assert picture[250, 250, 0] > 250 and picture[60, 60, 0] == 0


def test_nothing_of_the_border_of_a_face_shows_whatever_it_is() -> None:
    outline = faces.outline_of(np.ones((SIDE, SIDE), int), (0,))
    assert not outline[:10].any() and not outline[:, -10:].any() and outline[256, 256] == pytest.approx(1)
