"""Networks for faces made small, in the layouts of the real files, and some whose answers are known beforehand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modules.images.faces import TEMPLATE
from tests.support.layouts import Layout, prefixed

Tensors = dict[str, Tensor]


def patterned(layout: Layout) -> Tensors:
    """Tensors that are the same on every machine: sines of uneven steps, so strong that activations keep their size."""
    tensors = {}
    for place, (name, shape) in enumerate(layout.items()):
        wave = np.sin(np.arange(math.prod(shape)) * 0.7391 + place * 1.37) * np.sqrt(2)
        if name.endswith("running_var"):
            values = 1 + 0.2 * wave
        elif len(shape) == 1:
            values = 0.1 * wave + name.endswith("weight")
        else:
            values = wave / np.sqrt(math.prod(shape[2:] if len(shape) == 5 else shape[1:]))
        tensors[name] = torch.from_numpy(values.reshape(shape).astype(np.float32))
    return tensors


def _conv(name: str, made: int, taken: int, kernel: int = 3, *, bias: bool = True) -> Layout:
    return {f"{name}.weight": (made, taken, kernel, kernel)} | ({f"{name}.bias": (made,)} if bias else {})


def _linear(name: str, made: int, taken: int) -> Layout:
    return {f"{name}.weight": (made, taken), f"{name}.bias": (made,)}


def _norm(name: str, width: int) -> Layout:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _batch_norm(name: str, width: int) -> Layout:
    return _norm(name, width) | {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}


def _normed(name: str, made: int, taken: int, kernel: int = 3, *, at: int = 0) -> Layout:
    layout = _conv(f"{name}.{at}", made, taken, kernel, bias=False)
    return layout | _batch_norm(f"{name}.{at + 1}", made)


# RetinaFace


def mobile_body(
    *, first: int = 8, stages: tuple[tuple[int, ...], ...] = ((16, 32, 32, 64, 64), (128,) * 6, (256,) * 2)
):
    """MobileNet's; the sizes are those of the real detection_mobilenet0.25_Final.pth."""
    layout, taken = _normed("stage1.0", first, 3), first
    for number, widths in enumerate(stages, start=1):
        for place, made in enumerate(widths, start=1 if number == 1 else 0):
            block = f"stage{number}.{place}"
            layout |= _normed(block, taken, 1) | _normed(block, made, taken, 1, at=3)
            taken = made
    return prefixed("body.", layout), tuple(widths[-1] for widths in stages)


def residual_body(*, width: int = 4, blocks: tuple[int, ...] = (1, 2, 1, 1)):
    """ResNet's with bottlenecks; the real detection_Resnet50_Final.pth has a width of 64 and (3, 4, 6, 3) blocks."""
    layout, taken, made = _conv("conv1", width, 3, 7, bias=False) | _batch_norm("bn1", width), width, []
    for number, count in enumerate(blocks, start=1):
        narrow = width * 2 ** (number - 1)
        for place in range(count):
            block = f"layer{number}.{place}"
            for part, (out, into, kernel) in enumerate(
                ((narrow, taken, 1), (narrow, narrow, 3), (4 * narrow, narrow, 1)), start=1
            ):
                layout |= _conv(f"{block}.conv{part}", out, into, kernel, bias=False)
                layout |= _batch_norm(f"{block}.bn{part}", out)
            if place == 0:
                layout |= _normed(f"{block}.downsample", 4 * narrow, taken, 1)
            taken = 4 * narrow
        made.append(taken)
    return prefixed("body.", layout), tuple(made[1:])


def retinaface_layout(body: Layout, taken: tuple[int, ...], width: int = 64) -> Layout:
    layout = dict(body)
    for number, one in enumerate(taken, start=1):
        layout |= _normed(f"fpn.output{number}", width, one, 1)
    layout |= _normed("fpn.merge1", width, width) | _normed("fpn.merge2", width, width)
    half, quarter = width // 2, width // 4
    for number in (1, 2, 3):
        layout |= _normed(f"ssh{number}.conv3X3", half, width) | _normed(f"ssh{number}.conv5X5_1", quarter, width)
        for name in ("conv5X5_2", "conv7X7_2", "conv7x7_3"):
            layout |= _normed(f"ssh{number}.{name}", quarter, quarter)
    for head, values in (("ClassHead", 2), ("BboxHead", 4), ("LandmarkHead", 10)):
        for place in range(3):
            layout |= _conv(f"{head}.{place}.conv1x1", 2 * values, width, 1)
    return layout


FACE_SIDE = 96.0
"""Pixels of the box that the planted detector draws around a face; its points are FFHQ's in a square of that size."""


def planted_detector(*, always_at: tuple[int, int] | None = None, side: float = FACE_SIDE) -> Tensors:
    """A detector that finds a face wherever a pixel at a multiple of 8 is purely red, on pictures of 640 pixels.

    The face's middle is 4 pixels right of and below that pixel. `always_at` (x, y) is where the one face is that it
    finds whatever the picture shows.
    """
    body, taken = mobile_body(first=4, stages=((4, 4, 4, 4, 4), (4,), (4,)))
    layout = retinaface_layout(body, taken, width=8)
    tensors = {}
    for name, shape in layout.items():
        is_one = name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight"))
        tensors[name] = torch.ones(shape) if is_one else torch.zeros(shape)
    passing = [name for name, shape in layout.items() if len(shape) == 4 and name.startswith(("body.stage1.", "fpn.m"))]
    for name in (*passing, "fpn.output1.0.weight", "ssh1.conv3X3.0.weight"):
        middle = tensors[name].shape[-1] // 2
        tensors[name][0, 0, middle, middle] = 1.0
    first = tensors["body.stage1.0.0.weight"]
    first[0, :, 1, 1] = torch.tensor([-0.5, -0.5, 1.0]) / 100  # blue, green, red, each less its mean: 2.4 for pure red
    shift = torch.zeros(2)
    if always_at is not None:  # a constant, of which only the corner has nothing above it nor left of it
        tensors["body.stage1.5.4.bias"][1] = 2.4
        tensors["fpn.output1.0.weight"][1, 1] = 1.0
        tensors["fpn.merge1.0.weight"][0] = 0.0
        tensors["fpn.merge1.0.weight"][0, 1] = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        shift = torch.tensor(always_at) - 4.0
    for level in range(3):
        tensors[f"ClassHead.{level}.conv1x1.bias"][[0, 2]] = 20.0  # "no face", of both squares
    tensors["ClassHead.0.conv1x1.weight"][1, 0] = 20.0  # of the first square, 16 pixels wide
    tensors["BboxHead.0.conv1x1.bias"][:2] = shift / (0.1 * 16)
    tensors["BboxHead.0.conv1x1.bias"][2:4] = math.log(side / 16) / 0.2
    points = torch.from_numpy((TEMPLATE / 512 - 0.5) * side) + shift
    tensors["LandmarkHead.0.conv1x1.bias"][:10] = points.flatten().float() / (0.1 * 16)
    return tensors


# GFPGAN


def gfpgan_layout(*, side: int = 512, width: int = 2, style: int = 4, mapping: int = 1) -> Layout:
    """All levels equally wide; the U-Net has half of StyleGAN's channels, `width`."""
    levels = side.bit_length() - 3
    layout = _conv("conv_body_first", width, 3, 1) | _conv("final_conv", width, width)
    layout |= _linear("final_linear", (2 * levels + 2) * style, 16 * width)
    for place in range(levels):
        for way in ("conv_body_down", "conv_body_up"):
            layout |= _conv(f"{way}.{place}.conv1", width, width) | _conv(f"{way}.{place}.conv2", width, width)
            layout |= _conv(f"{way}.{place}.skip", width, width, 1, bias=False)
        layout |= _conv(f"toRGB.{place}", 3, width, 1)
        for name in ("condition_scale", "condition_shift"):
            layout |= _conv(f"{name}.{place}.0", width, width) | _conv(f"{name}.{place}.2", width, width)
    return layout | prefixed("stylegan_decoder.", _stylegan(levels, 2 * width, style, mapping))


def _stylegan(levels: int, width: int, style: int, mapping: int) -> Layout:
    def modulated(name: str, made: int, kernel: int) -> Layout:
        inner = f"{name}.modulated_conv"
        layout = {f"{inner}.weight": (1, made, width, kernel, kernel)} | _linear(f"{inner}.modulation", width, style)
        return layout | {f"{name}.bias": (1, made, 1, 1)}

    layout: Layout = {"constant_input.weight": (1, width, 4, 4)}
    for place in range(mapping):
        layout |= _linear(f"style_mlp.{2 * place + 1}", style, style)
    for name in ("style_conv1", *(f"style_convs.{place}" for place in range(2 * levels))):
        layout |= modulated(name, width, 3) | {f"{name}.weight": (1,)}
    for name in ("to_rgb1", *(f"to_rgbs.{place}" for place in range(levels))):
        layout |= modulated(name, 3, 1)
    for number in range(2 * levels + 1):
        side = 2 ** ((number + 5) // 2)
        layout[f"noises.noise{number}"] = (1, 1, side, side)
    return layout


def painting_gfpgan(color: tuple[float, float, float]) -> Tensors:
    """A GFPGAN that paints every face in one colour, each part in -1…1."""
    tensors = {name: torch.zeros(shape) for name, shape in gfpgan_layout().items()}
    last = max(int(name.split(".")[2]) for name in tensors if name.startswith("stylegan_decoder.to_rgbs."))
    tensors[f"stylegan_decoder.to_rgbs.{last}.bias"][:] = torch.tensor(color).view(1, 3, 1, 1)
    return tensors


# CodeFormer


def codeformer_layout(
    *, halvings: int = 5, width: int = 32, code: int = 32, entries: int = 4, places: int = 256, inner: int = 8
) -> Layout:
    """Encoder and decoder with one residual block a size, all equally wide, and a connection at the largest size."""
    encoder = ["conv", *["residual", "change"] * halvings, "residual", "attention", "norm", "conv"]
    generator = ["conv", "residual", "attention", *["change", "residual"] * halvings, "norm", "conv"]
    layout: Layout = {"position_emb": (places, width), "quantize.embedding.weight": (entries, code)}
    layout |= _linear("feat_emb", width, code)
    layout |= {"ft_layers.0.self_attn.in_proj_weight": (3 * width, width)}
    layout |= {"ft_layers.0.self_attn.in_proj_bias": (3 * width,)}
    layout |= _linear("ft_layers.0.self_attn.out_proj", width, width)
    layout |= _linear("ft_layers.0.linear1", inner, width) | _linear("ft_layers.0.linear2", width, inner)
    layout |= _norm("ft_layers.0.norm1", width) | _norm("ft_layers.0.norm2", width)
    layout |= _norm("idx_pred_layer.0", width) | {"idx_pred_layer.1.weight": (entries, width)}
    layout |= _row("encoder.blocks", encoder, 3, width, code) | _row("generator.blocks", generator, code, width, 3)
    joined = f"fuse_convs_dict.{int(places**0.5) * 2**halvings // 2}"
    layout |= _residual(f"{joined}.encode_enc", width, 2 * width)
    for name in ("scale", "shift"):
        layout |= _conv(f"{joined}.{name}.0", width, width) | _conv(f"{joined}.{name}.2", width, width)
    return layout


def _row(name: str, kinds: list[str], taken: int, width: int, made: int) -> Layout:
    layout: Layout = {}
    for place, kind in enumerate(kinds):
        block = f"{name}.{place}"
        if kind == "residual":
            layout |= _residual(block, width, width)
        elif kind == "attention":
            layout |= _norm(f"{block}.norm", width)
            for part in ("q", "k", "v", "proj_out"):
                layout |= _conv(f"{block}.{part}", width, width, 1)
        elif kind == "norm":
            layout |= _norm(block, width)
        elif kind == "change":
            layout |= _conv(f"{block}.conv", width, width)
        else:
            is_first = place == 0
            layout |= _conv(block, width if is_first else made, taken if is_first else width)
    return layout


def _residual(name: str, made: int, taken: int) -> Layout:
    layout = _norm(f"{name}.norm1", taken) | _conv(f"{name}.conv1", made, taken)
    layout |= _norm(f"{name}.norm2", made) | _conv(f"{name}.conv2", made, made)
    return layout | (_conv(f"{name}.conv_out", made, taken, 1) if made != taken else {})


def painting_codeformer(color: tuple[float, float, float]) -> Tensors:
    """A CodeFormer that paints every face in one colour, each part in -1…1, whatever the weight."""
    layout = codeformer_layout(halvings=5)
    tensors = {name: torch.zeros(shape) for name, shape in layout.items()}
    last = max(int(name.split(".")[2]) for name in tensors if name.startswith("generator.blocks."))
    tensors[f"generator.blocks.{last}.bias"][:] = torch.tensor(color)
    return tensors


# ParseNet


def parsenet_layout(*, width: int = 32, halvings: int = 1, body: int = 2, labels: int = 19) -> Layout:
    """As `width` channels everywhere; the real one has 64 to 256 channels and four halvings."""

    def block(name: str, *, resampled: bool) -> Layout:
        layout = _conv(f"{name}.shortcut_func.conv2d", width, width) if resampled else {}
        for part in ("conv1", "conv2"):
            layout |= _conv(f"{name}.{part}.conv2d", width, width, bias=False)
            layout |= _batch_norm(f"{name}.{part}.norm.norm", width)
        return layout

    layout = _conv("encoder.0.conv2d", width, 3)
    for place in range(halvings):
        layout |= block(f"encoder.{place + 1}", resampled=True) | block(f"decoder.{place}", resampled=True)
    for place in range(body):
        layout |= block(f"body.{place}", resampled=False)
    return layout | _conv("out_img_conv.conv2d", 3, width) | _conv("out_mask_conv.conv2d", labels, width)


def write(folder: Path, **networks: Tensors) -> Path:
    """Save networks into a folder as PyTorch files: `write(folder, GFPGANv1_4=tensors)` makes GFPGANv1.4.pth."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in networks.items():
        torch.save({"params_ema": tensors}, folder / f"{name.replace('v1_', 'v1.')}.pth")
    return folder
