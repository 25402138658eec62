"""Files with small stand-ins for the VAE (`models/VAE-approx`, `models/VAE-taesd`): found by name, read when used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.weights import read_tensors
from modules.networks.taesd import ApproxNetwork, Half, taesd_half

SUFFIXES = (".safetensors", ".pth", ".pt")
TAESD = {"sd1": "taesd", "sd2": "taesd", "sdxl": "taesdxl", "sd3": "taesd3"}
"""What TAESD's files are called for a family: `taesd_decoder`, `taesd_encoder`, or `taesd` for both halves."""
APPROX = {"sd1": "model", "sd2": "model", "sdxl": "vaeapprox-sdxl", "sd3": "vaeapprox-sd3"}
"""What A1111 calls the networks of its "Approx NN" previews."""


class Approximations:
    """The small networks in `folders`; each file is read once, and again when it changed."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self.folders = tuple(folders)
        self._read: dict[tuple[Path, int, str], nn.Module] = {}

    def taesd(self, family: str, half: Half, like: Tensor) -> nn.Module | None:
        """TAESD's encoder or decoder for a family, on the device and in the type of `like`; None without a file.

        Raises ModelFileBroken for a file that is something else.
        """
        stem = TAESD.get(family)
        if stem is None:
            return None
        return self._network((f"{stem}_{half}", stem), half, lambda tensors: taesd_half(tensors, half), like)

    def needed_taesd(self, family: str, half: Half, like: Tensor) -> nn.Module:
        """As `taesd`, but raises ModelUnsupported, saying where to put it, when there is no file."""
        if (network := self.taesd(family, half, like)) is None:
            where = self.folders[0] if self.folders else Path("models/VAE-approx")
            name = f"{TAESD[family]}_{half}.safetensors" if family in TAESD else f"of a {family} model"
            verb = "decoding" if half == "decoder" else "encoding"
            raise ModelUnsupported(
                f'"VAE for {verb}" is set to TAESD, and there is no file {name} (or .pth) in {where}; '
                "put it there, or choose Full"
            )
        return network

    def preview(self, family: str, like: Tensor) -> nn.Module | None:
        """The network of "Approx NN" previews for a family; None without a file."""
        stem = APPROX.get(family)
        return None if stem is None else self._network((stem,), "approx", ApproxNetwork, like)

    def _network(
        self, stems: Sequence[str], kind: str, build: Callable[[dict[str, Tensor]], nn.Module], like: Tensor
    ) -> nn.Module | None:
        path = self._find(stems)
        if path is None:
            return None
        key = (path, path.stat().st_mtime_ns, kind)
        if key not in self._read:
            tensors = read_tensors(path)
            try:
                self._read[key] = build(tensors)
            except ValueError as error:
                raise ModelFileBroken(f"{path}: {error}") from error
        return self._read[key].to(like.device, like.dtype if like.dtype.is_floating_point else torch.float32)

    def _find(self, stems: Sequence[str]) -> Path | None:
        places = (folder / f"{stem}{suffix}" for folder in self.folders for stem in stems for suffix in SUFFIXES)
        return next((path for path in places if path.is_file()), None)
