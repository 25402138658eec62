"""The two networks that nearly every upscaler file holds: RRDBNet (ESRGAN, Real-ESRGAN) and SRVGGNetCompact.

Both are built from their tensors' names and shapes alone. RRDBNet's weights are known under three namings: that of
ESRGAN's first code (`model.1.sub.0.RDB1.conv1.0.weight`), of its second (`RRDB_trunk.0.RDB1.conv1.weight`) and of
BasicSR and Real-ESRGAN (`body.0.rdb1.conv1.weight`), which is ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.filling import filled

LEAK = 0.2
"""The slope of RRDBNet's activations, and by how much its blocks' residuals are damped."""


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it made."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 6):
            made = width if number == 5 else growth
            self.add_module(f"conv{number}", nn.Conv2d(width + (number - 1) * growth, made, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, F.leaky_relu(layer(seen), LEAK)], dim=1)
        return x + self.conv5(seen) * LEAK


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks with a residual around them: "RRDB"."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rdb3(self.rdb2(self.rdb1(x))) * LEAK


class RRDBNet(nn.Module):
    """ESRGAN's generator: pixels (B, 3, H, W) in 0…1 to (B, 3, H·scale, W·scale).

    Every `conv_up` doubles. Networks for less enlargement first fold `folding` × `folding` pixels into channels.
    Wang et al. 2018 (arXiv:1809.00219), 2021 (arXiv:2107.10833).
    """

    def __init__(self, *, width: int, growth: int, blocks: int, doublings: int, folding: int = 1) -> None:
        super().__init__()
        self.doublings, self.folding = doublings, folding
        self.scale = 2**doublings // folding
        self.conv_first = nn.Conv2d(3 * folding**2, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualDenseBlocks(width, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(width, width, 3, padding=1)
        for number in range(1, doublings + 1):
            self.add_module(f"conv_up{number}", nn.Conv2d(width, width, 3, padding=1))
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        height, width = (length * self.scale for length in pixels.shape[-2:])
        if self.folding > 1:
            below, beside = (-length % self.folding for length in pixels.shape[-2:])
            mode = "reflect" if min(pixels.shape[-2:]) > self.folding else "replicate"
            pixels = F.pixel_unshuffle(F.pad(pixels, (0, beside, 0, below), mode=mode), self.folding)
        x = self.conv_first(pixels)
        x = x + self.conv_body(self.body(x))
        for number in range(1, self.doublings + 1):
            x = F.leaky_relu(self.get_submodule(f"conv_up{number}")(F.interpolate(x, scale_factor=2.0)), LEAK)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), LEAK))[..., :height, :width]


class CompactNet(nn.Module):
    """SRVGGNetCompact (realesr-general, realesr-animevideo): plain convolutions, enlarged at the very end.

    Its answer is added to the picture enlarged by repeating pixels. Wang et al. 2021 (arXiv:2107.10833) and BasicSR.
    """

    def __init__(self, *, width: int, convolutions: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        for _ in range(convolutions - 2):
            layers += [nn.PReLU(width), nn.Conv2d(width, width, 3, padding=1)]
        self.body = nn.Sequential(*layers, nn.PReLU(width), nn.Conv2d(width, 3 * scale**2, 3, padding=1))

    def forward(self, pixels: Tensor) -> Tensor:
        return F.pixel_shuffle(self.body(pixels), self.scale) + F.interpolate(pixels, scale_factor=float(self.scale))


UpscalingNetwork = RRDBNet | CompactNet


def network_for(tensors: Mapping[str, Tensor]) -> UpscalingNetwork | None:
    """The network of a file's tensors, in float32 and ready to run; None where they are of another kind.

    Raises ValueError, with what is wrong, for one of these kinds that is damaged or a variant.
    """
    named = _named_as_ours(tensors)
    if "conv_first.weight" in named and "body.0.rdb1.conv1.weight" in named:
        return filled(lambda: _rrdb_net(named), named)
    if "body.0.weight" in named and "body.1.weight" in named and named["body.1.weight"].ndim == 1:
        return filled(lambda: _compact_net(named), named)
    return None


def _rrdb_net(tensors: Mapping[str, Tensor]) -> RRDBNet:
    variant = next((name for name in tensors if "conv1x1" in name), None)
    if variant is not None:
        raise ValueError(f'it is an ESRGAN+ network ("{variant}"), a variant that is not supported')
    first, growth = tensors["conv_first.weight"], tensors["body.0.rdb1.conv1.weight"].shape[0]
    folding = isqrt(first.shape[1] // 3)
    if 3 * folding**2 != first.shape[1]:
        raise ValueError(f"it takes {first.shape[1]} channels, not a picture's three")
    return RRDBNet(
        width=first.shape[0],
        growth=growth,
        blocks=1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("body.")),
        doublings=sum(bool(re.fullmatch(r"conv_up\d+\.weight", name)) for name in tensors),
        folding=folding,
    )


def _compact_net(tensors: Mapping[str, Tensor]) -> CompactNet:
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("body."))
    made = tensors[f"body.{last}.weight"].shape[0]
    scale = isqrt(made // 3)
    if 3 * scale**2 != made:
        raise ValueError(f"its last layer makes {made} channels, which is no whole enlargement")
    return CompactNet(width=tensors["body.0.weight"].shape[0], convolutions=last // 2 + 1, scale=scale)


def _named_as_ours(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under BasicSR's names."""
    if "model.0.weight" in tensors:
        return _from_first_code(tensors)
    second = {"trunk_conv": "conv_body", "HRconv": "conv_hr", "upconv": "conv_up", "RRDB_trunk": "body", "RDB": "rdb"}
    pattern = re.compile("|".join(second))
    return {
        pattern.sub(lambda match: second[match[0]], name) if not name.startswith("body.") else name: tensor
        for name, tensor in tensors.items()
    }


def _from_first_code(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ESRGAN's first naming numbers its layers: the doublings are those between the trunk and the last two."""
    numbers = sorted({int(name.split(".")[1]) for name in tensors if re.fullmatch(r"model\.\d+\.weight", name)})
    ours = {0: "conv_first"}
    if len(numbers) >= 3:
        ours |= {numbers[-2]: "conv_hr", numbers[-1]: "conv_last"}
        ours |= {number: f"conv_up{place}" for place, number in enumerate(numbers[1:-2], start=1)}
    named = {}
    for name, tensor in tensors.items():
        inner = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\w+)(?:\.0)?\.(weight|bias)", name)
        trunk = re.fullmatch(r"model\.1\.sub\.\d+\.(weight|bias)", name)
        outer = re.fullmatch(r"model\.(\d+)\.(weight|bias)", name)
        if inner:
            name = f"body.{inner[1]}.rdb{inner[2]}.{inner[3]}.{inner[4]}"
        elif trunk:
            name = f"conv_body.{trunk[1]}"
        elif outer and int(outer[1]) in ours:
            name = f"{ours[int(outer[1])]}.{outer[2]}"
        named[name] = tensor
    return named
