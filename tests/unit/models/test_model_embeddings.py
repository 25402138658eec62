from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from modules.errors import ModelFileBroken
from modules.models.catalog import Catalog
from modules.models.embedding_card import EmbeddingCard, known_cards, read_card
from modules.models.embeddings import EmbeddingStore, read_embedding
from modules.models.hashes import FileFacts, sha256
from modules.models.places import ModelFolders

VECTORS = torch.arange(8.0).reshape(2, 4)


def write(path: Path) -> Path:
    """The same two vectors in the format that the file name asks for."""
    match path.name:
        case "a1111.pt":
            torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "other"}, path)
        case "old.pt":
            parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(VECTORS)})
            torch.save({"string_to_param": parameters}, path)
        case "diffusers.bin":
            torch.save({"<word>": VECTORS}, path)
        case "webui.safetensors":
            save_file({"emb_params": VECTORS}, path)
        case "picture.png":
            stored = {"name": "from picture", "string_to_param": {"*": {"TORCHTENSOR": VECTORS.tolist()}}}
            info = PngInfo()
            info.add_text("sd-ti-embedding", base64.b64encode(json.dumps(stored).encode()).decode())
            Image.new("RGB", (8, 8)).save(path, pnginfo=info)
        case "card.png":
            stored = {"name": "from card", "string_to_param": {"*": {"TORCHTENSOR": VECTORS.tolist()}}}
            hidden_in_margins(json.dumps(stored).encode()).save(path)
    return path


def hidden_in_margins(content: bytes, *, height: int = 16) -> Image.Image:
    """A picture with data beside it as A1111 hides it: nibbles left and right, under decoration that means nothing."""
    stream = zlib.compress(content, 9)
    state, nibbles = 0, ([], [])
    for place in range(-(-(len(stream) + 1) // (height * 3)) * height * 3):
        state = (1664525 * state + 1013904223) % 2**32
        byte = stream[place % len(stream)]  # what does not fill the block repeats the data
        for block, nibble in zip(nibbles, (byte & 15, byte >> 4), strict=True):
            block.append(nibble ^ (state % 255 & 15) | (place * 16 & 240))
    blocks = [Image.fromarray(np.array(block, np.uint8).reshape(height, -1, 3)) for block in nibbles]
    middle = Image.linear_gradient("L").resize((20, height)).point(lambda level: level | 1).convert("RGB")
    width = blocks[0].width
    card = Image.new("RGB", (2 * width + middle.width + 2, height))
    for piece, left in ((blocks[0], 0), (middle, width + 1), (blocks[1], width + middle.width + 2)):
        card.paste(piece, (left, 0))
    return card


@pytest.mark.parametrize(
    "file, name",
    [
        ("a1111.pt", "a1111"),
        ("old.pt", "old"),
        ("diffusers.bin", "diffusers"),
        ("webui.safetensors", "webui"),
        ("picture.png", "from picture"),
        ("card.png", "from card"),
    ],
)
def test_every_format_gives_the_same_vectors(tmp_path: Path, file: str, name: str) -> None:
    found, vectors = read_embedding(write(tmp_path / file))
    assert found == name
    assert list(vectors) == [""] and torch.equal(vectors[""], VECTORS)


def test_a_single_vector_may_lie_flat(tmp_path: Path) -> None:
    save_file({"emb_params": torch.ones(4)}, tmp_path / "flat.safetensors")
    assert read_embedding(tmp_path / "flat.safetensors")[1][""].shape == (1, 4)


def test_sdxl_files_name_their_towers(tmp_path: Path) -> None:
    save_file({"clip_l": torch.ones(2, 3), "clip_g": torch.ones(2, 5)}, tmp_path / "xl.safetensors")
    vectors = read_embedding(tmp_path / "xl.safetensors")[1]
    assert {name: tuple(tensor.shape) for name, tensor in vectors.items()} == {"clip_l": (2, 3), "clip_g": (2, 5)}


def test_files_that_are_none_are_left_out_and_named(tmp_path: Path) -> None:
    write(tmp_path / "webui.safetensors")
    save_file({"a": torch.ones(1, 2), "b": torch.ones(1, 2)}, tmp_path / "two.safetensors")
    Image.new("RGB", (8, 8)).save(tmp_path / "just a picture.png")
    (tmp_path / "broken.pt").write_bytes(b"nonsense")
    catalog = Catalog(ModelFolders.below(tmp_path / "models", tmp_path))
    store = EmbeddingStore(lambda: catalog.embeddings)
    (embedding,) = store.all()
    assert embedding.sha256_short == sha256(tmp_path / "webui.safetensors")[:12]
    assert {path.name for path in store.broken} == {"two.safetensors", "just a picture.png", "broken.pt"}
    assert store.all()[0] is embedding  # the same object: conditioning caches by it


def test_hidden_data_survives_without_chunks_and_in_a_black_frame(tmp_path: Path) -> None:
    with Image.open(write(tmp_path / "card.png")) as card:
        ImageOps.expand(card, border=5).save(tmp_path / "framed.webp", lossless=True)
    name, vectors = read_embedding(tmp_path / "framed.webp")
    assert name == "from card" and torch.equal(vectors[""], VECTORS)


def test_hidden_data_that_is_cut_off_is_refused_and_ordinary_pictures_hold_none(tmp_path: Path) -> None:
    card = hidden_in_margins(json.dumps({"string_to_param": {"*": {"TORCHTENSOR": [[0.1] * 400]}}}).encode())
    noise = np.random.default_rng(0).integers(1, 255, (16, 40, 3), np.uint8)
    noise[:, (10, 30)] = 0  # two dark columns, as the margins' borders
    Image.fromarray(noise).save(tmp_path / "noise.png")
    card.crop((0, 0, card.width, 8)).save(tmp_path / "cut.png")
    with pytest.raises(ModelFileBroken, match="ends too early"):
        read_embedding(tmp_path / "cut.png")
    with pytest.raises(ModelFileBroken, match="there is no textual inversion"):
        read_embedding(tmp_path / "noise.png")


def test_a_picture_with_damaged_data_is_refused(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("sd-ti-embedding", "not base64 of json")
    Image.new("RGB", (8, 8)).save(tmp_path / "bad.png", pnginfo=info)
    with pytest.raises(ModelFileBroken, match="damaged"):
        read_embedding(tmp_path / "bad.png")


# ── what a file says without torch ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "file, name",
    [
        ("a1111.pt", "a1111"),
        ("old.pt", "old"),
        ("diffusers.bin", "diffusers"),
        ("webui.safetensors", "webui"),
        ("picture.png", "from picture"),
        ("card.png", "from card"),
    ],
)
def test_every_format_says_how_many_vectors_of_which_width_it_holds(tmp_path: Path, file: str, name: str) -> None:
    assert read_card(write(tmp_path / file)) == EmbeddingCard(name=name, shape=4, vectors=2)


def test_the_widths_of_two_towers_count_together(tmp_path: Path) -> None:
    save_file({"clip_l": torch.ones(3, 768), "clip_g": torch.ones(3, 1280)}, tmp_path / "xl.safetensors")
    assert read_card(tmp_path / "xl.safetensors") == EmbeddingCard(name="xl", shape=2048, vectors=3)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_noted_is_told(tmp_path: Path, zipped: bool) -> None:
    noted = {"string_to_param": {"*": VECTORS}, "step": 500, "sd_checkpoint": "e1441589", "sd_checkpoint_name": "v1-5"}
    torch.save(noted, tmp_path / "trained.pt", _use_new_zipfile_serialization=zipped)
    expected = EmbeddingCard("trained", 4, 2, step=500, checkpoint="e1441589", checkpoint_name="v1-5")
    assert read_card(tmp_path / "trained.pt") == expected


class Harmful:
    """A pickle that writes a file when it is read as the program that it is."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.write_text, (self.target, "ran")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_runs_none_of_it_and_is_no_embedding(tmp_path: Path, zipped: bool) -> None:
    flag = tmp_path / "flag"
    torch.save({"string_to_param": Harmful(flag)}, tmp_path / "bad.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelFileBroken):
        read_card(tmp_path / "bad.pt")
    assert not flag.exists()


def test_a_pickle_that_asks_for_endless_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "greedy.pt").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")  # memoise an empty dict as number 2**31 - 1
    with pytest.raises(ModelFileBroken, match="no textual inversion"):
        read_card(tmp_path / "greedy.pt")


def test_cards_are_read_once_and_what_is_no_embedding_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a1111.pt")
    (tmp_path / "broken.pt").write_bytes(b"nonsense")
    catalog, facts = Catalog(ModelFolders.below(tmp_path / "models", tmp_path)), FileFacts()
    (card,) = known_cards(catalog.embeddings, facts)
    stamp = (tmp_path / "a1111.pt").stat()
    assert facts.get("embedding", tmp_path / "a1111.pt", stamp.st_size, stamp.st_mtime_ns) == card.to_text()
