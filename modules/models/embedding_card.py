"""What the file of a textual inversion says of itself, without torch and without its numbers: sizes and origin.

The vectors themselves are read by the worker (`embeddings.py`). A `.pt` is a pickle, and a pickle is a program: here it
runs against a world in which every name means the same inert thing, so that all it can do is lay out containers.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import pickletools
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modules.errors import ModelFileBroken
from modules.models.embedding_pictures import embedding_in_picture
from modules.models.files import ModelFile
from modules.models.hashes import FileFacts
from modules.models.header import Header, read_header

log = logging.getLogger(__name__)

PICTURES = (".png", ".webp", ".jxl", ".avif")
_LONGEST_OUTLINE = 2**20
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""With this torch.save began its files before they were zip archives."""


@dataclass(frozen=True)
class EmbeddingCard:
    """`vectors` token positions of `shape` numbers each, those of SDXL's two towers together (768 + 1280).

    `step`, `checkpoint` (a short hash) and `checkpoint_name` are what its training noted, if anything.
    """

    name: str
    shape: int
    vectors: int
    step: int | None = None
    checkpoint: str | None = None
    checkpoint_name: str | None = None

    def to_text(self) -> str:
        """JSON, to be remembered."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> EmbeddingCard:
        return cls(**json.loads(text))


def known_cards(files: Iterable[ModelFile], facts: FileFacts) -> list[EmbeddingCard]:
    """The cards of files, each read once in its life; what is no embedding is left out."""
    found = []
    for file in files:
        try:
            found.append(EmbeddingCard.from_text(facts.computed("embedding", file.path, _as_text)))
        except (ModelFileBroken, OSError) as error:  # the job that names it says so to its owner
            log.debug("%s", error)
    return found


def text_width(header: Header) -> int | None:
    """How many numbers a checkpoint's network takes a token, from the header in LDM's names; None when it has none."""
    return next((header.tensors[key].shape[-1] for key in header if key.endswith(".attn2.to_k.weight")), None)


def read_card(path: Path) -> EmbeddingCard:
    """The card of an embedding's file; raises ModelFileBroken when it is none, OSError."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        header = read_header(path)
        return _card(path, path.stem, {key: _Outline(header.tensors[key].shape) for key in header})
    content = embedding_in_picture(path, _outline_of_lists) if suffix in PICTURES else _from_pickle(path)
    if not isinstance(content, Mapping):
        raise ModelFileBroken(f"{path}: not a textual inversion: it holds a {type(content).__name__}")
    name = content.get("name") if suffix in PICTURES else None
    return _card(path, name if isinstance(name, str) else path.stem, content)


def _as_text(path: Path) -> str:
    return read_card(path).to_text()


def _card(path: Path, name: str, content: Mapping[Any, Any]) -> EmbeddingCard:
    inner = content.get("string_to_param")
    inner = inner.state if isinstance(inner, _Inert) else inner
    if isinstance(inner, Mapping) and isinstance(inner.get("_parameters"), Mapping):  # a torch ParameterDict
        inner = inner["_parameters"]
    holder = inner if isinstance(inner, Mapping) else content
    towers = [holder[key] for key in ("clip_l", "clip_g") if key in holder]
    tensors = [one for one in (towers or holder.values()) if isinstance(one, _Outline)]
    if len(tensors) != (2 if towers else 1) or any(len(one.shape) not in (1, 2) or 0 in one.shape for one in tensors):
        raise ModelFileBroken(f"{path}: holds {len(tensors)} tensors; it is no textual inversion")
    step, checkpoint, checkpoint_name = (content.get(key) for key in ("step", "sd_checkpoint", "sd_checkpoint_name"))
    return EmbeddingCard(
        name=name,
        shape=sum(one.shape[-1] for one in tensors),
        vectors=tensors[0].shape[0] if len(tensors[0].shape) == 2 else 1,
        step=step if isinstance(step, int) and not isinstance(step, bool) else None,
        checkpoint=checkpoint if isinstance(checkpoint, str) else None,
        checkpoint_name=checkpoint_name if isinstance(checkpoint_name, str) else None,
    )


# ── pickles ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Outline:
    """A tensor without its numbers."""

    shape: tuple[int, ...]


class _Inert:
    """Whatever a pickle names that is no container and no tensor: takes everything, does nothing."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.state: Any = None

    def __call__(self, *given: Any, **named: Any) -> _Inert:
        return _Inert()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        return


def _rebuilt(storage: Any, offset: Any, shape: Any, *others: Any) -> _Outline:
    """For `torch._utils._rebuild_tensor_v2` and its kin."""
    if not isinstance(shape, Sequence) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise pickle.UnpicklingError("a tensor without a shape")
    return _Outline(tuple(shape))


def _parameter(data: Any = None, *others: Any) -> Any:
    """For `torch._utils._rebuild_parameter`."""
    return data


_MEANINGS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor"): _rebuilt,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuilt,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _OutlineReader(pickle.Unpickler):
    """A pickle's containers, with outlines for its tensors; no name in it leads to anything that acts."""

    def find_class(self, module: str, name: str) -> Any:
        return _MEANINGS.get((module, name), _Inert)

    def persistent_load(self, pid: Any) -> Any:
        return None  # a storage: the numbers are not wanted


def _from_pickle(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                entry = next(info for info in archive.infolist() if info.filename.rsplit("/", 1)[-1] == "data.pkl")
                if entry.file_size > _LONGEST_OUTLINE:
                    raise ModelFileBroken(f"{path}: its outline has {entry.file_size} bytes; no textual inversion has")
                return _outline(io.BytesIO(archive.read(entry)))
        with path.open("rb") as file:
            stream = io.BytesIO(file.read(_LONGEST_OUTLINE))
        if (first := _outline(stream)) != _LEGACY_MAGIC:
            return first
        _protocol, _system, content = (_outline(stream) for _ in range(3))
        return content
    except ModelFileBroken:
        raise
    except Exception as error:  # a damaged zip or pickle: many kinds
        raise ModelFileBroken(f"{path}: cannot be read ({type(error).__name__}); it is no textual inversion") from error


def _outline(stream: io.BytesIO) -> Any:
    """The next pickle of a stream; raises pickle.UnpicklingError."""
    start = stream.tell()
    size = len(stream.getbuffer())
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name in ("PUT", "LONG_BINPUT") and int(argument) > size:  # the reader would make room for all
            raise pickle.UnpicklingError("more memory asked for than the file has bytes")
    stream.seek(start)
    return _OutlineReader(stream).load()


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _outline_of_lists(level: Any) -> _Outline:
    """The outline of a tensor that is nested lists."""
    shape = []
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    return _Outline(tuple(shape))
