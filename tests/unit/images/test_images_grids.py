"""Grids, legends and tiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modules.errors import SettingsError
from modules.images import grids
from modules.images.grids import Label
from tests.unit.images.pixels import noise


@pytest.mark.parametrize(
    "count, options, rows",
    [
        (1, {}, 1), (4, {}, 2), (6, {}, 2), (7, {}, 3), (12, {}, 3), (13, {}, 4), (20, {}, 4), (2, {}, 1),
        (6, {"n_rows": 4}, 4), (3, {"n_rows": 10}, 3), (8, {"n_rows": 0, "batch_size": 4}, 4),
        (7, {"prevent_empty_spots": True}, 1), (12, {"prevent_empty_spots": True}, 3),
    ],
)  # fmt: skip
def test_rows_follow_a1111s_rule(count, options, rows):
    assert grids.grid_rows(count, **options) == rows


@given(st.integers(1, 1000), st.integers(-1, 16), st.integers(1, 64), st.booleans())
def test_there_is_always_room_for_all(count, n_rows, batch_size, exact):
    rows = grids.grid_rows(count, n_rows=n_rows, batch_size=batch_size, prevent_empty_spots=exact)
    assert 1 <= rows <= count
    if exact and n_rows == -1:
        assert count % rows == 0


def test_pictures_stand_row_by_row_small_ones_in_the_middle():
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (2, 2), "blue")
    sheet = grids.image_grid([red, blue, red], 2)
    assert sheet.size == (8, 8)
    assert sheet.getpixel((4, 0)) == (255, 255, 255) and sheet.getpixel((5, 1)) == (0, 0, 255)
    assert sheet.getpixel((0, 4)) == (255, 0, 0) and sheet.getpixel((7, 7)) == (255, 255, 255)
    assert grids.image_grid([red] * 4, 2, margin=3, background="#00ff00").getpixel((4, 4)) == (0, 255, 0)


def test_legends_take_the_room_that_a1111_gives_them():
    cell = Image.new("RGB", (200, 100), "blue")
    grid = grids.image_grid([cell] * 4, 2)
    columns = [[Label("Steps: 10")], [Label("Steps: 20")]]
    both = grids.annotated_grid(grid, columns, [[Label("Euler")], [Label("Heun")]])
    assert both.width == 400 + 150 and both.height > 200
    assert both.crop((150, both.height - 200, both.width, both.height)).tobytes() == grid.tobytes()
    assert grids.annotated_grid(grid, columns, [[Label("")], [Label("")]]).width == 400


def test_a_long_label_stays_inside_and_an_inactive_one_is_grey():
    cell = Image.new("RGB", (128, 128), "white")
    rows = [[Label("a-very-long-word-that-does-not-fit-anywhere-at-all")]]
    sheet = grids.annotated_grid(cell, [[Label("off", is_active=False)]], rows)
    ink = np.asarray(sheet.convert("L"))
    assert ink[-128:, :96].min() < 128 and ink[:, 96:].min() >= 0x99
    assert ink[-128:, 0].min() == 255


def test_a_label_without_spaces_breaks_between_ideographs():
    sheet = grids.annotated_grid(Image.new("RGB", (128, 128), "white"), [[Label("\u4e00" * 40)]], [[Label("")]])
    assert sheet.width == 128 and sheet.height > 128 + 3 * 10  # several lines, none of them shrunk to nothing


def test_a_missing_font_is_said():
    with pytest.raises(SettingsError, match=r"nowhere\.ttf"):
        grids.annotated_grid(
            Image.new("RGB", (8, 8)), [[Label("a")]], [[Label("b")]], style=grids.LegendStyle(font="nowhere.ttf")
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(16, 150), st.integers(16, 150), st.integers(16, 64), st.integers(0, 15))
def test_tiles_cover_the_picture_and_make_it_again(width, height, tile, overlap):
    picture = Image.fromarray(noise(height, width, 3))
    tiling = grids.split_tiles(picture, tile, tile, overlap)
    assert {tile.image.size for row in tiling.rows for tile in row} == {(min(tile, width), min(tile, height))}
    assert len(tiling.rows[0]) == max(1, math.ceil((width - min(overlap, width - 1)) / (min(tile, width) - overlap)))
    assert grids.combine_tiles(tiling).tobytes() == picture.tobytes()


def test_neighbouring_tiles_fade_into_each_other():
    tiling = grids.split_tiles(Image.new("RGB", (96, 8)), 64, 8, 7)
    faded = grids.combine_tiles(tiling.with_images([Image.new("RGB", (64, 8), c) for c in ("black", "white")]))
    line = np.asarray(faded)[0, :, 0]
    assert line[31] == 0 and line[95] == 255 and (np.diff(line.astype(int)) >= 0).all()
    assert len(set(line[32:40])) >= 7


def test_an_overlap_that_leaves_no_step_is_refused():
    with pytest.raises(ValueError, match="overlap"):
        grids.split_tiles(Image.new("RGB", (9, 9)), 8, 8, 8)
