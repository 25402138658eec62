"""Which files restore faces: the networks, the detector that finds faces, the parser that outlines them. No torch.

Files are told apart by the names of the tensors in them, whatever they are called and whichever of A1111's two folders
they are in. Nothing is downloaded: what is missing is said by its usual name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from modules.errors import UnknownName
from modules.models.files import ModelFile, natural_order
from modules.registry import did_you_mean

SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin")

CODEFORMER, GFPGAN = "CodeFormer", "GFPGAN"
USUAL_NAMES = {CODEFORMER: "codeformer-v0.1.0.pth", GFPGAN: "GFPGANv1.4.pth"}
"""What the networks are called where they are given away; the order is A1111's."""
USUAL_DETECTOR = "detection_Resnet50_Final.pth"

_DETECTOR, _SMALL_DETECTOR, _PARSER = "detector", "small detector", "parser"
_MARKS = {
    CODEFORMER: (b"fuse_convs_dict.", b"position_emb"),
    GFPGAN: (b"stylegan_decoder.style_conv1.", b"conv_body_first."),
    _DETECTOR: (b"ClassHead.0.", b"body.layer1."),
    _SMALL_DETECTOR: (b"ClassHead.0.", b"body.stage1."),
    _PARSER: (b"out_mask_conv.", b"decoder.0."),
}
_NAMES_END_BEFORE = 2**20
"""Bytes: the names of all tensors stand before their numbers, in safetensors and in both of PyTorch's formats."""


@dataclass(frozen=True)
class FaceFiles:
    """What an installation has for faces; `folders` say where each network, and the detector beside it, belongs."""

    networks: Mapping[str, Path] = field(default_factory=dict)
    detector: Path | None = None
    parser: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def among(
        cls, files: Iterable[ModelFile], folders: Mapping[str, Path], *, preferred: str | None = None
    ) -> FaceFiles:
        """The files of each kind to use: of several networks the one `preferred` by name or path, else the newest by
        name ("GFPGANv1.4" before "GFPGANv1.3"); of several detectors the larger."""
        kinds: dict[str, list[ModelFile]] = {}
        for file in sorted(files, key=lambda file: natural_order(file.stem), reverse=True):
            if (kind := _kind(file.path, file.size, file.mtime_ns)) is not None:
                kinds.setdefault(kind, []).append(file)
        if preferred:
            for of_kind in kinds.values():
                of_kind.sort(key=lambda file: preferred not in (file.path.name, file.stem, str(file.path)))
        first = {kind: of_kind[0].path for kind, of_kind in kinds.items()}
        return cls(
            networks={name: first[name] for name in USUAL_NAMES if name in first},
            detector=first.get(_DETECTOR) or first.get(_SMALL_DETECTOR),
            parser=first.get(_PARSER),
            folders=folders,
        )

    @property
    def count(self) -> int:
        """How many files are used."""
        return len(self.networks) + (self.detector is not None) + (self.parser is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """The restorers that can run."""
        return tuple(name for name in USUAL_NAMES if self.problem(name) is None)

    def problem(self, name: str) -> str | None:
        """Why a restorer cannot run, and what to do; None when it can."""
        missing = [] if name in self.networks else [USUAL_NAMES[name]]
        if self.detector is None:
            missing.append(f"{USUAL_DETECTOR}, which finds faces,")
        if not missing:
            return None
        return f"{name} cannot restore faces yet: put {' and '.join(missing)} into {self._folder(name)}"

    @property
    def detector_problem(self) -> str | None:
        """Why faces cannot be found; None when they can."""
        if self.detector is not None:
            return None
        return f"faces cannot be found yet: put {USUAL_DETECTOR} into {self._folder(GFPGAN)}"

    def _folder(self, name: str) -> Path:
        return self.folders.get(name, Path("models") / {CODEFORMER: "Codeformer"}.get(name, name))


def restorer(name: str) -> str:
    """The restorer of this name in any case, under its own; raises UnknownName."""
    found = {known.casefold(): known for known in USUAL_NAMES}.get(name.strip().casefold())
    if found is None:
        raise UnknownName(f'no face restorer named "{name}"{did_you_mean(name, tuple(USUAL_NAMES))}')
    return found


@lru_cache(maxsize=256)
def _kind(path: Path, size: int, mtime_ns: int) -> str | None:
    """What a file is, by the names of its tensors; None for everything else. Size and mtime are for the cache."""
    try:
        with path.open("rb") as file:
            start = file.read(_NAMES_END_BEFORE)
    except OSError:
        return None  # taken away meanwhile, or not ours to read: nothing that could be used
    return next((kind for kind, marks in _MARKS.items() if all(mark in start for mark in marks)), None)
