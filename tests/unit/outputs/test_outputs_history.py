"""The history: what was saved can be found, marked, thrown away and brought back, by its owner alone."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from PIL import Image

from modules.errors import InvalidRequest, SavingError
from modules.images import formats
from modules.images.data import ImageData
from modules.outputs.filters import EVERYONE, Filter
from modules.outputs.history import Entry, History, Picture
from modules.outputs.importing import import_folder
from modules.outputs.store import OutputStore
from modules.outputs.thumbnails import Thumbnails, thumbnail
from tests.unit.outputs.plans import done, plan


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history.sqlite", tmp_path)


def entry(number: int, **changes) -> Entry:
    return Entry(
        **{
            "path": Path(f"p/{number:05}.png"), "created": float(number), "modified_ns": number, "width": 512,
            "height": 768, "size_bytes": 1000, "prompt": f"cat {number}", **changes,
        }
    )  # fmt: skip


def found(history, owner="", **wanted):
    return [picture.path for picture in history.search(Filter(**wanted), owner=owner).pictures]


def test_a_saved_picture_is_in_the_history(history, tmp_path):
    store = OutputStore(tmp_path, history=history)
    saved = store.save(done(prompt="a red cat <lora:fur:0.8>"), plan(owner="ann"))
    (picture,) = history.search(owner="ann").pictures
    assert history.absolute(picture.path) == saved.path and not picture.path.startswith("/")
    assert (picture.seed, picture.model, picture.sampler, picture.steps) == (100, "dream", "DPM++ 2M", 20)
    assert picture.loras == ("fur",) and picture.infotext == saved.infotext
    assert (picture.width, picture.height, picture.kind, picture.role) == (64, 48, "txt2img", "sample")


def test_nobody_sees_or_touches_somebody_elses_pictures(history):
    (one, two) = history.add_entries([entry(1, owner="ann"), entry(2, owner="bob")])
    assert found(history, "ann") == ["p/00001.png"] and found(history) == []
    assert found(history, EVERYONE) == ["p/00002.png", "p/00001.png"]
    assert history.get(two, owner="ann") is None
    history.set_favourite([one, two], True, owner="ann")
    history.tag([one, two], "nice", owner="ann")
    assert history.trash([two], owner="ann").ids == ()
    bobs = history.get(two, owner="bob")
    assert not bobs.favourite and bobs.tags == () and bobs.trashed is None
    assert history.choices("tag", owner="bob") == {}


def test_pages_are_newest_first_and_know_the_total(history):
    history.add_entries(entry(number) for number in range(10))
    page = history.search(owner="", limit=3, offset=2)
    assert [picture.created for picture in page.pictures] == [7.0, 6.0, 5.0] and page.total == 10


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("fox", [1]),
        ("FOX red", [1]),
        ("fo", [1]),
        ("cafe", [2]),
        ('"red fox"', [1]),
        ('"fox red"', []),
        ("dream", [3]),
        ("blurry", [2]),
        ("-fox", [4, 3, 2]),
        ("红狐", [4]),
        ("狐狸", [4]),
        ("-狐狸 -fox", [3, 2]),
        ("100%", [3]),
        ('un"balanced', []),
        ("AND OR NOT NEAR(", []),
        ("* ^ : -", []),
        ("", [4, 3, 2, 1]),
        ("fox\ud800\0", [1]),
    ],
)  # fmt: skip
def test_words_are_found_in_any_language_and_no_text_breaks_the_search(history, text, numbers):
    history.add_entries(
        [
            entry(1, prompt="A red fox, forest"),
            entry(2, prompt="a café", negative_prompt="blurry"),
            entry(3, prompt="100% wool", model="dreamlike v2"),
            entry(4, prompt="一只红狐狸在森林里"),
        ]
    )
    assert found(history, text=text) == [f"p/{number:05}.png" for number in numbers]


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("987654321", [1]), ("98765", [1]), ("cat 987654321", [1]), ("-987654321", [2]),
        ("my_castle", [2]), ("castle", [2]), ("castle-7.png", [2]), ("txt2img-images", []),
        ("keep", [1]), ("KEEP cat", [1]), ("★★★", [1]), ("猫", [2]), ("-keep", [2]), ("keep 猫", []),
    ],
)  # fmt: skip
def test_seeds_file_names_and_tags_are_found_like_words_of_a_prompt(history, text, numbers):
    one, two = history.add_entries(
        [entry(1, seed=987654321), entry(2, path=Path("outputs/txt2img-images/my_castle-7.png"), prompt="a house")]
    )
    history.tag([one], "keep", "★★★★", owner="")
    history.tag([two], "猫咪", owner="")
    assert [picture.id for picture in history.search(Filter(text=text), owner="").pictures] == numbers


def test_a_tag_taken_off_and_a_picture_that_is_gone_are_not_found(history, tmp_path):
    (one,) = history.add_entries([entry(1, path=tmp_path / "gone.png")])
    history.tag([one], "keep", owner="")
    history.untag([one], "KEEP", owner="")
    assert found(history, text="keep") == [] and found(history, text="gone") == ["gone.png"]
    history.tag([one], "keep", owner="")
    history.forget_missing(owner="")
    assert found(history, text="keep") == found(history, text="gone") == []


FIRST_VERSION = """
CREATE TABLE pictures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE, owner TEXT NOT NULL DEFAULT '', created REAL NOT NULL, modified_ns INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
    kind TEXT NOT NULL, role TEXT NOT NULL, seed INTEGER, steps INTEGER, model TEXT NOT NULL, sampler TEXT NOT NULL,
    prompt TEXT NOT NULL, negative_prompt TEXT NOT NULL, infotext TEXT NOT NULL,
    favourite INTEGER NOT NULL DEFAULT 0, trashed REAL, trash_path TEXT
);
CREATE TABLE labels (
    picture INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    kind TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, PRIMARY KEY (picture, kind, name)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5 (
    prompt, negative_prompt, model, content='pictures', content_rowid='id', tokenize="unicode61 remove_diacritics 2"
);
CREATE TRIGGER pictures_added AFTER INSERT ON pictures BEGIN
    INSERT INTO texts (rowid, prompt, negative_prompt, model)
        VALUES (new.id, new.prompt, new.negative_prompt, new.model);
END;
CREATE TRIGGER pictures_removed AFTER DELETE ON pictures BEGIN
    INSERT INTO texts (texts, rowid, prompt, negative_prompt, model)
        VALUES ('delete', old.id, old.prompt, old.negative_prompt, old.model);
END;
CREATE TRIGGER pictures_changed AFTER UPDATE OF prompt, negative_prompt, model ON pictures BEGIN
    INSERT INTO texts (texts, rowid, prompt, negative_prompt, model)
        VALUES ('delete', old.id, old.prompt, old.negative_prompt, old.model);
    INSERT INTO texts (rowid, prompt, negative_prompt, model)
        VALUES (new.id, new.prompt, new.negative_prompt, new.model);
END;
INSERT INTO pictures VALUES (7, 'outputs/00007-42.png', 'ann', 1.0, 1, 64, 48, 9, 'txt2img', 'sample', 4242, 20,
    'dream', 'Euler', 'a fox <lora:fur:1>', 'blurry', 'a fox', 1, NULL, NULL);
INSERT INTO pictures VALUES (9, 'outputs/00009-43.png', 'ann', 2.0, 1, 64, 48, 9, 'txt2img', 'sample', 4343, 20,
    'dream', 'Euler', 'a cat', '', 'a cat', 0, 5.0, 'outputs/.trash/00009-43.png');
INSERT INTO labels VALUES (7, 'lora', 'fur'), (7, 'tag', 'best'), (7, 'tag', '★★');
PRAGMA user_version = 1;
"""


def test_the_index_of_the_first_version_is_brought_along_with_everything_in_it(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite")) as old:
        old.executescript(FIRST_VERSION)
    history = History(tmp_path / "history.sqlite", tmp_path)
    (picture,) = history.search(owner="ann").pictures
    assert (picture.id, picture.favourite, picture.tags, picture.loras) == (7, True, ("best", "★★"), ("fur",))
    for text in ("fox", "blurry", "dream", "4242", "00007", "best", "★★"):
        assert [picture.id for picture in history.search(Filter(text=text), owner="ann").pictures] == [7], text
    (trashed,) = history.search(Filter(trashed=True, text="4343"), owner="ann").pictures
    assert (trashed.id, trashed.trashed) == (9, 5.0)
    assert history.add_entries([entry(1, owner="ann")]) == [10], "ids are never given twice"
    history.untag([7], "best", owner="ann")
    again = History(tmp_path / "history.sqlite", tmp_path)
    assert found(again, "ann", text="fox") == ["outputs/00007-42.png"] and found(again, "ann", text="best") == []


def test_the_index_of_a_newer_version_is_left_alone(history, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite")) as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(SavingError, match="newer version"):
        History(tmp_path / "history.sqlite", tmp_path)


@pytest.mark.parametrize(
    "wanted, numbers",
    [
        ({"model": "a"}, [1]), ({"sampler": "Euler"}, [1]), ({"kind": "img2img"}, [2]), ({"role": "grid"}, [3]),
        ({"width": 64, "height": 768}, [2]), ({"seed": 7}, [3]), ({"lora": "FUR"}, [1]),
        ({"created_from": 2, "created_to": 3}, [2]), ({"model": "a", "kind": "img2img"}, []),
    ],
)  # fmt: skip
def test_filters(history, wanted, numbers):
    history.add_entries(
        [
            entry(1, model="a", sampler="Euler", prompt="<lora:fur:1>"),
            entry(2, kind="img2img", width=64),
            entry(3, role="grid", seed=7),
        ]
    )
    assert found(history, **wanted) == [f"p/{number:05}.png" for number in numbers]


def test_favourites_and_tags(history):
    one, two = history.add_entries([entry(1), entry(2)])
    history.set_favourite([one], True, owner="")
    history.tag([one, two], "cats", " best ", "", owner="")
    history.untag([two], "BEST", owner="")
    assert found(history, favourite=True) == ["p/00001.png"]
    assert found(history, tag="best") == ["p/00001.png"]
    assert history.get(one, owner="").tags == ("best", "cats")
    assert history.choices("tag", owner="") == {"cats": 2, "best": 1}


def test_what_filters_offer_is_counted(history):
    history.add_entries([entry(1, model="a"), entry(2, model="b"), entry(3, model="b", prompt="<lora:x:1>")])
    assert history.choices("model", owner="") == {"b": 2, "a": 1}
    assert history.choices("lora", owner="") == {"x": 1}
    with pytest.raises(InvalidRequest):
        history.choices("path", owner="")


def test_the_trash_gives_back(history, tmp_path):
    saved = OutputStore(tmp_path, history=history).save(done(), plan())
    picture = history.find(saved.path)
    assert history.trash([picture.id], owner="").ids == (picture.id,)
    assert not saved.path.exists() and found(history) == []
    assert found(history, trashed=True) == [picture.path]
    assert history.restore([picture.id], owner="").ids == (picture.id,)
    assert saved.path.read_bytes() == done().image.content and found(history) == [picture.path]


def test_what_comes_back_never_overwrites(history, tmp_path):
    saved = OutputStore(tmp_path, history=history).save(done(), plan())
    picture = history.find(saved.path)
    history.trash([picture.id], owner="")
    saved.path.write_text("another")
    history.restore([picture.id], owner="")
    assert saved.path.read_text() == "another"
    assert history.get(picture.id, owner="").path.endswith("00000-100-1.png")


def with_text(history, tmp_path) -> tuple[Picture, Path, Path]:
    """A picture, its file, and the text beside it."""
    saved = OutputStore(tmp_path, history=history).save(done(), plan(options={"save_txt": True}))
    assert saved.text_path.read_text()
    return history.find(saved.path), saved.path, saved.text_path


def test_the_text_beside_a_picture_goes_to_the_trash_and_comes_back_with_it(history, tmp_path):
    picture, path, text = with_text(history, tmp_path)
    written = text.read_text()
    history.trash([picture.id], owner="")
    assert not path.exists() and not text.exists()
    history.restore([picture.id], owner="")
    assert path.exists() and text.read_text() == written


def test_a_picture_comes_back_under_a_name_that_is_free_for_its_text_too(history, tmp_path):
    picture, path, text = with_text(history, tmp_path)
    history.trash([picture.id], owner="")
    text.write_text("another")
    history.restore([picture.id], owner="")
    assert text.read_text() == "another" and not path.exists()
    back = history.absolute(history.get(picture.id, owner="").path)
    assert back.stem == f"{path.stem}-1" and "Steps: 20" in back.with_suffix(".txt").read_text()


def test_a_text_that_another_picture_of_that_name_needs_stays(history, tmp_path):
    picture, path, text = with_text(history, tmp_path)
    path.with_suffix(".jpg").write_bytes(b"its small copy")
    history.trash([picture.id], owner="")
    assert not path.exists() and text.exists()


def test_the_trash_is_emptied_of_texts_too(history, tmp_path):
    picture, path, _ = with_text(history, tmp_path)
    history.trash([picture.id], owner="")
    history.empty_trash(owner="")
    assert [left for left in path.parent.rglob("*") if left.is_file()] == []


def two_pictures(history, tmp_path) -> tuple[Picture, Picture]:
    """In folders of their own."""
    saved = []
    for kind in ("txt2img", "img2img"):
        saved.append(OutputStore(tmp_path, history=history).save(done(), plan(kind=kind)).path)
    return history.find(saved[0]), history.find(saved[1])


def test_what_cannot_be_moved_to_the_trash_is_said_and_stays_and_the_others_go(history, tmp_path):
    stuck, free = two_pictures(history, tmp_path)
    folder = history.absolute(stuck.path).parent
    (folder / ".trash").write_text("a file where the trash should be")
    moved = history.trash([stuck.id, free.id], owner="")
    assert moved.ids == (free.id,) and moved.problem.startswith(f"{folder / Path(stuck.path).name} cannot be moved")
    assert history.absolute(stuck.path).exists() and found(history) == [stuck.path]
    (folder / ".trash").unlink()
    assert history.trash([stuck.id], owner="").problem == ""


def test_a_picture_stays_where_it_is_when_its_text_cannot_be_moved(history, tmp_path, monkeypatch):
    picture, path, text = with_text(history, tmp_path)
    really = os.replace

    def refuse_texts(source, target):
        if str(target).endswith(".txt"):
            raise PermissionError(13, "Permission denied")
        really(source, target)

    monkeypatch.setattr(os, "replace", refuse_texts)
    moved = history.trash([picture.id], owner="")
    assert moved.ids == () and "Permission denied" in moved.problem
    assert path.exists() and text.exists() and list((path.parent / ".trash").iterdir()) == []
    assert found(history) == [picture.path]


def test_a_file_that_cannot_be_deleted_stays_in_the_trash_and_is_said(history, tmp_path):
    stuck, free = two_pictures(history, tmp_path)
    history.trash([stuck.id, free.id], owner="")
    file = history.file_of(stuck.id, owner="")
    file.unlink()
    (file / "in the way").mkdir(parents=True)  # no file can be deleted there
    deleted = history.empty_trash(owner="")
    assert deleted.ids == (free.id,) and deleted.problem.startswith(f"{file} cannot be deleted: ")
    assert found(history, trashed=True) == [stuck.path]
    (file / "in the way").rmdir()
    file.rmdir()
    assert history.empty_trash(owner="").ids == (stuck.id,)


def test_an_index_that_cannot_be_written_leaves_a_picture_and_its_text_where_the_index_says(history, tmp_path):
    picture, path, text = with_text(history, tmp_path)
    locked = sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)
    history._database().execute("PRAGMA busy_timeout = 1")
    locked.execute("BEGIN IMMEDIATE")
    moved = history.trash([picture.id], owner="")
    assert moved.ids == () and "database is locked" in moved.problem and path.exists() and text.exists()
    locked.execute("ROLLBACK")
    history.trash([picture.id], owner="")
    locked.execute("BEGIN IMMEDIATE")
    moved = history.restore([picture.id], owner="")
    assert moved.ids == () and not path.exists() and not text.exists()
    locked.execute("ROLLBACK")
    locked.close()
    assert history.restore([picture.id], owner="").ids == (picture.id,) and path.exists() and text.exists()


def test_emptying_the_trash_is_for_good(history, tmp_path):
    saved = OutputStore(tmp_path, history=history).save(done(), plan())
    picture = history.find(saved.path)
    history.trash([picture.id], owner="")
    assert history.empty_trash(owner="", older_than_s=3600).ids == ()
    assert history.empty_trash(owner="").ids == (picture.id,)
    assert history.search(Filter(trashed=True), owner="").total == 0
    assert list(tmp_path.rglob("*.png")) == []


def test_files_that_are_gone_can_be_forgotten(history, tmp_path):
    saved = OutputStore(tmp_path, history=history).save(done(), plan())
    saved.path.unlink()
    assert history.forget_missing(owner="") == 1
    assert found(history) == []


def a1111s_folder(folder: Path) -> Path:
    day = folder / "txt2img-images" / "2023-05-06"
    day.mkdir(parents=True)
    text = "a red fox\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 42, Size: 16x8, Model: old"
    picture = Image.new("RGB", (16, 8), "red")
    for name in ("00000-42.png", "00001-43.jpg", "00002-44-mask.png", "broken.png"):
        extension = name.rpartition(".")[2]
        (day / name).write_bytes(formats.encode(picture, extension, texts={"parameters": text}))
    (day / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (day / "note.txt").write_text("no picture")
    (folder / ".trash").mkdir()
    (folder / ".trash" / "x.png").write_bytes(formats.encode(picture))
    return folder


def test_a1111s_old_folders_can_be_imported_again_and_again(history, tmp_path):
    folder = a1111s_folder(tmp_path / "outputs")
    last = list(import_folder(history, folder, owner=""))[-1]
    assert (last.seen, last.added) == (4, 3) and last.unreadable[0].endswith("broken.png")
    page = history.search(Filter(text="fox", role="sample"), owner="")
    assert {picture.path.rpartition("/")[2] for picture in page.pictures} == {"00000-42.png", "00001-43.jpg"}
    picture = page.pictures[0]
    assert (picture.seed, picture.model, picture.sampler, picture.kind) == (42, "old", "Euler a", "txt2img")
    history.set_favourite([picture.id], True, owner="")
    assert list(import_folder(history, folder, owner=""))[-1].added == 0
    assert history.get(picture.id, owner="").favourite


def test_a_file_that_cannot_be_read_does_not_end_an_import(history, tmp_path):
    folder = a1111s_folder(tmp_path / "outputs")
    gone = folder / "00000-gone.png"
    gone.symlink_to(tmp_path / "a file that was removed.png")
    last = list(import_folder(history, folder, owner=""))[-1]
    assert last.added == 3 and str(gone) in last.unreadable


def test_pictures_outside_the_data_folder_keep_their_whole_path(tmp_path):
    history = History(tmp_path / "data" / "history.sqlite", tmp_path / "data")
    folder = a1111s_folder(tmp_path / "elsewhere")
    list(import_folder(history, folder, owner=""))
    assert all(history.absolute(path).exists() for path in found(history))


def test_many_threads_may_write_and_read(history):
    def work(start):
        for number in range(start, start + 20):
            history.add_entries([entry(number)])
            history.search(Filter(text="cat"), owner="")

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert history.search(owner="").total == 60


def test_a_second_start_finds_everything(history, tmp_path):
    history.add_entries([entry(1)])
    assert found(History(tmp_path / "history.sqlite", tmp_path)) == ["p/00001.png"]


def test_a_thumbnail_is_small_kept_and_made_anew_for_a_changed_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(formats.encode(Image.new("RGB", (800, 400), "red"), texts={"parameters": "secret"}))
    thumbnails = Thumbnails(tmp_path / "cache", side=100)
    small = thumbnails.of_file(path)
    assert Image.open(io.BytesIO(small)).size == (100, 50) and b"secret" not in small
    assert len(list((tmp_path / "cache").rglob("*.webp"))) == 1
    path.write_bytes(formats.encode(Image.new("RGB", (400, 800), "blue")))
    assert Image.open(io.BytesIO(thumbnails.of_file(path))).size == (50, 100)
    assert thumbnails.of(ImageData(path.read_bytes())) == thumbnails.of_file(path)


def test_a_small_picture_is_not_enlarged_and_keeps_its_transparency():
    small = Image.open(io.BytesIO(thumbnail(Image.new("RGBA", (8, 8), (255, 0, 0, 0)))))
    assert small.size == (8, 8) and small.mode == "RGBA"
