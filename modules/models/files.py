"""Model files as they lie in folders, and the names that A1111 gives them (11.1, 11.4). No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from modules.generation.plan import ModelRef
from modules.models import sidecars
from modules.models.folders import INDEX, listed_name, stamp
from modules.models.places import Place, walk

CHECKPOINT_SUFFIXES = (".ckpt", ".safetensors")
VAE_SUFFIXES = (".ckpt", ".pt", ".safetensors")
LORA_SUFFIXES = (".pt", ".ckpt", ".safetensors")
EMBEDDING_SUFFIXES = (".pt", ".bin", ".safetensors", ".png", ".webp", ".jxl", ".avif")
HYPERNETWORK_SUFFIXES = (".pt",)
UPSCALER_SUFFIXES = (".pt", ".pth", ".safetensors", ".bin", ".ckpt")


@dataclass(frozen=True)
class ModelFile:
    """A file of some kind: `name` relative to its folder with extension, `stem` without folder and extension."""

    path: Path
    name: str
    size: int
    mtime_ns: int

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def is_header_readable(self) -> bool:
        """Whether what it holds can be told without opening a pickle."""
        return self.path.suffix.lower() == ".safetensors"

    @property
    def preview(self) -> Path | None:
        return sidecars.preview_of(self.path)

    @property
    def is_hidden(self) -> bool:
        """Whether it lies in a folder whose name starts with a dot."""
        return any(part.startswith(".") for part in Path(self.name).parts[:-1])


@dataclass(frozen=True)
class CheckpointFile(ModelFile):
    """A checkpoint under A1111's names; a folder of diffusers is one as well, of all its weights together."""

    sha256: str | None = None
    is_folder: bool = False

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).name if self.is_folder else self.path.stem

    @property
    def is_header_readable(self) -> bool:
        return self.is_folder or super().is_header_readable

    @property
    def model_name(self) -> str:
        """`sub_foo` for `sub/foo.safetensors`."""
        return re.sub(r"[/\\]", "_", self.name if self.is_folder else os.path.splitext(self.name)[0])

    @property
    def short_hash(self) -> str | None:
        return self.sha256[:10] if self.sha256 else None

    @property
    def title(self) -> str:
        """`name [shorthash]`; without the bracket until the file is hashed."""
        return f"{self.name} [{self.short_hash}]" if self.sha256 else self.name

    @property
    def short_title(self) -> str:
        return f"{self.stem} [{self.short_hash}]" if self.sha256 else self.stem

    @property
    def ref(self) -> ModelRef:
        return ModelRef(path=str(self.path), title=self.title, name=self.stem, sha256=self.sha256)

    def aliases(self) -> Iterator[str]:
        """Every text that means exactly this file, but for the legacy hash."""
        yield from (self.title, self.name, self.model_name, self.stem)
        if self.sha256:
            yield from (self.sha256[:10], self.sha256, f"{self.name} [{self.sha256[:10]}]", self.short_title)


@dataclass(frozen=True)
class LoraFile(ModelFile):
    """A LoRA; `metadata` are its header's strings ({} for pickles)."""

    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def alias(self) -> str:
        """The name it was trained under, else its stem."""
        return self.metadata.get("ss_output_name") or self.stem

    @cached_property
    def version(self) -> str:
        """ "SD1", "SD2", "SDXL" or "Unknown", by A1111's reading of the metadata."""
        if self.metadata.get("ss_base_model_version", "").startswith("sdxl_"):
            return "SDXL"
        if self.metadata.get("ss_v2") in ("True", "true"):
            return "SD2"
        return "SD1" if any(key.startswith("ss_") for key in self.metadata) else "Unknown"


def natural_order(text: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key: case-insensitive, with numbers by value ("v2" before "v10")."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((0, int(part)) if part.isdigit() and part.isascii() else (1, part) for part in parts if part)


def all_files(folders: Iterable[Path], suffixes: tuple[str, ...]) -> tuple[ModelFile, ...]:
    return tuple(unique(file for folder in folders for file in files_below(folder, suffixes)))


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[ModelFile]:
    """Files with one of the suffixes below `folder`, in natural order."""
    return sorted(files_in(walk(folder), folder, suffixes), key=path_order)


def files_in(places: Iterable[Place], folder: Path, suffixes: tuple[str, ...]) -> list[ModelFile]:
    """Files with one of the suffixes in `places`, which are all below `folder`."""
    found = []
    for place, entries in places:
        prefix = "" if place == str(folder) else f"{_relative(place, folder)}/"
        for entry in entries:
            if entry.name.lower().endswith(suffixes) and entry.is_file():
                stat = entry.stat()
                found.append(ModelFile(Path(entry.path), prefix + entry.name, stat.st_size, stat.st_mtime_ns))
    return found


def model_folders_in(places: Iterable[Place], folder: Path) -> list[CheckpointFile]:
    """The folders of diffusers among `places`."""
    found = [place for place, entries in places if any(entry.name == INDEX for entry in entries)]
    names = [folder.name if place == str(folder) else listed_name(_relative(place, folder)) for place in found]
    return [model_folder(Path(place), name) for place, name in zip(found, names, strict=True)]


def model_folder(path: Path, name: str) -> CheckpointFile:
    return CheckpointFile(path, name, *stamp(path), is_folder=True)


def _relative(path: str, folder: Path) -> str:
    return os.path.relpath(path, folder).replace(os.sep, "/")


def path_order(file: ModelFile) -> tuple[tuple[int, int | str], ...]:
    return natural_order(str(file.path))


def file_at(path: Path, name: str) -> ModelFile:
    stat = path.stat()
    return ModelFile(path, name, stat.st_size, stat.st_mtime_ns)


def unique(files: Iterable[ModelFile]) -> list[ModelFile]:
    return list({os.path.realpath(file.path): file for file in reversed(list(files))}.values())[::-1]
