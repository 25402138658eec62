"""The history: what was saved can be found, marked, thrown away and brought back, by its owner alone."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from PIL import Image

from modules.errors import InvalidRequest
from modules.images import formats
from modules.images.data import ImageData
from modules.outputs.filters import EVERYONE, Filter
from modules.outputs.history import Entry, History
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
    assert history.trash([two], owner="ann") == []
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
    assert history.trash([picture.id], owner="") == [picture.id]
    assert not saved.path.exists() and found(history) == []
    assert found(history, trashed=True) == [picture.path]
    assert history.restore([picture.id], owner="") == [picture.id]
    assert saved.path.read_bytes() == done().image.content and found(history) == [picture.path]


def test_what_comes_back_never_overwrites(history, tmp_path):
    saved = OutputStore(tmp_path, history=history).save(done(), plan())
    picture = history.find(saved.path)
    history.trash([picture.id], owner="")
    saved.path.write_text("another")
    history.restore([picture.id], owner="")
    assert saved.path.read_text() == "another"
    assert history.get(picture.id, owner="").path.endswith("00000-100-1.png")


def test_emptying_the_trash_is_for_good(history, tmp_path):
    saved = OutputStore(tmp_path, history=history).save(done(), plan())
    picture = history.find(saved.path)
    history.trash([picture.id], owner="")
    assert history.empty_trash(owner="", older_than_s=3600) == 0
    assert history.empty_trash(owner="") == 1
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
