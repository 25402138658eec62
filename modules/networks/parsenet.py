"""ParseNet: which part of a face every pixel shows, so that a restored face is pasted along its own outline.

Chen et al. 2020 (arXiv:2009.08709), with the labels of CelebAMask-HQ.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.filling import count, filled

LEAK = 0.2
SURROUNDINGS = (0, 14, 16, 17, 18)
"""The labels that are no part of the face itself: background, neck and what is worn there, hair, hat."""


class ParseNet(nn.Module):
    """A face (1, 3, side, side) in -1…1 to how likely each label is at each pixel, (1, labels, side, side)."""

    def __init__(self, first: int, down: list[tuple[int, int]], body: int, up: list[tuple[int, int]], labels: int):
        super().__init__()
        deepest, last = down[-1][1], up[-1][1]
        self.encoder = nn.Sequential(Padded(3, first), *(Residual(*widths, "down") for widths in down))
        self.body = nn.Sequential(*(Residual(deepest, deepest) for _ in range(body)))
        self.decoder = nn.Sequential(*(Residual(*widths, "up") for widths in up))
        self.out_img_conv = Padded(last, 3)  # for training; in the files
        self.out_mask_conv = Padded(last, labels)

    def forward(self, face: Tensor) -> Tensor:
        x = self.encoder(face)
        return self.out_mask_conv(self.decoder(x + self.body(x)))


class Padded(nn.Module):
    """A convolution whose borders are mirrored; "up" doubles the size before it, "down" halves it in it."""

    def __init__(
        self, taken: int, made: int, change: str = "", *, is_normalised: bool = False, is_rectified: bool = False
    ) -> None:
        super().__init__()
        self.change, self.is_rectified = change, is_rectified
        self.conv2d = nn.Conv2d(taken, made, 3, stride=2 if change == "down" else 1, bias=not is_normalised)
        self.norm = Normalised(made) if is_normalised else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.change == "up":
            x = F.interpolate(x, scale_factor=2.0)
        x = self.norm(self.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect")))
        return F.leaky_relu(x, LEAK) if self.is_rectified else x


class Normalised(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Residual(nn.Module):
    def __init__(self, taken: int, made: int, change: str = "") -> None:
        super().__init__()
        self.shortcut_func = Padded(taken, made, change) if change or taken != made else nn.Identity()
        before, after = (change, "") if change == "up" else ("", change)
        self.conv1 = Padded(taken, made, before, is_normalised=True, is_rectified=True)
        self.conv2 = Padded(made, made, after, is_normalised=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_func(x) + self.conv2(self.conv1(x))


def parsenet(tensors: Mapping[str, Tensor]) -> ParseNet:
    """The network of a file's tensors, in float32 and ready to run; raises ValueError for another kind of file."""

    def widths(block: str) -> tuple[int, int]:
        made, taken = tensors[f"{block}.conv1.conv2d.weight"].shape[:2]
        return taken, made

    try:
        first = tensors["encoder.0.conv2d.weight"].shape[0]
        down = [widths(f"encoder.{place}") for place in range(1, count(tensors, "encoder."))]
        up = [widths(f"decoder.{place}") for place in range(count(tensors, "decoder."))]
        labels = tensors["out_mask_conv.conv2d.weight"].shape[0]
    except KeyError as error:
        raise ValueError(f"it lacks the tensor {error}, so it is no ParseNet") from error
    return filled(lambda: ParseNet(first, down, count(tensors, "body."), up, labels), tensors)
