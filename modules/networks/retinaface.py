"""RetinaFace: where faces are in a picture, and their eyes, nose and corners of the mouth.

Deng et al. 2019 (arXiv:1905.00641). Its body is a ResNet or a small MobileNet, told apart and measured by the tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.filling import count, filled

MEAN = (104.0, 117.0, 123.0)
"""What is taken from blue, green and red (0…255) before the network sees them."""

STRIDES = (8, 16, 32)
SIDES = ((16, 32), (64, 128), (256, 512))
"""The squares, in pixels, that stand at every place of the three levels; a face is told relative to one of them."""

_OF_PLACE, _OF_SIZE = 0.1, 0.2  # the scales of what the network says about them: SSD's "variances"
_MOBILE_HALVINGS = {"stage1": (0, 2, 4), "stage2": (0,), "stage3": (0,)}


class RetinaFace(nn.Module):
    """Pixels (1, 3, H, W), blue first, 0…255, to boxes (N, 4), scores (N,) and landmarks (N, 5, 2).

    Boxes are left, top, right, bottom; all places are in pixels. N is the number of squares, two for each place of each
    level; most have a score near 0.
    """

    def __init__(self, body: nn.Module, taken: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = Pyramid(taken, width)
        self.ssh1, self.ssh2, self.ssh3 = (Context(width) for _ in STRIDES)
        self.ClassHead, self.BboxHead, self.LandmarkHead = (
            nn.ModuleList(Head(width, values) for _ in STRIDES) for values in (2, 4, 10)
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        height, width = pixels.shape[-2:]
        mean = torch.tensor(MEAN, device=pixels.device, dtype=pixels.dtype)
        levels = self.fpn(self.body(pixels - mean[:, None, None]))
        levels = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        classes, boxes, landmarks = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)])
            for heads in (self.ClassHead, self.BboxHead, self.LandmarkHead)
        )
        squares = squares_of(height, width).to(pixels)
        centres, sides = squares[:, :2], squares[:, 2:]
        middles = centres + boxes[:, :2] * _OF_PLACE * sides
        halves = sides * torch.exp(boxes[:, 2:] * _OF_SIZE) / 2
        points = centres[:, None] + landmarks.view(-1, 5, 2) * _OF_PLACE * sides[:, None]
        return torch.cat([middles - halves, middles + halves], dim=1), classes.softmax(dim=1)[:, 1], points


def squares_of(height: int, width: int) -> Tensor:
    """Centre and sides (x, y, w, h), in pixels, of the squares of a picture, in the order of the network's answers."""
    found = []
    for stride, sides in zip(STRIDES, SIDES, strict=True):
        rows, columns = (torch.arange(ceil(length / stride)) for length in (height, width))
        y, x = torch.meshgrid((rows + 0.5) * stride, (columns + 0.5) * stride, indexing="ij")
        for_each = [torch.stack([x, y, torch.full_like(x, side), torch.full_like(x, side)], dim=-1) for side in sides]
        found.append(torch.stack(for_each, dim=2).reshape(-1, 4))
    return torch.cat(found)


class Pyramid(nn.Module):
    """Three levels made equally wide; what the coarser see is added to the finer."""

    def __init__(self, taken: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_convolution(one, width, kernel=1) for one in taken)
        self.merge1, self.merge2 = (_convolution(width, width) for _ in range(2))

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.output1(levels[0]), self.output2(levels[1]), self.output3(levels[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[-2:]))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[-2:]))
        return fine, middle, coarse


class Context(nn.Module):
    """Three fields of view side by side, of 3, 5 and 7 pixels. Najibi et al. 2017 (arXiv:1708.03979): "SSH"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.conv3X3 = _convolution(width, half, is_rectified=False)
        self.conv5X5_1 = _convolution(width, quarter, slope=_slope(width))
        self.conv5X5_2 = _convolution(quarter, quarter, is_rectified=False)
        self.conv7X7_2 = _convolution(quarter, quarter, slope=_slope(width))
        self.conv7x7_3 = _convolution(quarter, quarter, is_rectified=False)

    def forward(self, x: Tensor) -> Tensor:
        wider = self.conv5X5_1(x)
        return F.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(wider), self.conv7x7_3(self.conv7X7_2(wider))], dim=1))


class Head(nn.Module):
    """So many values for each square of a level: (1, C, h, w) to (h · w · 2, values)."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(width, 2 * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(-1, self.values)


class MobileBody(nn.Module):
    """MobileNet: a convolution of each channel by itself, then one of single pixels. Howard et al. 2017."""

    def __init__(self, stages: Mapping[str, list[tuple[int, int]]]) -> None:
        super().__init__()
        for name, widths in stages.items():
            blocks = []
            for place, (taken, made) in enumerate(widths):
                stride = 2 if place in _MOBILE_HALVINGS[name] else 1
                is_first = name == "stage1" and place == 0
                blocks.append(_convolution(taken, made, stride=stride) if is_first else _separable(taken, made, stride))
            self.add_module(name, nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage1(x)
        middle = self.stage2(fine)
        return fine, middle, self.stage3(middle)


class ResidualBody(nn.Module):
    """ResNet with bottlenecks, without its classifier. He et al. 2015 (arXiv:1512.03385)."""

    def __init__(self, first: int, layers: list[list[tuple[int, int, int]]]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, first, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        for number, blocks in enumerate(layers, start=1):
            strides = [2 if number > 1 and place == 0 else 1 for place in range(len(blocks))]
            made = (Bottleneck(*widths, stride) for widths, stride in zip(blocks, strides, strict=True))
            self.add_module(f"layer{number}", nn.Sequential(*made))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        fine = self.layer2(self.layer1(x))
        middle = self.layer3(fine)
        return fine, middle, self.layer4(middle)


class Bottleneck(nn.Module):
    """A narrow convolution between two of single pixels, and the way around them."""

    def __init__(self, taken: int, narrow: int, made: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(taken, narrow, 1, bias=False), nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3, self.bn3 = nn.Conv2d(narrow, made, 1, bias=False), nn.BatchNorm2d(made)
        self.downsample = nn.Identity()
        if stride > 1 or taken != made:
            self.downsample = nn.Sequential(nn.Conv2d(taken, made, 1, stride=stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(inner)) + self.downsample(x))


def retinaface(tensors: Mapping[str, Tensor]) -> RetinaFace:
    """The network of a file's tensors, in float32 and ready to run; raises ValueError for another kind of file."""
    named = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    try:
        is_mobile = "body.stage1.0.0.weight" in named
        taken = tuple(named[f"fpn.output{number}.0.weight"].shape[1] for number in (1, 2, 3))
        width = named["fpn.output1.0.weight"].shape[0]
        build_body = _mobile_body(named) if is_mobile else _residual_body(named)
    except KeyError as error:
        raise ValueError(f"it lacks the tensor {error}, so it is no RetinaFace") from error
    return filled(lambda: RetinaFace(build_body(), taken, width), named)


def _mobile_body(tensors: Mapping[str, Tensor]) -> Callable[[], nn.Module]:
    def widths(stage: str, place: int) -> tuple[int, int]:
        first = tensors[f"body.{stage}.{place}.0.weight"]
        last = tensors.get(f"body.{stage}.{place}.3.weight", first)
        return last.shape[1], last.shape[0]

    stages = {
        stage: [widths(stage, place) for place in range(count(tensors, f"body.{stage}."))] for stage in _MOBILE_HALVINGS
    }
    return lambda: MobileBody(stages)


def _residual_body(tensors: Mapping[str, Tensor]) -> Callable[[], nn.Module]:
    def widths(block: str) -> tuple[int, int, int]:
        first, last = tensors[f"{block}.conv1.weight"], tensors[f"{block}.conv3.weight"]
        return first.shape[1], first.shape[0], last.shape[0]

    layers = [
        [widths(f"body.layer{number}.{place}") for place in range(count(tensors, f"body.layer{number}."))]
        for number in (1, 2, 3, 4)
    ]
    first = tensors["body.conv1.weight"].shape[0]
    return lambda: ResidualBody(first, layers)


def _slope(width: int) -> float:
    """Of the activations below zero: the narrow network, on MobileNet, has leaky ones."""
    return 0.1 if width <= 64 else 0.0


def _convolution(
    taken: int, made: int, *, kernel: int = 3, stride: int = 1, slope: float | None = None, is_rectified: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(taken, made, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(made),
    ]
    if is_rectified:
        layers.append(nn.LeakyReLU(_slope(made) if slope is None else slope))
    return nn.Sequential(*layers)


def _separable(taken: int, made: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(taken, taken, 3, stride=stride, padding=1, groups=taken, bias=False),
        nn.BatchNorm2d(taken),
        nn.LeakyReLU(0.1),
        nn.Conv2d(taken, made, 1, bias=False),
        nn.BatchNorm2d(made),
        nn.LeakyReLU(0.1),
    )
