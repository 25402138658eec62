"""What a model file says about itself before a single weight is read: names, shapes, dtypes, metadata.

Only safetensors files have such a header; it is parsed here by hand, without torch and with every number checked, so
that listing a folder of strangers' files is quick and safe. A `.ckpt` is a pickle and is only ever opened by the worker
(`modules/models/weights.py`), which then describes it with the same `Header`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules.errors import ModelFileBroken

LARGEST_HEADER_BYTES = 16 * 2**20
"""A header of SDXL is 0.3 MB; kohya's tag statistics can add a few MB. A million tensors do not fit, on purpose."""

BITS_PER_ELEMENT = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's entry; `dtype` in safetensors' spelling ("F16", "F8_E4M3"), `begin` from the start of the data."""

    shape: tuple[int, ...]
    dtype: str
    begin: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * BITS_PER_ELEMENT.get(self.dtype, 32) // 8


@dataclass(frozen=True)
class Header:
    """The tensors of a file by name, and the strings stored beside them."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)
    data_offset: int = 0  # where the weights start: AutoV3 hashes from here
    origins: Mapping[str, str] = field(default_factory=dict)  # the file's own names where these are others

    def told(self, key: str) -> str:
        """The name of a tensor as the person who has the file can find it."""
        return self.origins.get(key, key)

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def shape(self, key: str) -> tuple[int, ...] | None:
        """The shape of a tensor, or None when the file has no such tensor."""
        info = self.tensors.get(key)
        return info.shape if info else None

    def under(self, prefix: str) -> Header:
        """The part of the header whose names start with `prefix`, with the prefix taken off."""
        inside = {key[len(prefix) :]: info for key, info in self.tensors.items() if key.startswith(prefix)}
        return Header(self.path, inside, self.metadata, self.data_offset)

    @property
    def nbytes(self) -> int:
        """What the weights take in memory as stored."""
        return sum(info.nbytes for info in self.tensors.values())


def read_header(path: str | Path) -> Header:
    """The header of a safetensors file.

    Raises ModelFileBroken when the file is truncated, is no safetensors file, or describes tensors that overlap, leave
    gaps, or reach past its end; FileNotFoundError and other OSErrors as they come. Never reads more than the header.
    """
    path = Path(path)
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ModelFileBroken(f"{path}: {file_bytes} bytes are too few for a safetensors file; download it again")
        (header_bytes,) = struct.unpack("<Q", start)
        if header_bytes > min(LARGEST_HEADER_BYTES, file_bytes - 8):
            raise ModelFileBroken(_too_long(path, start, header_bytes, file_bytes))
        raw = file.read(header_bytes)
    entries = _parse(path, raw)
    metadata = _metadata(path, entries.pop("__metadata__", None))
    data_bytes = file_bytes - 8 - header_bytes
    tensors, spans = {}, []
    for key, entry in entries.items():
        info, begin, end = _tensor(path, key, entry)
        tensors[key] = info
        spans.append((begin, end, key))
    _check_spans(path, spans, data_bytes)
    return Header(path, tensors, metadata, 8 + header_bytes)


def _too_long(path: Path, start: bytes, header_bytes: int, file_bytes: int) -> str:
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return f"{path}: this is a pickled checkpoint, not a safetensors file; rename it to .ckpt"
    if start == b"version ":
        return f"{path}: this is a pointer of Git LFS, not the model it stands for; fetch the model itself"
    if start.lstrip()[:1] == b"<":
        return f"{path}: this is a web page, not a model; the download was probably refused, log in and try again"
    if header_bytes > LARGEST_HEADER_BYTES:
        return (
            f"{path}: says its header has {header_bytes} bytes, more than any model needs "
            f"({LARGEST_HEADER_BYTES}); it is not a safetensors file or is damaged"
        )
    return f"{path}: ends after {file_bytes} bytes, within its header; the download is incomplete"


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileBroken(f"{path}: its header is not valid JSON ({error}); the file is damaged") from error
    if not isinstance(entries, dict):
        raise ModelFileBroken(f"{path}: its header is a JSON {type(entries).__name__}, not an object; it is damaged")
    return entries


def _metadata(path: Path, stored: object) -> dict[str, str]:
    if stored is None:
        return {}
    if not isinstance(stored, dict):
        raise ModelFileBroken(f"{path}: its __metadata__ is not an object; the file is damaged")
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in stored.items()}


def _tensor(path: Path, key: str, entry: object) -> tuple[TensorInfo, int, int]:
    try:
        shape, dtype, (begin, end) = tuple(entry["shape"]), entry["dtype"], entry["data_offsets"]  # type: ignore[index]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (TypeError, KeyError, ValueError) as error:
        raise ModelFileBroken(f'{path}: the entry of tensor "{key}" is malformed; the file is damaged') from error
    if not whole or not isinstance(dtype, str):
        raise ModelFileBroken(f'{path}: the entry of tensor "{key}" is malformed; the file is damaged')
    info = TensorInfo(shape, dtype, begin)
    if dtype not in BITS_PER_ELEMENT:
        raise ModelFileBroken(f'{path}: tensor "{key}" has the unknown type "{dtype}"')
    if end - begin != info.nbytes:
        raise ModelFileBroken(
            f'{path}: tensor "{key}" of shape {list(shape)} and type {dtype} needs {info.nbytes} bytes, '
            f"its entry gives it {end - begin}; the file is damaged"
        )
    return info, begin, end


def _check_spans(path: Path, spans: list[tuple[int, int, str]], data_bytes: int) -> None:
    at, before = 0, ""
    for begin, end, key in sorted(spans):
        if begin != at:
            how = "overlap" if begin < at else "have a gap between them"
            raise ModelFileBroken(f'{path}: tensors "{before}" and "{key}" {how}; the file is damaged')
        at, before = end, key
    if at > data_bytes:
        raise ModelFileBroken(
            f"{path}: {at} bytes of weights are promised, {data_bytes} are there; the download is incomplete"
        )
