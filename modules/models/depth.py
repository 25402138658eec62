"""How near the things in a picture are: MiDaS' DPT, for models that are told depth.

The network is the checkpoint's own (Stable Diffusion 2's depth file carries it, a folder of diffusers has it as
`depth_estimator`), else one of `models/midas`: MiDaS' own file, or a folder as transformers saves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DPTConfig, DPTForDepthEstimation

from modules.errors import ModelError, ModelFileBroken, ModelUnsupported
from modules.models.folders import is_model_folder
from modules.models.layouts.depth import depth_part, depth_prefix
from modules.models.loader import load_part
from modules.models.weights import ViewWeights

SUFFIXES = (".pt", ".safetensors", ".pth", ".bin")


class DepthEstimator:
    """A DPT on the CPU; it goes to a device for a run only."""

    def __init__(self, network: DPTForDepthEstimation) -> None:
        self.network = network

    @torch.no_grad()
    def estimate(self, pixels: Tensor, device: torch.device) -> Tensor:
        """Inverse depth (B, 1, h, w), larger where things are near, in no unit, of pixels (B, 3, H, W) in -1…1.

        The picture is brought to the square that the network was trained on, as diffusers does; MiDaS keeps the
        picture's proportions. Always float32: half precision overflows in it.
        """
        size = self.network.config.image_size
        side = size if isinstance(size, int) else size[0]
        small = F.interpolate(pixels.float(), size=(side, side), mode="bicubic", align_corners=False, antialias=True)
        self.network.to(device)
        try:
            answer = self.network(small.clamp(-1, 1).to(device)).predicted_depth
        finally:
            self.network.to("cpu")
        return answer[:, None].float()


def load_depth_estimator(checkpoint: str | Path, places: Sequence[Path], *, base: str | None = None) -> DepthEstimator:
    """The estimator for a checkpoint: its own or its base's, else the first one in `places`.

    Raises ModelUnsupported when there is none, ModelFileBroken for one that cannot be used.
    """
    for source in _sources(Path(checkpoint), places):
        if (network := _load(source, base)) is not None:
            return DepthEstimator(network.requires_grad_(False).eval())
    where = " or ".join(str(place) for place in places) or "models/midas"
    raise ModelUnsupported(
        f"{checkpoint}: is a depth model and carries no network that estimates depth; put MiDaS' "
        f"dpt_hybrid-midas-501f0c75.pt (or a DPT folder) into {where}, or send a depth picture"
    )


def _sources(checkpoint: Path, places: Sequence[Path]) -> Iterator[Path]:
    yield checkpoint / "depth_estimator" if is_model_folder(checkpoint) else checkpoint
    for place in (place for place in places if place.is_dir()):
        yield place
        yield from sorted(one for one in place.iterdir() if one.is_dir() or one.suffix.lower() in SUFFIXES)


def _load(source: Path, base: str | None) -> DPTForDepthEstimation | None:
    """The network of a file or a folder; None when there is none in it."""
    if source.is_dir():
        if not (source / "config.json").is_file():
            return None
        try:
            return DPTForDepthEstimation.from_pretrained(source, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise ModelFileBroken(f"{source}: cannot be loaded as a depth estimator ({error})") from error
    try:
        with ViewWeights(source, base=base) as weights:
            if (prefix := depth_prefix(weights.header)) is None:
                return None
            part = depth_part(weights.header, prefix)
            return load_part(lambda: _build(part.config), part, weights, torch.float32)
    except OSError as error:
        raise ModelError(f"{source}: cannot be read ({error})") from error


def _build(config: object) -> DPTForDepthEstimation:
    with torch.device("cpu"):  # its ResNet asks tensors for their values while it is built
        return DPTForDepthEstimation(DPTConfig(**dict(config)))
