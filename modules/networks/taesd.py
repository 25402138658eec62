"""Small stand-ins for a VAE: TAESD's encoder and decoder, and the tiny network behind A1111's "Approx NN" previews.

All work on latents as the denoising network sees them (scaled). TAESD is Ollin Boer Bohan's tiny autoencoder; its
files number the layers of one long sequence, and diffusers' AutoencoderTiny has the same layers, which are used here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DecoderTiny, EncoderTiny
from torch import Tensor, nn

Half = Literal["encoder", "decoder"]
STAGES = 4
"""How many sizes TAESD works at: the latents' and three doublings."""


def taesd_half(tensors: Mapping[str, Tensor], half: Half) -> EncoderTiny | DecoderTiny:
    """TAESD's encoder (pixels around -1…1 → latents) or decoder, from a file of its own or from diffusers' with both.

    Raises ValueError, with what is wrong, for tensors of another network.
    """
    named = _numbered_from_0(tensors, half)
    convolutions = sorted(int(name.split(".")[0]) for name in named if re.fullmatch(r"\d+\.weight", name))
    blocks = {int(name.split(".")[0]) for name in named if ".conv." in name}
    # what stands between two plain convolutions are the blocks of one size
    counts = tuple(sum(start < block < end for block in blocks) for start, end in pairwise(convolutions))
    if len(counts) != STAGES:
        raise ValueError(f"it is no TAESD {half}: it works at {len(counts)} sizes, not {STAGES}")
    first, last = named[f"{convolutions[0]}.weight"], named[f"{convolutions[-1]}.weight"]
    widths = (first.shape[0],) * STAGES
    network: EncoderTiny | DecoderTiny
    if half == "encoder":
        network = EncoderTiny(first.shape[1], last.shape[0], counts, widths, act_fn="relu")
    else:
        network = DecoderTiny(
            first.shape[1],
            last.shape[0],
            counts,
            widths,
            upsampling_scaling_factor=2,
            act_fn="relu",
            upsample_fn="nearest",
        )
    try:
        network.layers.load_state_dict({name: tensor.float() for name, tensor in named.items()})
    except RuntimeError as error:
        raise ValueError(f"it is no TAESD {half}: " + " ".join(str(error).split())[:200]) from error
    return network.requires_grad_(False).eval()


def _numbered_from_0(tensors: Mapping[str, Tensor], half: Half) -> dict[str, Tensor]:
    """The half's tensors, their layers counted from 0: the original decoder counts its clamp of the latents as one."""
    ours = re.compile(rf"(?:{half}\.)?(?:layers\.)?(\d+)(\..+)")
    found = [(match, tensor) for name, tensor in tensors.items() if (match := ours.fullmatch(name))]
    if not found:
        raise ValueError(f"it is no TAESD {half}: it has no numbered layers")
    offset = min(int(match[1]) for match, _ in found)
    return {f"{int(match[1]) - offset}{match[2]}": tensor for match, tensor in found}


class ApproxNetwork(nn.Module):
    """Eight convolutions that make a picture of a quarter of the size from latents: (B, 3, 2h, 2w) around -1…1.

    Kernels and widths are those of the file's tensors `conv1.weight` … `conv8.weight`; no layer pads, the doubled
    latents get as much of a border beforehand as all layers take away.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        weights = [tensors.get(f"conv{number}.weight") for number in range(1, 9)]
        if any(weight is None or weight.ndim != 4 for weight in weights):
            raise ValueError("it is no network for previews: conv1.weight to conv8.weight are not all there")
        self.layers = nn.ModuleList(nn.Conv2d(w.shape[1], w.shape[0], w.shape[2]) for w in weights)
        self.border = sum(layer.kernel_size[0] // 2 for layer in self.layers)
        for number, layer in enumerate(self.layers, start=1):
            layer.load_state_dict({leaf: tensors[f"conv{number}.{leaf}"].float() for leaf in ("weight", "bias")})
        self.requires_grad_(False).eval()

    def forward(self, latents: Tensor) -> Tensor:
        x = F.pad(F.interpolate(latents, scale_factor=2.0), (self.border,) * 4)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
        return x
