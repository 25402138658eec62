"""Model files as cards: what a click inserts, notes and previews beside the files."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest
from PIL import Image

from modules.errors import InvalidImage, InvalidRequest
from modules.images.data import ImageData
from modules.models.cards import CardRules, Cards, folders_of, save_notes, save_preview
from modules.models.catalog import Catalog
from modules.models.places import ModelFolders


def lora(folder: Path, name: str, **metadata: str) -> Path:
    """A file whose header has metadata and one tiny tensor."""
    path = folder / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": metadata, "lora_unet_x.lora_down.weight": tensor}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return path


def picture(format: str = "PNG", color: str = "red") -> ImageData:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 12), color).save(buffer, format)
    return ImageData(buffer.getvalue())


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return Cards(Catalog(ModelFolders.below(tmp_path, tmp_path / "embeddings")))


def only(cards: Cards, kind: str, rules: CardRules | None = None):
    cards._catalog.refresh()
    (card,) = cards.all(kind, rules or CardRules())
    return card


def test_a_lora_inserts_its_alias_its_weight_and_its_words(cards, tmp_path):
    path = lora(tmp_path / "Lora", "ink_v3", ss_output_name="ink", ss_v2="False")
    assert only(cards, "lora").prompt == "<lora:ink:1.0>"
    assert only(cards, "lora", CardRules(multiplier=0.5)).prompt == "<lora:ink:0.5>"
    assert only(cards, "lora", CardRules(prefers_alias=False)).prompt == "<lora:ink_v3:1.0>"
    notes = {"activation text": "ink wash", "preferred weight": 0.8, "negative text": "photo", "sd version": "SDXL"}
    path.with_suffix(".json").write_text(json.dumps(notes))
    card = only(cards, "lora")
    assert (card.prompt, card.negative, card.version) == ("<lora:ink:0.8> ink wash", "(photo:1)", "SDXL")


def test_loras_that_share_an_alias_are_named_by_their_files(cards, tmp_path):
    for name in ("one", "two"):
        lora(tmp_path / "Lora", name, ss_output_name="same")
    lora(tmp_path / "Lora", "three", ss_output_name="None")
    cards._catalog.refresh()
    prompts = {card.prompt for card in cards.all("lora", CardRules())}
    assert prompts == {"<lora:one:1.0>", "<lora:two:1.0>", "<lora:three:1.0>"}


def test_embeddings_insert_their_name_and_hypernetworks_a_tag(cards, tmp_path):
    for folder, name in (("embeddings", "bad hands.pt"), ("hypernetworks", "soft.pt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"x")
    assert only(cards, "textual_inversion").prompt == "bad hands"
    assert only(cards, "hypernetworks").prompt == "<hypernet:soft:1.0>"


def test_checkpoints_are_chosen_by_title_and_found_by_hash(cards, tmp_path):
    lora(tmp_path / "Stable-diffusion", "sub/dream")
    card = only(cards, "checkpoints")
    assert (card.title, card.folder, card.prompt) == ("sub/dream.safetensors", "sub", "")


def test_folders_are_counted_with_what_lies_below_and_dot_folders_are_hidden(cards, tmp_path):
    for name in ("a/x", "a/b/y", ".c/z", "w"):
        lora(tmp_path / "Lora", name)
    cards._catalog.refresh()
    found = cards.all("lora", CardRules())
    assert folders_of(found) == {".c": 1, "a": 2, "a/b": 1}
    assert [card.name for card in found if card.is_hidden] == ["z"]


def test_notes_are_saved_and_what_others_wrote_is_kept(cards, tmp_path):
    path = lora(tmp_path / "Lora", "ink")
    path.with_suffix(".json").write_text(json.dumps({"modelId": 7, "notes": "old"}))
    card = only(cards, "lora")
    file = cards.find("lora", card.id)
    values = {"description": "墨", "notes": "new", "preferred weight": 0.6, "sd version": "SD2", "unknown": 1}
    save_notes("lora", file, values)
    stored = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert stored == {"modelId": 7, "notes": "new", "description": "墨", "preferred weight": 0.6, "sd version": "SD2"}
    details = cards.details("lora", file)
    assert (details["description"], details["preferred weight"], details["sd version"]) == ("墨", 0.6, "SD2")
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == [], "no leftovers"


@pytest.mark.parametrize(
    "values", [{"preferred weight": 3}, {"preferred weight": True}, {"sd version": "SD9"}, {"notes": ["x"]}]
)
def test_notes_of_another_form_are_refused_and_nothing_is_written(cards, tmp_path, values):
    path = lora(tmp_path / "Lora", "ink")
    file = cards.find("lora", only(cards, "lora").id)
    with pytest.raises(InvalidRequest):
        save_notes("lora", file, values)
    assert not path.with_suffix(".json").exists()


def test_a_preview_is_written_beside_the_file_and_shown(cards, tmp_path):
    path = lora(tmp_path / "Lora", "ink")
    file = cards.find("lora", only(cards, "lora").id)
    assert only(cards, "lora").preview_ns is None
    save_preview("lora", file, picture("WEBP"))
    with Image.open(path.with_suffix(".png")) as image:
        assert (image.format, image.size) == ("PNG", (8, 12))
    assert only(cards, "lora").preview_ns is not None
    with pytest.raises(InvalidImage):
        save_preview("lora", file, ImageData(b"no picture"))


def test_an_embedding_that_is_a_picture_is_never_overwritten(cards, tmp_path):
    path = tmp_path / "embeddings" / "ti.preview.png"
    path.parent.mkdir()
    path.write_bytes(picture().content)
    file = cards.find("textual_inversion", only(cards, "textual_inversion").id)
    save_preview("textual_inversion", file, picture(color="blue"))
    assert path.read_bytes() == picture().content


def test_the_words_a_lora_was_trained_with_are_counted_over_its_folders(cards, tmp_path):
    tags = json.dumps({"10_a": {"fox": 3, "red ": 1}, "5_b": {"fox": 2}, "bad": [1]})
    lora(tmp_path / "Lora", "fox", ss_tag_frequency=tags)
    lora(tmp_path / "Lora", "cut", ss_tag_frequency="{")
    cards._catalog.refresh()
    found = {
        card.name: cards.details("lora", cards.find("lora", card.id))["tags"] for card in cards.all("lora", CardRules())
    }
    assert found == {"fox": [["fox", 5], ["red", 1]], "cut": []}
