"""The Save and Zip buttons."""

from __future__ import annotations

import csv
import zipfile

import pytest

from modules.errors import InvalidRequest
from modules.outputs.by_hand import COLUMNS, save_by_hand
from modules.outputs.store import OutputStore
from modules.settings.saving import SavingOptions
from tests.unit.outputs.plans import done, plan


@pytest.fixture
def store(tmp_path):
    return OutputStore(tmp_path)


def save(store, *, selected=None, as_zip=False, events=None, **options):
    events = [done(-1, role="grid", seed=100), done(0), done(1)] if events is None else events
    return save_by_hand(
        store, events, plan(count=2), options=SavingOptions.of(options), selected=selected, as_zip=as_zip
    )


def log_of(store):
    with (store.data_path / "log/images/log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_selected_picture_is_saved_with_its_bytes(store):
    saved = save(store, selected=2)
    assert [image.path.name for image in saved.images] == ["00000-101.png"]
    assert saved.images[0].path.read_bytes() == done(1).image.content
    assert saved.images[0].path.parent == store.data_path / "log" / "images"


@pytest.mark.parametrize("selected, options", [(None, {}), (0, {}), (2, {"save_selected_only": False})])
def test_otherwise_all_are_saved(store, selected, options):
    names = [image.path.name for image in save(store, selected=selected, **options).images]
    assert names == ["grid-0000.png", "00000-100.png", "00001-101.png"]


def test_each_click_adds_one_line_to_the_log(store):
    save(store, selected=1)
    save(store, selected=2)
    rows = log_of(store)
    assert tuple(rows[0]) == COLUMNS and len(rows) == 3
    assert rows[2][:8] == ["a red cat", "101", "64", "48", "DPM++ 2M", "7.0", "20", "00001-101.png"]
    assert rows[2][8:] == ["dog", "dream", "ababababab"]


def test_an_older_log_gets_the_missing_columns(store):
    folder = store.data_path / "log/images"
    folder.mkdir(parents=True)
    (folder / "log.csv").write_text("prompt,seed\nold,1\n")
    save(store, selected=1)
    rows = log_of(store)
    assert tuple(rows[0]) == COLUMNS and rows[1] == ["old", "1", *[""] * 9] and len(rows[2]) == len(COLUMNS)


def test_the_log_can_be_switched_off(store):
    save(store, save_write_log_csv=False)
    assert not (store.data_path / "log/images/log.csv").exists()


def test_a_zip_holds_the_files_of_the_click(store):
    saved = save(store, as_zip=True, grid_zip_filename_pattern="[model_name]-[seed]")
    assert saved.archive.name == "dream-100.zip" and saved.downloads[0] == saved.archive
    with zipfile.ZipFile(saved.archive) as archive:
        assert archive.namelist() == ["grid-0000.png", "00000-100.png", "00001-101.png"]
        assert archive.read("00000-100.png") == done(0).image.content
    assert save(store, as_zip=True, grid_zip_filename_pattern="[model_name]-[seed]").archive.name == "dream-100-1.zip"


def test_the_zips_name_follows_a1111s_pattern(store):
    name = save(store, selected=1, as_zip=True).archive.stem
    assert name.endswith("_[dream]_100") and name[:14].isdigit()


def test_sub_folders_are_used_if_wanted(store):
    saved = save(store, selected=1, use_save_to_dirs_for_ui=True, directories_filename_pattern="[model_name]")
    assert saved.images[0].path.parent.name == "dream"
    assert log_of(store)[1][7] == "dream/00000-100.png"


def test_nothing_to_save_is_said(store):
    with pytest.raises(InvalidRequest, match="no picture"):
        save(store, events=[])
