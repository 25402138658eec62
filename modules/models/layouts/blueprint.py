"""What must be built for a checkpoint, and where each of its weights is in the file: plain data, no torch.

A family turns a header into a `Blueprint`; the loader builds and fills whatever the blueprint describes. A new family
needs no new loader, and the front can ask a family what a file is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Variant = Literal["base", "inpainting", "pix2pix", "depth", "unclip", "refiner", "upscaler"]
Prediction = Literal["epsilon", "v", "flow"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a weight comes from: a tensor of the file, of which perhaps a part, perhaps turned.

    `third` picks one of three equal parts of the rows (a joined q, k, v), of each of `heads` by itself; `transposed`
    swaps the two dimensions; `squeezed` drops the 1x1 of a convolution that is used as a linear layer; `swapped` puts
    the second half of the rows before the first (a norm's shift and scale).
    """

    key: str
    third: int | None = None
    transposed: bool = False
    squeezed: bool = False
    swapped: bool = False
    heads: int = 1


Sources = Mapping[str, Source]
"""Where each weight of a network (by the network's own name for it) comes from."""


@dataclass(frozen=True)
class Part:
    """One network: the keyword arguments of its class, its weights, and which class (`loader.NETWORKS`)."""

    config: Mapping[str, Any]
    sources: Sources
    network: str = "unet"


@dataclass(frozen=True)
class TowerPart:
    """One text encoder; `config` for the configuration of `network`'s class ("clip", "t5", "bert").

    `layer` is A1111's rule for which hidden state is taken (section 1.7): "clip-skip" obeys the request, "penultimate"
    never does; "last" is the penultimate one of a tower whose last layer was left away. `final_norm` says whether the
    last layer norm follows. `pools` gives the pooled vector of a tower without `projection`. `tokenizer` "" is that of
    the tower's name.
    """

    name: str
    config: Mapping[str, Any]
    sources: Sources
    pad_id: int
    layer: Literal["clip-skip", "penultimate", "last"]
    final_norm: bool
    projection: Source | None = None  # (width, P): pooled = normed last state at the end token @ projection
    pools: bool = False
    network: str = "clip"
    tokenizer: str = ""


@dataclass(frozen=True)
class Blueprint:
    """Everything the loader needs to make a model of one file.

    `prediction` None asks the loader to find out by running the network (SD 2 without a configuration).
    """

    family: str
    variant: Variant
    unet: Part
    autoencoder: Part
    towers: tuple[TowerPart, ...]
    prediction: Prediction | None
    scale_factor: float
    native_size: int
    linear_start: float = 0.00085
    linear_end: float = 0.012
    timesteps: int = 1000
    stored_alphas: str | None = None  # the key of the file's own alphas_cumprod
    zero_terminal_snr: bool = False
    latent_channels: int = 4
    shift_factor: float = 0.0  # latents are (the VAE's - shift_factor) * scale_factor
    flow_shift: float = 3.0  # of flow models' noise levels (prediction.FlowLevels)
    ignored: tuple[str, ...] = field(default=())  # prefixes of tensors that may be left over
