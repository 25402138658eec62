"""Small upscaling networks in the layouts of real files, with random weights that make a recognisable picture."""

from __future__ import annotations

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def real_esrgan(*, doublings: int = 2, folding: int = 1, blocks: int = 2, seed: int = 0) -> Tensors:
    """Real-ESRGAN's names (`body.0.rdb1.conv1.weight`), 16 channels wide. The last layer passes the picture on."""
    generator = torch.Generator().manual_seed(seed)
    width, growth = 16, 8
    shapes = {"conv_first": (width, 3 * folding**2)}
    for block in range(blocks):
        for dense in (1, 2, 3):
            for number in range(1, 6):
                made = width if number == 5 else growth
                shapes[f"body.{block}.rdb{dense}.conv{number}"] = (made, width + (number - 1) * growth)
    shapes |= {
        name: (width, width) for name in ("conv_body", *(f"conv_up{n + 1}" for n in range(doublings)), "conv_hr")
    }
    shapes["conv_last"] = (3, width)
    tensors = {}
    for name, (made, taken) in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(made, taken, 3, 3, generator=generator) * 0.08 / taken**0.5
        tensors[f"{name}.bias"] = torch.randn(made, generator=generator) * 0.01
    for name in shapes:  # the first channels carry the picture through, so that there is something to see
        if not name.startswith("body") and name != "conv_body":
            for channel in range(3):
                tensors[f"{name}.weight"][channel, channel, 1, 1] += 1.0
    return tensors


def as_first_code(tensors: Tensors) -> Tensors:
    """The same weights under the names of ESRGAN's first code (`model.1.sub.0.RDB1.conv1.0.weight`)."""
    ups = sorted({name.split(".")[0] for name in tensors if name.startswith("conv_up")})
    blocks = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("body."))
    numbers = {"conv_first": 0} | {name: 3 * (place + 1) for place, name in enumerate(ups)}
    numbers |= {"conv_hr": 3 * len(ups) + 2, "conv_last": 3 * len(ups) + 4}
    named = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        if layer.startswith("body."):
            _, block, dense, convolution = layer.split(".")
            named[f"model.1.sub.{block}.{dense.upper()}.{convolution}.0.{leaf}"] = tensor
        elif layer == "conv_body":
            named[f"model.1.sub.{blocks}.{leaf}"] = tensor
        else:
            named[f"model.{numbers[layer]}.{leaf}"] = tensor
    return named


def as_second_code(tensors: Tensors) -> Tensors:
    """The same weights under the names of ESRGAN's second code (`RRDB_trunk.0.RDB1.conv1.weight`)."""
    words = (("body.", "RRDB_trunk."), ("rdb", "RDB"), ("conv_body", "trunk_conv"), ("conv_up", "upconv"))
    named = {}
    for name, tensor in tensors.items():
        for ours, theirs in (*words, ("conv_hr", "HRconv")):
            name = name.replace(ours, theirs)
        named[name] = tensor
    return named


def compact(*, scale: int = 4, convolutions: int = 4, seed: int = 0) -> Tensors:
    """SRVGGNetCompact's layout: convolutions at even places, slopes between them."""
    generator = torch.Generator().manual_seed(seed)
    width, tensors = 16, {}
    for number in range(convolutions):
        taken = 3 if number == 0 else width
        made = 3 * scale**2 if number == convolutions - 1 else width
        tensors[f"body.{2 * number}.weight"] = torch.randn(made, taken, 3, 3, generator=generator) * 0.2 / taken**0.5
        tensors[f"body.{2 * number}.bias"] = torch.randn(made, generator=generator) * 0.01
        if number < convolutions - 1:
            tensors[f"body.{2 * number + 1}.weight"] = torch.full((width,), 0.1)
    return tensors
