"""The picture encoder of unCLIP checkpoints: CLIP's vision tower with its projection, and what embeddings look like."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.folders import is_model_folder, weight_files
from modules.models.layouts.vision import has_vision, vision_part
from modules.models.loader import load_part
from modules.models.weights import ViewWeights

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was trained on, by channel."""


class ImageEncoder:
    """A vision tower on the CPU; it goes to a device for a run only.

    `mean` and `std` (1, D) are those of the embeddings; 0 and 1 where the checkpoint does not tell (OpenCLIP-H's).
    """

    def __init__(
        self, network: CLIPVisionModelWithProjection, *, mean: Tensor | None = None, std: Tensor | None = None
    ) -> None:
        self.network = network
        width: int = network.config.projection_dim
        self.mean = torch.zeros(1, width) if mean is None else mean.float()
        self.std = torch.ones(1, width) if std is None else std.float()

    def prepared(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in -1…1 as the tower takes them: its square, whatever their proportions, normalised."""
        side: int = self.network.config.image_size
        small = F.interpolate(pixels.float(), size=(side, side), mode="bicubic", align_corners=False, antialias=True)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1).to(small) for values in (MEAN, STD))
        return ((small.clamp(-1, 1) + 1) / 2 - mean) / std

    @torch.no_grad()
    def encode(self, pixels: Tensor, device: torch.device) -> Tensor:
        """Embeddings (B, D), float32, of pictures (B, 3, H, W) in -1…1."""
        dtype = self.network.visual_projection.weight.dtype
        self.network.to(device)
        try:
            return self.network(self.prepared(pixels).to(device, dtype)).image_embeds.float()
        finally:
            self.network.to("cpu")


def load_image_encoder(checkpoint: str | Path, dtype: torch.dtype, *, base: str | None = None) -> ImageEncoder:
    """The picture encoder that a checkpoint, or its base, carries; raises ModelUnsupported when it has none.

    Raises ModelFileBroken for one that is incomplete.
    """
    checkpoint = Path(checkpoint)
    if is_model_folder(checkpoint):
        return _from_folder(checkpoint, dtype)
    with ViewWeights(checkpoint, base=base) as weights:
        if not has_vision(weights.header):
            raise ModelUnsupported(f"{checkpoint}: {_NONE}")
        part = vision_part(weights.header)
        network = load_part(
            lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**part.config)), part, weights, dtype
        )
        return ImageEncoder(_finished(network))


def _from_folder(folder: Path, dtype: torch.dtype) -> ImageEncoder:
    if not (folder / "image_encoder" / "config.json").is_file():
        raise ModelUnsupported(f"{folder}: {_NONE}")
    try:
        network = CLIPVisionModelWithProjection.from_pretrained(
            folder / "image_encoder", local_files_only=True, dtype=dtype
        )
    except (OSError, ValueError) as error:
        raise ModelFileBroken(f"{folder}/image_encoder: cannot be loaded ({error})") from error
    stored: dict[str, Tensor] = {}
    for file in weight_files(folder, "image_normalizer"):
        stored |= load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
    network = network.requires_grad_(False).eval()
    return ImageEncoder(network, mean=stored.get("mean"), std=stored.get("std"))


def _finished(network: CLIPVisionModelWithProjection) -> CLIPVisionModelWithProjection:
    embeddings = network.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions).expand(1, -1)  # not in the file, not in the state
    return network


_NONE = "carries no encoder of pictures (embedder.model.visual.…), so that it cannot vary one; use it without a picture"
