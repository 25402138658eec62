"""All upscalers of an installation under A1111's names: those that need no file and networks found as files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.errors import UnknownName
from modules.models.catalog import Catalog
from modules.registry import did_you_mean
from modules.upscaling.upscaler import UPSCALERS, Upscaler

if TYPE_CHECKING:
    from modules.models.manager import ModelManager


TILE_SETTINGS = {
    "SwinIR": ("SWIN_tile", "SWIN_tile_overlap"),
    "ScuNET": ("SCUNET_tile", "SCUNET_tile_overlap"),
    "DAT": ("DAT_tile", "DAT_tile_overlap"),
}
"""The settings of tile size and overlap of the networks in a folder; those of all others are ESRGAN's."""

Tiles = Mapping[str, Iterable[int]]
"""Tile size and overlap in pixels by folder."""


def tiles_of(options: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """The tiles that these settings ask for in folders with settings of their own."""
    asked = {kind: keys for kind, keys in TILE_SETTINGS.items() if keys[0] in options}
    return {kind: (int(options[tile]), int(options[overlap])) for kind, (tile, overlap) in asked.items()}


class Upscalers:
    """Upscalers by name; `files` are those found on disk, by folder ("ESRGAN", "SwinIR" …).

    Networks run in tiles of `tile` pixels that overlap by `overlap`, those of folders named in `tiles` as it says.

    A file is listed under its stem, Real-ESRGAN's own under A1111's names for them. Building this reads nothing but the
    names; a network is loaded when it first runs, on `device`.
    """

    def __init__(
        self,
        files: Mapping[str, Iterable[Path]] | None = None,
        *,
        tile: int = 192,
        overlap: int = 8,
        tiles: Tiles | None = None,
        device: str = "cpu",
        models: ModelManager | None = None,
        ldsr_steps: int = 100,
    ) -> None:
        own = {kind: tuple(sizes) for kind, sizes in (tiles or {}).items()}
        found = {
            path.stem: _from_file(kind, path, *own.get(kind, (tile, overlap)), device, models, ldsr_steps)
            for kind, paths in (files or {}).items()
            for path in paths
            if path.stem not in UPSCALERS
        }
        named = sorted(found.values(), key=lambda upscaler: upscaler.name.lower())
        self._all: dict[str, Upscaler] = {upscaler.name: upscaler for upscaler in (*UPSCALERS, *named)}

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        *,
        tile: int = 192,
        overlap: int = 8,
        tiles: Tiles | None = None,
        device: str = "cpu",
        models: ModelManager | None = None,
        ldsr_steps: int = 100,
    ) -> Upscalers:
        """Those of an installation; `models` loads those that are diffusion models, LDSR runs `ldsr_steps`."""
        files = {kind: [file.path for file in found] for kind, found in catalog.upscalers.items()}
        return cls(files, tile=tile, overlap=overlap, tiles=tiles, device=device, models=models, ldsr_steps=ldsr_steps)

    def names(self) -> tuple[str, ...]:
        """None, Lanczos, Nearest, then the rest by lower-case name."""
        return tuple(self._all)

    def all(self) -> tuple[Upscaler, ...]:
        return tuple(self._all.values())

    def find(self, name: str) -> Upscaler:
        """The upscaler with this name or stem, exact or ignoring case; raises UnknownName."""
        if name in self._all:
            return self._all[name]
        folded = {(one.model_name or one.name).casefold(): one.name for one in self._all.values()}
        folded |= {key.casefold(): key for key in self._all}
        if name.casefold() in folded:
            return self._all[folded[name.casefold()]]
        raise UnknownName(f'no upscaler named "{name}"{did_you_mean(name, self.names())}', field="hires.upscaler")


def _from_file(
    kind: str, path: Path, tile: int, overlap: int, device: str, models: ModelManager | None, ldsr_steps: int
) -> Upscaler:
    from modules.upscaling.neural import from_file

    label = "LDSR" if kind == "LDSR" else None  # A1111's name, whatever the file is called there
    return from_file(path, tile=tile, overlap=overlap, device=device, models=models, ldsr_steps=ldsr_steps, label=label)
