"""Writing pictures: names, companions, and what happens when the disk or another writer is in the way."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest
from PIL import Image

from modules.errors import SavingError
from modules.infotext.files import read_metadata
from modules.outputs import store as store_module
from modules.outputs.store import OutputStore, next_number
from tests.unit.outputs.plans import done, plan

FLAT = {"save_to_dirs": False, "samples_filename_pattern": "[seed]"}


def saved_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_pictures_are_numbered_after_a1111s_rule(tmp_path):
    store = OutputStore(tmp_path)
    first = store.save(done(0), plan())
    second = store.save(done(1), plan(count=2))
    assert first.path.name == "00000-100.png" and second.path.name == "00001-101.png"
    assert first.path.parent.parent == tmp_path / "outputs" / "txt2img-images"
    assert len(first.path.parent.name) == 10  # the date


def test_without_subfolders_the_prompt_is_in_the_name(tmp_path):
    saved = OutputStore(tmp_path).save(done(), plan(options={"save_to_dirs": False}))
    assert saved.path == tmp_path / "outputs/txt2img-images/00000-100-a red cat.png"


def test_the_bytes_of_a_png_are_written_as_they_came(tmp_path):
    event = done()
    saved = OutputStore(tmp_path).save(event, plan())
    assert saved.path.read_bytes() == event.image.content
    assert saved.size_bytes == len(event.image.content)


@pytest.mark.parametrize(
    "kind, role, options, path",
    [
        ("img2img", "sample", FLAT, "outputs/img2img-images/00000-100.png"),
        ("txt2img", "grid", {"grid_save_to_dirs": False}, "outputs/txt2img-grids/grid-0000.png"),
        ("img2img", "grid", {"grid_save_to_dirs": False, "grid_format": "jpg"}, "outputs/img2img-grids/grid-0000.jpg"),
        ("txt2img", "grid", {**FLAT, "grid_save_to_dirs": False, "grid_extended_filename": True},
         "outputs/txt2img-grids/grid-0000-100.png"),
        ("txt2img", "mask", FLAT, "outputs/txt2img-images/00000-100-mask.png"),
        ("txt2img", "before_hires", FLAT, "outputs/txt2img-images/00000-100-before-highres-fix.png"),
        ("extras", "sample", {}, "outputs/extras-images/00000.png"),
        ("txt2img", "sample", {**FLAT, "outdir_samples": "all"}, "all/00000-100.png"),
        ("txt2img", "grid", {"grid_save_to_dirs": False, "outdir_grids": "all"}, "all/grid-0000.png"),
        ("txt2img", "sample", {**FLAT, "save_images_add_number": False}, "outputs/txt2img-images/100.png"),
        ("txt2img", "sample", {**FLAT, "samples_filename_pattern": "[none]"}, "outputs/txt2img-images/00000.png"),
        ("txt2img", "sample", {"directories_filename_pattern": "[model_name]/[seed]", "samples_filename_pattern": "x"},
         "outputs/txt2img-images/dream/100/00000-x.png"),
    ],
)  # fmt: skip
def test_each_kind_of_picture_has_its_place(tmp_path, kind, role, options, path):
    saved = OutputStore(tmp_path).save(done(role=role), plan(kind=kind, options=options))
    assert saved.path == tmp_path / path
    assert saved.path.exists()


def test_an_absolute_folder_is_taken_as_it_is(tmp_path):
    saved = OutputStore(tmp_path / "data").save(done(), plan(options={**FLAT, "outdir_samples": str(tmp_path / "b")}))
    assert saved.path == tmp_path / "b" / "00000-100.png"


@pytest.mark.parametrize(
    "there, number", [([], 0), (["00003-1.png", "00002-9.png"], 4), (["7.txt", "note.png"], 8), (["x-5.png"], 0)]
)
def test_the_next_number_is_one_more_than_the_largest(tmp_path, there, number):
    for name in there:
        (tmp_path / name).touch()
    assert next_number(tmp_path) == number


def test_only_files_of_the_same_base_name_count_for_grids(tmp_path):
    for name in ("grid-0004.png", "grid-0002.jpg", "00099-1.png", "xyz_grid-0050.png"):
        (tmp_path / name).touch()
    assert next_number(tmp_path, "grid") == 5


def test_a_taken_name_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "next_number", lambda folder, basename="": 0)  # another writer was faster
    store = OutputStore(tmp_path)
    names = [store.save(done(color=color), plan(options=FLAT)).path.name for color in ("red", "blue")]
    assert names == ["00000-100.png", "00001-100.png"]


def test_replacing_and_suffixing_without_numbers(tmp_path):
    store = OutputStore(tmp_path)
    replace = {**FLAT, "save_images_add_number": False}
    for color in ("red", "blue"):
        last = store.save(done(color=color), plan(options=replace))
    assert Image.open(last.path).getpixel((0, 0)) == (0, 0, 255)
    suffix = {**replace, "save_images_replace_action": "Add number suffix"}
    names = [store.save(done(), plan(options=suffix)).path.name for _ in range(2)]
    assert names == ["100-1.png", "100-2.png"]


@pytest.mark.parametrize("extension", ["jpg", "webp", "avif"])
def test_other_formats_carry_the_infotext_too(tmp_path, extension):
    event = done(infotext="größe, 猫 😀\nSteps: 1, Seed: 2, Size: 64x48")
    saved = OutputStore(tmp_path).save(event, plan(options={**FLAT, "samples_format": extension}))
    assert saved.path.suffix == f".{extension}"
    assert read_metadata(saved.path.read_bytes()).infotext == event.infotext


def test_metadata_can_be_left_out(tmp_path):
    saved = OutputStore(tmp_path).save(done(), plan(options={**FLAT, "enable_pnginfo": False}))
    assert read_metadata(saved.path.read_bytes()).infotext is None


def test_a_text_file_stands_beside_when_wanted(tmp_path):
    saved = OutputStore(tmp_path).save(done(), plan(options={**FLAT, "save_txt": True}))
    assert saved.text_path == saved.path.with_suffix(".txt")
    assert saved.text_path.read_text("utf-8") == saved.infotext + "\n"


def test_what_a_format_cannot_hold_is_saved_as_png_and_said(tmp_path):
    event = done(size=(16384, 1))
    saved = OutputStore(tmp_path).save(
        event, plan(options={**FLAT, "samples_format": "webp", "export_for_4chan": False})
    )
    assert saved.path.suffix == ".png"
    assert "16383" in saved.notices[0]
    long = done(infotext="word " * 8000 + "\nSteps: 1, Seed: 2, Size: 64x48")
    assert OutputStore(tmp_path).save(long, plan(options={**FLAT, "samples_format": "jpg"})).path.suffix == ".png"


def test_a_large_picture_gets_a_small_jpeg_beside_it(tmp_path):
    event = done(size=(200, 50))
    saved = OutputStore(tmp_path).save(event, plan(options={**FLAT, "target_side_length": 100}))
    assert saved.small_copy == saved.path.with_suffix(".jpg")
    assert Image.open(saved.small_copy).size == (100, 25)
    assert read_metadata(saved.small_copy.read_bytes()).infotext == event.infotext


def test_a_heavy_picture_gets_a_jpeg_of_its_own_size(tmp_path):
    saved = OutputStore(tmp_path).save(done(), plan(options={**FLAT, "img_downscale_threshold": 0.00001}))
    assert Image.open(saved.small_copy).size == (64, 48)
    off = plan(options={**FLAT, "img_downscale_threshold": 0.00001, "export_for_4chan": False})
    assert OutputStore(tmp_path).save(done(), off).small_copy is None


def test_a_source_picture_is_kept_once_under_the_md5_of_its_pixels(tmp_path):
    store = OutputStore(tmp_path)
    first, again = (store.save(done(role="init"), plan(kind="img2img")) for _ in range(2))
    assert first.path == again.path == tmp_path / "outputs/init-images" / first.path.name
    assert len(first.path.stem) == 32
    assert saved_names(tmp_path) == [first.path.name]


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(SavingError, match="jxx"):
        OutputStore(tmp_path).save(done(), plan(options={"samples_format": "jxx"}))
    assert saved_names(tmp_path) == []


def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path, monkeypatch):
    real = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SavingError, match=r"disk is full.*can still be downloaded"):
        OutputStore(tmp_path).save(done(), plan())
    monkeypatch.setattr(os, "fsync", real)
    assert saved_names(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_said_in_words(tmp_path):
    (tmp_path / "outputs").write_text("")
    with pytest.raises(SavingError, match="cannot be written"):
        OutputStore(tmp_path).save(done(), plan())


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_works_too(tmp_path, monkeypatch, refusal):
    def refuse(source, target):
        raise OSError(refusal, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(store_module, "next_number", lambda folder, basename="": 0)
    store = OutputStore(tmp_path)
    for color in ("red", "blue"):
        store.save(done(color=color), plan(options=FLAT))
    assert saved_names(tmp_path) == ["00000-100.png", "00001-100.png"]


def test_a_very_long_name_is_cut(tmp_path):
    saved = OutputStore(tmp_path).save(
        done(prompt="猫" * 500), plan(options={**FLAT, "samples_filename_pattern": "[prompt_spaces]-[prompt_spaces]"})
    )
    assert len(saved.path.name.encode()) <= 255 and saved.path.exists()


def _save_many(folder: str, color: str) -> None:
    store = OutputStore(Path(folder))
    for _ in range(15):
        store.save(done(color=color), plan(options=FLAT))


def test_two_processes_never_take_each_others_names(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_save_many, args=(str(tmp_path), color)) for color in ("red", "blue")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    colors = [Image.open(path).getpixel((0, 0)) for path in tmp_path.rglob("*.png")]
    assert (colors.count((255, 0, 0)), colors.count((0, 0, 255))) == (15, 15)
