"""The gallery's routes, over HTTP, with a real history and real files."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin

from modules.api import answers, history
from modules.outputs.history import History
from modules.outputs.importing import read_entry

INFOTEXT = "{}\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {}, Size: 64x48, Model: tiny"


def save(folder: Path, name: str, prompt: str, *, seed: int = 1, size: tuple[int, int] = (64, 48)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", INFOTEXT.format(prompt, seed))
    Image.new("RGB", size, (seed % 256, 90, 120)).save(path, pnginfo=notes)
    return path


class Installation:
    """A history with its routes; `client(owner)` asks as somebody."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.history = History(data / "history.sqlite3", data)
        self.flags = SimpleNamespace(is_reachable_by_others=False, gradio_allowed_path=())
        self.closing = threading.Event()
        app = SimpleNamespace(
            data_dir=data,
            history=self.history,
            flags=self.flags,
            closing=self.closing,
            history_owner=lambda owner: owner.removeprefix("user:") if owner.startswith("user:") else "",
        )
        self.web = FastAPI()
        self.web.include_router(history.routes(app))
        answers.add_error_answers(self.web)

    def client(self, owner: str = "browser:1", *, admin: bool = False) -> TestClient:
        headers = {"x-webui-owner": owner, **({"x-webui-admin": "1"} if admin else {})}
        return TestClient(self.web, headers=headers)

    def index(self, *paths: Path, owner: str = "") -> list[int]:
        return self.history.add_entries([read_entry(path, owner=owner) for path in paths])


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_pictures_are_listed_with_addresses_that_serve_the_original_file_and_a_small_one(installation):
    path = save(installation.data / "outputs", "00001-7.png", "a red fox", seed=7)
    (picture,) = installation.index(path)
    client = installation.client()
    answer = client.get("/history").json()
    assert answer["total"] == 1
    (tile,) = answer["pictures"]
    assert (tile["id"], tile["name"], tile["words"]) == (picture, "00001-7.png", "a red fox")
    original = client.get("/" + tile["file"])
    assert original.content == path.read_bytes()
    assert original.headers["content-type"] == "image/png"
    assert client.get("/" + tile["file"] + "&download=1").headers["content-disposition"].startswith("attachment")
    assert client.get("/" + tile["thumb"]).headers["content-type"] == "image/webp"
    full = client.get(f"/history/{picture}").json()
    assert (
        full["negative_prompt"] == "blurry"
        and full["seed"] == 7
        and full["infotext"] == INFOTEXT.format("a red fox", 7)
    )


def test_search_filters_and_order_reach_the_history(installation):
    folder = installation.data / "outputs"
    fox = save(folder, "1.png", "a red fox", seed=1)
    cat = save(folder, "2.png", "a cat <lora:ink:1>", seed=2, size=(48, 64))
    installation.index(fox, cat)
    client = installation.client()

    def names(query: str) -> list[str]:
        return [tile["name"] for tile in client.get(f"/history?{query}").json()["pictures"]]

    assert names("text=fox") == ["1.png"]
    assert names("size=48x64") == ["2.png"]
    assert names("lora=ink") == ["2.png"]
    assert names("seed=1") == ["1.png"]
    assert names("model=tiny&sampler=Euler a") == ["2.png", "1.png"]
    assert names("order=oldest") == ["1.png", "2.png"]
    assert names("offset=1&limit=1") == ["1.png"]
    assert names(f"since={time.time() + 60}") == []
    assert client.get("/history/choices").json()["size"] == {"48x64": 1, "64x48": 1}
    assert len(client.get("/history/ids?text=a").json()["ids"]) == 2


@pytest.mark.parametrize(
    "query, word", [("size=large", '"large" is no size'), ("seed=x", "is no number"), ("since=x", "since")]
)
def test_a_filter_that_makes_no_sense_is_refused_in_words(installation, query, word):
    answer = installation.client().get(f"/history?{query}")
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


def test_favourites_and_tags_are_kept(installation):
    (picture,) = installation.index(save(installation.data, "1.png", "a fox"))
    client = installation.client()
    client.post("/history/favourite", json={"ids": [picture], "favourite": True})
    client.post("/history/tags", json={"ids": [picture], "add": ["<b>best</b>", "forest"]})
    client.post("/history/tags", json={"ids": [picture], "remove": ["forest"]})
    (tile,) = client.get("/history?favourite=1&tag=<b>best</b>").json()["pictures"]
    assert tile["favourite"] and tile["tags"] == ["<b>best</b>"]


def test_a_deleted_picture_is_in_the_trash_and_comes_back(installation):
    path = save(installation.data / "outputs", "1.png", "a fox")
    (picture,) = installation.index(path)
    client = installation.client()
    assert client.post("/history/trash", json={"ids": [picture]}).json() == {"ids": [picture]}
    assert not path.exists()
    assert client.get("/history").json()["total"] == 0
    (tile,) = client.get("/history?trashed=1").json()["pictures"]
    assert client.get("/" + tile["file"]).status_code == 200, "what is in the trash can still be looked at"
    assert client.post("/history/restore", json={"ids": [picture]}).json() == {"ids": [picture]}
    assert path.exists()


def test_files_that_cannot_be_moved_or_deleted_are_one_clear_answer(installation):
    paths = [save(installation.data / "outputs" / name, "1.png", "a fox") for name in ("a", "b")]
    one, two = installation.index(*paths)
    client = installation.client()
    in_the_way = paths[0].parent / ".trash"
    in_the_way.write_text("no folder")
    answer = client.post("/history/trash", json={"ids": [one]})
    assert answer.status_code == 409 and f"{paths[0]} cannot be moved to the trash" in answer.json()["detail"]
    answer = client.post("/history/trash", json={"ids": [one, two]}).json()
    assert answer["ids"] == [two] and f"{paths[0]} cannot be moved" in answer["problem"]
    assert [tile["id"] for tile in client.get("/history").json()["pictures"]] == [one]
    file = installation.history.file_of(two, owner="")
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    answer = client.post("/history/empty-trash")
    assert answer.status_code == 409 and f"{file} cannot be deleted" in answer.json()["detail"]
    assert client.get("/history?trashed=1").json()["total"] == 1


def test_a_file_deleted_by_hand_is_said_to_be_gone_and_can_be_forgotten(installation):
    path = save(installation.data / "outputs", "1.png", "a fox")
    (picture,) = installation.index(path)
    path.unlink()
    client = installation.client()
    assert client.get(f"/history/{picture}/file").status_code == 410
    assert client.get(f"/history/{picture}/thumb").status_code == 410
    assert client.post("/history/forget-missing").json() == {"count": 1}
    assert client.get("/history").json()["total"] == 0


def test_nobody_sees_marks_or_deletes_somebody_elses_pictures(installation):
    path = save(installation.data / "outputs", "1.png", "a private fox")
    (picture,) = installation.index(path, owner="ann")
    ben = installation.client("user:ben")
    assert ben.get("/history").json() == {"total": 0, "pictures": []}
    assert ben.get("/history/ids").json() == {"ids": []}
    assert not any(ben.get("/history/choices").json().values())
    for address in (f"/history/{picture}", f"/history/{picture}/file", f"/history/{picture}/thumb"):
        assert ben.get(address).status_code == 404
    ben.post("/history/favourite", json={"ids": [picture], "favourite": True})
    ben.post("/history/tags", json={"ids": [picture], "add": ["mine"]})
    assert ben.post("/history/trash", json={"ids": [picture]}).json() == {"ids": []}
    seen = installation.client("user:ann").get(f"/history/{picture}").json()
    assert path.exists() and not seen["favourite"] and seen["tags"] == []


def test_a_folder_is_imported_in_the_background_and_again_in_no_time(installation, tmp_path_factory):
    old = tmp_path_factory.mktemp("stable-diffusion-webui") / "outputs"
    save(old, "txt2img-images/2023-05-01/00001-5.png", "an old castle", seed=5)
    save(old, "img2img-images/2023-05-02/00002-6.png", "an old bridge", seed=6)
    (old / "broken.png").write_bytes(b"no picture")
    client = installation.client()
    client.post("/history/import", json={"folder": str(old)}).raise_for_status()
    state = _ended(client)
    assert (state["seen"], state["added"], state["unreadable"], state["error"]) == (3, 2, 1, "")
    kinds = {tile["name"]: tile["id"] for tile in client.get("/history?kind=img2img").json()["pictures"]}
    assert list(kinds) == ["00002-6.png"]
    client.post("/history/import", json={"folder": str(old)})
    assert _ended(client)["added"] == 0


def _ended(client: TestClient) -> dict:
    deadline = time.monotonic() + 10
    while (state := client.get("/history/import").json())["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return state


def test_a_folder_that_is_not_there_is_refused_in_words(installation):
    answer = installation.client().post("/history/import", json={"folder": "/no/such/folder"})
    assert answer.status_code == 422
    assert 'there is no folder "/no/such/folder"' in answer.json()["detail"]


@pytest.mark.parametrize(
    "owner, admin, reachable, allowed",
    [
        ("browser:1", False, False, True),  # alone at the machine
        ("browser:1", False, True, False),  # somebody on the network
        ("user:ann", False, False, False),  # one of several who log in
        ("user:root", True, True, True),
    ],
)
def test_only_who_owns_the_machine_may_import_its_folders(installation, owner, admin, reachable, allowed):
    installation.flags.is_reachable_by_others = reachable
    folder = installation.data / "somewhere"
    folder.mkdir()
    answer = installation.client(owner, admin=admin).post("/history/import", json={"folder": str(folder)})
    assert answer.status_code == (200 if allowed else 403)
    _ended(installation.client(owner))
