"""Drafts survive the program, belong to one owner and browser, and keep pictures byte for byte."""

from __future__ import annotations

import io
import threading

import pytest
from PIL import Image

from modules.errors import InvalidImage
from modules.ui import drafts
from modules.ui.drafts import DraftStore


def png(shade: int, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, shade).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_draft_is_there_again_in_a_new_program(tmp_path):
    DraftStore(tmp_path / "d.sqlite3").save("ann", "phone", {"values": {"txt2img/prompt": "猫 <b>"}})
    assert DraftStore(tmp_path / "d.sqlite3").load("ann", "phone") == {"values": {"txt2img/prompt": "猫 <b>"}}


def test_saving_one_key_leaves_the_others(tmp_path):
    store = DraftStore(tmp_path / "d.sqlite3")
    store.save("ann", "pc", {"values": 1, "document.x": 2})
    store.save("ann", "pc", {"values": 3})
    assert store.load("ann", "pc") == {"values": 3, "document.x": 2}


def test_owners_and_browsers_have_drafts_of_their_own(tmp_path):
    store = DraftStore(tmp_path / "d.sqlite3")
    store.save("ann", "pc", {"values": "mine"})
    assert store.load("ann", "phone") == {} and store.load("bob", "pc") == {}


def test_a_picture_comes_back_byte_for_byte_but_only_to_its_owner(tmp_path):
    store = DraftStore(tmp_path / "d.sqlite3")
    content = png(77)
    digest = store.put_picture("ann", content)
    assert store.picture("ann", digest).content == content
    with pytest.raises(InvalidImage, match="no longer kept"):
        store.picture("bob", digest)


@pytest.mark.parametrize("content", [b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_not_a_picture_is_refused(tmp_path, content):
    with pytest.raises(InvalidImage):
        DraftStore(tmp_path / "d.sqlite3").put_picture("ann", content)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    with pytest.raises(InvalidImage, match="megapixels"):
        DraftStore(tmp_path / "d.sqlite3").put_picture("ann", png(0, (9000, 9000)))


def test_the_pictures_unused_for_longest_make_room(tmp_path, monkeypatch):
    store = DraftStore(tmp_path / "d.sqlite3")
    first, second = store.put_picture("ann", png(1)), store.put_picture("ann", png(2))
    store.picture("ann", first)
    monkeypatch.setattr(drafts, "PICTURE_BYTES_PER_OWNER", 2 * len(png(1)))
    store.put_picture("ann", png(3))
    assert store.picture("ann", first)
    with pytest.raises(InvalidImage):
        store.picture("ann", second)


def test_items_appended_at_the_same_time_are_all_kept_up_to_the_limit(tmp_path):
    store = DraftStore(tmp_path / "d.sqlite3")
    threads = [
        threading.Thread(target=store.append, args=("ann", "pc", "jobs", k), kwargs={"keep": 8}) for k in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = store.load("ann", "pc")["jobs"]
    assert len(kept) == 8 and len(set(kept)) == 8
