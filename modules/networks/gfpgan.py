"""GFPGAN: a face drawn anew by a StyleGAN that is steered by what is left of it.

Wang et al. 2021 (arXiv:2101.04061), in the form without operators of its own ("clean": versions 1.2 to 1.4). A U-Net
looks at the face; its bottom gives the styles, the way up gives scales and shifts for half of StyleGAN's channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.filling import count, filled

LEAK = 0.2


class GFPGAN(nn.Module):
    """A face (1, 3, side, side) in -1…1 to the same face restored, about -1…1.

    `widths` are the U-Net's channels from the picture's size down to 4 × 4, `generator` is what StyleGAN has.
    """

    def __init__(self, widths: Sequence[int], generator: Generator, styles: int, style_width: int) -> None:
        super().__init__()
        self.styles, self.style_width = styles, style_width
        steps, bottom = list(pairwise(widths)), widths[-1]
        self.conv_body_first = nn.Conv2d(3, widths[0], 1)
        self.conv_body_down = nn.ModuleList(Resampling(fine, coarse, 0.5) for fine, coarse in steps)
        self.final_conv = nn.Conv2d(bottom, bottom, 3, padding=1)
        self.conv_body_up = nn.ModuleList(Resampling(coarse, fine, 2.0) for fine, coarse in reversed(steps))
        self.toRGB = nn.ModuleList(nn.Conv2d(fine, 3, 1) for fine, _ in reversed(steps))  # for training; in the files
        self.final_linear = nn.Linear(bottom * 16, styles * style_width)
        self.stylegan_decoder = generator
        self.condition_scale, self.condition_shift = (
            nn.ModuleList(_condition(fine) for fine, _ in reversed(steps)) for _ in range(2)
        )

    def forward(self, face: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv_body_first(face), LEAK)
        skipped = []
        for block in self.conv_body_down:
            x = block(x)
            skipped.append(x)
        x = F.leaky_relu(self.final_conv(x), LEAK)
        styles = self.final_linear(x.flatten(1)).view(len(x), self.styles, self.style_width)
        conditions = []
        for block, scale, shift in zip(self.conv_body_up, self.condition_scale, self.condition_shift, strict=True):
            x = block(x + skipped.pop())
            conditions.append((scale(x), shift(x)))
        return self.stylegan_decoder(styles, conditions)


class Resampling(nn.Module):
    """Two convolutions, the size changed between them, and a way around both."""

    def __init__(self, taken: int, made: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = nn.Conv2d(taken, taken, 3, padding=1)
        self.conv2 = nn.Conv2d(taken, made, 3, padding=1)
        self.skip = nn.Conv2d(taken, made, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = _resized(F.leaky_relu(self.conv1(x), LEAK), self.factor)
        return F.leaky_relu(self.conv2(inner), LEAK) + self.skip(_resized(x, self.factor))


class Generator(nn.Module):
    """StyleGAN2's synthesis (Karras et al. 2020, arXiv:1912.04958): from a learned 4 × 4 up, twice as large each time.

    `widths` are the channels at 4, 8, 16 … pixels. The noise is the file's own, so that a face always comes out alike.
    """

    def __init__(self, widths: Sequence[int], style_width: int, mapping_layers: int) -> None:
        super().__init__()
        mapping: list[nn.Module] = [nn.Identity()]  # the mapping network is for training; in the files
        for _ in range(mapping_layers):
            mapping += [nn.Linear(style_width, style_width), nn.LeakyReLU(LEAK)]
        self.style_mlp = nn.Sequential(*mapping)
        self.constant_input = Constant(widths[0])
        self.style_conv1 = StyledConvolution(widths[0], widths[0], style_width)
        self.to_rgb1 = ToRGB(widths[0], style_width)
        self.style_convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        self.noises.register_buffer("noise0", torch.zeros(1, 1, 4, 4))
        for level, (coarse, fine) in enumerate(pairwise(widths), start=1):
            self.style_convs.append(StyledConvolution(coarse, fine, style_width, doubles=True))
            self.style_convs.append(StyledConvolution(fine, fine, style_width))
            self.to_rgbs.append(ToRGB(fine, style_width))
            for number in (2 * level - 1, 2 * level):
                self.noises.register_buffer(f"noise{number}", torch.zeros(1, 1, 4 * 2**level, 4 * 2**level))

    def forward(self, styles: Tensor, conditions: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """`styles` (B, S, W) are used in turn; `conditions` are scale and shift at 8, 16 … pixels."""
        noise = [self.noises.get_buffer(f"noise{number}") for number in range(1 + 2 * len(self.to_rgbs))]
        x = self.style_conv1(self.constant_input.weight.expand(len(styles), -1, -1, -1), styles[:, 0], noise[0])
        picture = self.to_rgb1(x, styles[:, 1])
        for level, (scale, shift) in enumerate(conditions):
            at = 2 * level + 1
            x = self.style_convs[2 * level](x, styles[:, at], noise[at])
            kept, steered = x.chunk(2, dim=1)
            x = torch.cat([kept, steered * scale + shift], dim=1)
            x = self.style_convs[2 * level + 1](x, styles[:, at + 1], noise[at + 1])
            picture = self.to_rgbs[level](x, styles[:, at + 2]) + _resized(picture, 2.0)
        return picture


class Constant(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, width, 4, 4))


class ModulatedConvolution(nn.Module):
    """A convolution whose taken channels are scaled by a style, and whose made channels are then of unit strength."""

    def __init__(self, taken: int, made: int, kernel: int, style_width: int, *, is_normalised: bool) -> None:
        super().__init__()
        self.is_normalised = is_normalised
        self.weight = nn.Parameter(torch.zeros(1, made, taken, kernel, kernel))
        self.modulation = nn.Linear(style_width, taken)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        weight = self.weight * self.modulation(style)[:, None, :, None, None]
        if self.is_normalised:
            weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
        pictures, made, taken, kernel, _ = weight.shape
        # one picture's channels after another's: each picture of the batch has weights of its own
        answer = F.conv2d(
            x.reshape(1, pictures * taken, *x.shape[-2:]), weight.flatten(0, 1), padding=kernel // 2, groups=pictures
        )
        return answer.view(pictures, made, *answer.shape[-2:])


class StyledConvolution(nn.Module):
    def __init__(self, taken: int, made: int, style_width: int, *, doubles: bool = False) -> None:
        super().__init__()
        self.doubles = doubles
        self.modulated_conv = ModulatedConvolution(taken, made, 3, style_width, is_normalised=True)
        self.weight = nn.Parameter(torch.zeros(1))  # of the noise
        self.bias = nn.Parameter(torch.zeros(1, made, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        made = self.modulated_conv(_resized(x, 2.0) if self.doubles else x, style) * 2**0.5
        return F.leaky_relu(made + self.weight * noise + self.bias, LEAK)


class ToRGB(nn.Module):
    def __init__(self, taken: int, style_width: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConvolution(taken, 3, 1, style_width, is_normalised=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.modulated_conv(x, style) + self.bias


def gfpgan(tensors: Mapping[str, Tensor]) -> GFPGAN:
    """The network of a file's tensors, in float32 and ready to run; raises ValueError for another kind of file."""
    if "conv_body_first.0.weight" in tensors:
        raise ValueError("it is the first GFPGAN, whose operators are not supported; take version 1.3 or 1.4")
    try:
        widths = [tensors["conv_body_first.weight"].shape[0]]
        widths += [
            tensors[f"conv_body_down.{place}.conv2.weight"].shape[0]
            for place in range(count(tensors, "conv_body_down."))
        ]
        style_width = tensors["stylegan_decoder.style_conv1.modulated_conv.modulation.weight"].shape[1]
        styles = tensors["final_linear.weight"].shape[0] // style_width
        made = [tensors["stylegan_decoder.constant_input.weight"].shape[1]]
        made += [
            tensors[f"stylegan_decoder.style_convs.{place}.modulated_conv.weight"].shape[1]
            for place in range(0, count(tensors, "stylegan_decoder.style_convs."), 2)
        ]
    except KeyError as error:
        raise ValueError(f"it lacks the tensor {error}, so it is no GFPGAN") from error
    if made[1:] != [2 * shape for shape in _steered(tensors)]:
        raise ValueError("it steers all channels, not half of them, a variant that is not supported")
    mapping = sum(name.startswith("stylegan_decoder.style_mlp.") and name.endswith("weight") for name in tensors)
    return filled(lambda: GFPGAN(widths, Generator(made, style_width, mapping), styles, style_width), tensors)


def _steered(tensors: Mapping[str, Tensor]) -> list[int]:
    """How many channels each condition steers."""
    return [
        tensors[f"condition_scale.{place}.2.weight"].shape[0] for place in range(count(tensors, "condition_scale."))
    ]


def _condition(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(LEAK), nn.Conv2d(width, width, 3, padding=1)
    )


def _resized(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
