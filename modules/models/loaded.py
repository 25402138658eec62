"""A checkpoint in memory, as the engine sees it: text towers, a denoising network and a VAE behind one face.

What differs between families (SD 1, SD 2, SDXL, flow models) is behind these methods: the engine has no special case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

    from modules.generation.plan import ModelRef, VaeRef


@dataclass(frozen=True)
class Conditioning:
    """What the denoising network is told besides x and t, for a batch of B.

    `crossattn` (B, T, C): text. `vector` (B, D) or None: SDXL's pooled text and sizes, unCLIP's image embedding.
    `concat` (B, K, h, w) or None: extra input channels of inpainting, depth and InstructPix2Pix models.
    """

    crossattn: Tensor
    vector: Tensor | None = None
    concat: Tensor | None = None

    def rows(self, start: int, count: int) -> Conditioning:
        """`count` rows of the batch from `start`."""
        picked = (self.crossattn, self.vector, self.concat)
        return Conditioning(*(None if value is None else value[start : start + count] for value in picked))


class TextTower(Protocol):
    """One text encoder with its tokenizer."""

    name: str  # "clip_l", "clip_g", "open_clip_h": which vectors of an SDXL embedding are its own
    width: int
    start_id: int
    end_id: int
    pad_id: int  # follows the first end token: 49407 for CLIP-L, 0 for OpenCLIP
    comma_id: int

    def tokenize(self, text: str) -> list[int]:
        """Token ids without start and end, never truncated."""
        ...

    def encode(
        self, tokens: Tensor, *, replaced: list[list[tuple[int, Tensor]]], clip_skip: int
    ) -> tuple[Tensor, Tensor | None]:
        """Encode (B, 77) token ids to hidden states (B, 77, width) and the pooled vector (B, P) or None.

        `replaced[b]` lists (offset, vectors (n, width)) of textual inversions; vector i stands in for the token
        embedding at position offset + 1 + i (the start token is position 0). `clip_skip` counts from 1 as A1111 does;
        towers for which it has no effect ignore it (section 1.7).
        """
        ...


class PassageTower(Protocol):
    """A text encoder that reads a text in one piece and knows no weights (T5)."""

    name: str
    width: int

    def encode(self, texts: Sequence[Sequence[str]], length: int) -> Tensor:
        """Hidden states (n, length, width) of texts given in pieces, cut off or padded to `length` tokens."""
        ...


class LoadedModel(Protocol):
    """A checkpoint ready to run. One at a time is on the device; the manager owns it and everything in it."""

    ref: ModelRef
    vae_ref: VaeRef | None
    family: str  # "sd1", "sd2", "sdxl" …
    variant: Literal["base", "inpainting", "pix2pix", "depth", "unclip", "refiner", "upscaler"]
    prediction: Literal["epsilon", "v", "flow"]
    alphas_cumprod: Tensor  # float32 (1000,), before any per-job change of the schedule
    towers: tuple[TextTower, ...]
    passage_towers: tuple[PassageTower, ...]  # SD 3's T5, where it is used
    context_width: int  # of what the network is told of each token
    latent_channels: int
    in_channels: int  # of the network: 4, or 9, 8, 5 with `concat`
    device: torch.device
    dtype: torch.dtype  # of the network
    native_size: int  # pixels
    scale_factor: float  # latents are (the VAE's - shift_factor) times this
    shift_factor: float
    flow_shift: float  # of flow models' noise levels
    metadata: Mapping[str, str]  # the file's own strings (modelspec.*, latent_rgb …)
    attention: str  # the backend in use, for infotext-like reports
    checks_numbers: bool  # whether NaN ends a job; not with --disable-nan-check
    is_short_of_memory: bool  # whether its networks are moved in and out (--medvram, --lowvram)

    def predict(self, x: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """The raw network output (epsilon, v, flow velocity) for x (B, C, h, w) and timestep (B,), fractional or not.

        The answer is on the model's device in x's type; any h, w that are whole numbers work.
        """
        ...

    def encode(self, pixels: Tensor, *, sample: bool = True) -> Tensor:
        """Scaled latents (B, C, H/8, W/8) of pixels (B, 3, H, W) in -1…1; a sample of the posterior, or its mean."""
        ...

    def encode_source(self, pixels: Tensor) -> Tensor:
        """As `encode` without sampling, or by TAESD where the settings say so."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels (B, 3, 8h, 8w) around -1…1, not clamped, float32; on NaN again in more precision, per the settings."""
        ...

    def depth_of(self, pixels: Tensor, places: Sequence[Path]) -> Tensor:
        """Nearness (B, 1, h, w) in no unit of pixels (B, 3, H, W) in -1…1, by the network that depth models come with.

        One that lacks it takes the first of `places`; raises ModelUnsupported when there is none.
        """
        ...

    def embed_pictures(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """CLIP embeddings (B, D) of pixels (B, 3, H, W) in -1…1, float32, and mean and deviation (1, D) of such.

        Raises ModelUnsupported for a model without an encoder of pictures.
        """
        ...

    def take_news(self) -> tuple[str, ...]:
        """What the model had to do otherwise since this was last asked (less memory, more precision), in words."""
        ...

    def tiled(self) -> AbstractContextManager[None]:
        """While open, every convolution wraps around at the edges (seamless textures)."""
        ...
