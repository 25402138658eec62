"""The routes of the cards: ids instead of paths, and who may change what is everybody's."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api import answers, cards
from modules.models.catalog import Catalog
from modules.models.places import ModelFolders
from modules.settings.schema import Settings
from tests.unit.models.test_model_cards import lora, picture


@pytest.fixture
def web(tmp_path: Path) -> FastAPI:
    lora(tmp_path / "Lora", "ink", ss_v2="False")
    lora(tmp_path / "Lora", "tweaker", ss_base_model_version="sdxl_base_v1-0")
    (tmp_path / "secret.txt").write_text("secret")
    app = SimpleNamespace(
        catalog=Catalog(ModelFolders.below(tmp_path, tmp_path / "embeddings")),
        data_dir=tmp_path,
        settings=SimpleNamespace(current=Settings()),
    )
    web = FastAPI()
    web.include_router(cards.routes(app))
    answers.add_error_answers(web)
    return web


def client(web: FastAPI, owner: str = "browser:1", *, admin: bool = False) -> TestClient:
    return TestClient(web, headers={"x-webui-owner": owner, **({"x-webui-admin": "1"} if admin else {})})


def test_cards_come_with_folders_and_the_settings_they_are_drawn_by(web):
    answer = client(web).get("/cards/lora").json()
    assert [card["name"] for card in answer["cards"]] == ["ink", "tweaker"]
    assert answer["options"]["extra_networks_card_order_field"] == "Path"
    assert client(web).get("/cards/checkpoints").json()["cards"] == []
    assert client(web).get("/cards/nothing").status_code == 422


def test_a_preview_is_put_replaced_and_served_small(web):
    asking = client(web)
    card = asking.get("/cards/lora").json()["cards"][0]
    assert card["preview"] is None
    address = f"/cards/lora/{card['id']}/preview"
    assert asking.get(address).status_code == 404
    content = base64.b64encode(picture().content).decode()
    assert asking.post(address, json={"picture": content}).status_code == 200
    card = asking.get("/cards/lora").json()["cards"][0]
    assert asking.get("/" + card["preview"]).headers["content-type"] == "image/webp"
    refused = asking.post(address, json={"picture": base64.b64encode(b"GIF89a?").decode()})
    assert refused.status_code == 422


@pytest.mark.parametrize("card_id", ["..%2F..%2Fsecret.txt", "0" * 16, "secret.txt"])
def test_nothing_but_known_files_can_be_asked_for(web, card_id):
    for path in (f"/cards/lora/{card_id}", f"/cards/lora/{card_id}/preview", f"/cards/lora/{card_id}/metadata"):
        assert client(web).get(path).status_code == 404


@pytest.mark.parametrize(
    "owner, admin, allowed",
    [("browser:1", False, True), ("user:ann", False, False), ("api:x", False, False), ("user:root", True, True)],
)
def test_only_the_administrator_changes_cards_where_people_log_in(web, owner, admin, allowed):
    asking = client(web, owner, admin=admin)
    card = asking.get("/cards/lora").json()["cards"][0]
    answer = asking.post(f"/cards/lora/{card['id']}", json={"notes": "mine"})
    assert answer.status_code == (200 if allowed else 403)
    shown = asking.get(f"/cards/lora/{card['id']}").json()
    assert (shown["notes"], shown["may_change"]) == ("mine" if allowed else "", allowed)


def test_the_texts_of_a_files_header_are_shown(web):
    card = client(web).get("/cards/lora").json()["cards"][1]
    answer = client(web).get(f"/cards/lora/{card['id']}/metadata").json()
    assert answer == {"metadata": {"ss_base_model_version": "sdxl_base_v1-0"}}
