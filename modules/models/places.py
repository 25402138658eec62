"""Where model files are looked for: the folders of each kind, and the walk through them. No torch."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules.models.folders import INDEX
from modules.settings.flags import Flags

Place = tuple[str, list[os.DirEntry[str]]]
"""A folder and the files in it."""


@dataclass(frozen=True)
class ModelFolders:
    """Where models are looked for; the first of each kind is where new ones belong. Folders need not exist."""

    checkpoints: tuple[Path, ...] = ()
    vaes: tuple[Path, ...] = ()
    loras: tuple[Path, ...] = ()
    embeddings: tuple[Path, ...] = ()
    hypernetworks: tuple[Path, ...] = ()
    upscalers: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # "ESRGAN", "SwinIR" …
    approximations: tuple[Path, ...] = ()  # TAESD and the like
    depth: tuple[Path, ...] = ()  # MiDaS, for depth models that come without
    captions: tuple[Path, ...] = ()  # BLIP, a folder of files
    gfpgan: tuple[Path, ...] = ()  # with the detector and the parser of faces, as in A1111
    codeformer: tuple[Path, ...] = ()
    extra_checkpoints: tuple[Path, ...] = ()  # single files (--ckpt)
    fixed_vae: Path | None = None  # --vae-path
    gfpgan_model: str | None = None  # --gfpgan-model: the name or path of the file to use of several

    @classmethod
    def below(cls, models: Path, embeddings: Path) -> ModelFolders:
        """A1111's folder names below `models`."""
        upscalers = ("ESRGAN", "RealESRGAN", "SwinIR", "ScuNET", "DAT", "HAT", "BSRGAN", "LDSR")
        return cls(
            checkpoints=(models / "Stable-diffusion",),
            vaes=(models / "VAE",),
            loras=(models / "Lora", models / "LyCORIS"),
            embeddings=(embeddings,),
            hypernetworks=(models / "hypernetworks",),
            upscalers={name: (models / name,) for name in upscalers},
            approximations=(models / "VAE-approx", models / "VAE-taesd"),
            depth=(models / "midas",),
            captions=(models / "BLIP",),
            gfpgan=(models / "GFPGAN",),
            codeformer=(models / "Codeformer",),
        )

    @classmethod
    def of(cls, flags: Flags) -> ModelFolders:
        """Where models are looked for: A1111's folders, and those that the flags add."""

        def paths(*given: str | None) -> tuple[Path, ...]:
            return tuple(Path(path) for path in given if path)

        usual = cls.below(flags.models_path, flags.data_path / "embeddings")
        further = {
            "ESRGAN": flags.esrgan_models_path,
            "RealESRGAN": flags.realesrgan_models_path,
            "BSRGAN": flags.bsrgan_models_path,
            "DAT": flags.dat_models_path,
            "SwinIR": flags.swinir_models_path,
            "ScuNET": flags.scunet_models_path,
            "LDSR": flags.ldsr_models_path,
        }
        return cls(
            checkpoints=(*paths(flags.ckpt_dir), *usual.checkpoints),
            vaes=(*paths(flags.vae_dir), *usual.vaes),
            loras=(*paths(flags.lora_dir, flags.lyco_dir_backcompat), *usual.loras),
            embeddings=paths(flags.embeddings_dir) or (*usual.embeddings, flags.models_path / "embeddings"),
            hypernetworks=paths(flags.hypernetwork_dir) or usual.hypernetworks,
            upscalers={kind: (*paths(further.get(kind)), *folders) for kind, folders in usual.upscalers.items()},
            approximations=usual.approximations,
            depth=usual.depth,
            captions=usual.captions,
            gfpgan=(*paths(flags.gfpgan_models_path, flags.gfpgan_dir), *usual.gfpgan),
            codeformer=(*paths(flags.codeformer_models_path), *usual.codeformer),
            extra_checkpoints=paths(flags.ckpt),
            fixed_vae=Path(flags.vae_path) if flags.vae_path else None,
            gfpgan_model=flags.gfpgan_model,
        )

    def to_json(self) -> dict[str, Any]:
        """The folders as JSON values, for a worker process."""
        return {
            **{name: [str(path) for path in getattr(self, name)] for name in _FOLDER_LISTS},
            "upscalers": {kind: [str(path) for path in paths] for kind, paths in self.upscalers.items()},
            "fixed_vae": str(self.fixed_vae) if self.fixed_vae else None,
            "gfpgan_model": self.gfpgan_model,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelFolders:
        """What `to_json` gave."""
        return cls(
            **{name: tuple(Path(path) for path in value[name]) for name in _FOLDER_LISTS},
            upscalers={kind: tuple(Path(path) for path in paths) for kind, paths in value["upscalers"].items()},
            fixed_vae=Path(value["fixed_vae"]) if value["fixed_vae"] else None,
            gfpgan_model=value["gfpgan_model"],
        )


_FOLDER_LISTS = (
    "checkpoints", "vaes", "loras", "embeddings", "hypernetworks", "extra_checkpoints", "approximations",
    "depth", "captions", "gfpgan", "codeformer",
)  # fmt: skip


def walk(folder: Path) -> Iterator[Place]:
    """Every folder below `folder` with its files; follows links, but never into a circle, nor into a model's folder."""
    pending, seen = [str(folder)], set()
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as entries:
                real = os.path.realpath(here)
                if real in seen:
                    continue
                seen.add(real)
                inside = [entry for entry in entries if not _points_at_itself(entry)]
                files = [entry for entry in inside if not entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # a folder that is not there, or not ours to read, has no models
        yield here, files
        if not any(entry.name == INDEX for entry in files):
            pending += [entry.path for entry in inside if entry.is_dir()]


def _points_at_itself(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link that leads nowhere but to itself, which the system refuses to follow."""
    try:
        entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return True
    return False
