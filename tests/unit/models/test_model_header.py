from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import pytest

from modules.errors import ModelFileBroken
from modules.models.header import read_header


def file_with(path: Path, header: object, data: bytes = b"", *, header_bytes: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if header_bytes is None else header_bytes) + raw + data)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F16") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_sound_header_gives_shapes_types_and_metadata(tmp_path: Path) -> None:
    header = {"__metadata__": {"a": "b"}, "x": entry([2, 3], 0, 12), "y": entry([], 12, 16, "F32")}
    read = read_header(file_with(tmp_path / "m.safetensors", header, bytes(16)))
    assert read.shape("x") == (2, 3) and read.shape("y") == () and read.shape("z") is None
    assert read.metadata == {"a": "b"}
    assert read.nbytes == 16


def test_bytes_after_the_last_tensor_are_allowed_but_missing_ones_are_not(tmp_path: Path) -> None:
    header = {"x": entry([4], 0, 8)}
    assert len(read_header(file_with(tmp_path / "m.safetensors", header, bytes(9)))) == 1
    with pytest.raises(
        ModelFileBroken, match=r"8 bytes of weights are promised, 7 are there; the download is incomplete"
    ):
        read_header(file_with(tmp_path / "m.safetensors", header, bytes(7)))


@pytest.mark.parametrize(
    "header, words",
    [
        ({"x": entry([4], 0, 8), "y": entry([4], 4, 12)}, "overlap"),
        ({"x": entry([4], 0, 8), "y": entry([4], 10, 18)}, "gap"),
        ({"x": entry([4], 0, 6)}, "needs 8 bytes, its entry gives it 6"),
        ({"x": entry([-4], 0, 8)}, "malformed"),
        ({"x": entry([4.0], 0, 8)}, "malformed"),  # type: ignore[list-item]
        ({"x": entry([4], 0, 8, "F17")}, 'unknown type "F17"'),
        ({"x": {"shape": [4]}}, "malformed"),
        ({"x": 5}, "malformed"),
        ([], "not an object"),
        (b"{broken", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        ({"__metadata__": 3}, "__metadata__"),
    ],
)
def test_a_malformed_header_is_refused_with_the_reason(tmp_path: Path, header: object, words: str) -> None:
    with pytest.raises(ModelFileBroken, match=words):
        read_header(file_with(tmp_path / "m.safetensors", header, bytes(32)))


@pytest.mark.parametrize("header_bytes", [2**63, 2**40, 10**9])
def test_an_absurd_header_length_is_refused_without_reading_it(tmp_path: Path, header_bytes: int) -> None:
    path = file_with(tmp_path / "m.safetensors", {}, bytes(100), header_bytes=header_bytes)
    with pytest.raises(ModelFileBroken, match="more than any model needs"):
        read_header(path)


def test_a_million_tensors_are_refused_in_less_than_a_second(tmp_path: Path) -> None:
    row = b'"tensor%07d":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}'
    raw = b"{" + b",".join(row % number for number in range(1_000_000)) + b"}"
    path = file_with(tmp_path / "m.safetensors", raw)
    started = time.process_time()
    with pytest.raises(ModelFileBroken):
        read_header(path)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "too few"),
        (b"PK\x03\x04" + bytes(100), "rename it to .ckpt"),
        (b"\x80\x02}q\x00" + bytes(100), "rename it to .ckpt"),
        (b"<!DOCTYPE html><html>login please</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265380512\n", "pointer of Git LFS"),
        (struct.pack("<Q", 500) + b"{", "within its header"),
    ],
)
def test_what_is_no_safetensors_file_is_told_for_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileBroken, match=words):
        read_header(path)
