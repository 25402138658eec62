"""CodeFormer: a face put together from a dictionary of face parts, which a transformer looks up.

Zhou et al. 2022 (arXiv:2206.11253). An encoder shrinks the face, a transformer guesses for each place which entry of
the dictionary would stand there had the face not been spoilt, a decoder draws those; with a weight, what the encoder
saw on its way is let into the drawing. Written from the paper and from the names of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules.networks.filling import count, filled

GROUPS = 32
HEAD_WIDTH = 64
LEAK = 0.2


class Block(NamedTuple):
    """One of the parts that encoder and decoder are rows of; `kind` is "residual", "attention", "resampling",
    "convolution" or "norm"."""

    kind: str
    taken: int
    made: int


class CodeFormer(nn.Module):
    """A face (1, 3, side, side) in -1…1 to the same face restored, about -1…1.

    `weight`, 0…1, says how true the result stays to what was given: with 0 it is the dictionary's alone. `dictionary`
    (entries, width) and `positions` (places, width) are shapes; `connections` are the sizes, in pixels, at which the
    encoder is let into the decoder, with their channels.
    """

    def __init__(
        self,
        encoder: list[Block],
        generator: list[Block],
        *,
        dictionary: tuple[int, int],
        positions: tuple[int, int],
        layers: int,
        inner: int,
        connections: Mapping[int, int],
    ) -> None:
        super().__init__()
        width = positions[1]
        self.encoder, self.generator = Row(encoder, factor=0.5), Row(generator, factor=2.0)
        self.quantize = nn.Module()
        self.quantize.embedding = Dictionary(*dictionary)
        self.position_emb = nn.Parameter(torch.zeros(positions))
        self.feat_emb = nn.Linear(dictionary[1], width)
        self.ft_layers = nn.ModuleList(TransformerLayer(width, inner) for _ in range(layers))
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dictionary[0], bias=False))
        self.fuse_convs_dict = nn.ModuleDict({str(size): Connection(made) for size, made in connections.items()})

    def forward(self, face: Tensor, weight: float) -> Tensor:
        seen: dict[int, Tensor] = {}
        x = face
        for block, following in zip(self.encoder.blocks, (*self.encoder.blocks[1:], None), strict=True):
            x = block(x)
            if isinstance(following, Resampling):  # the last look at this size
                seen[x.shape[-1]] = x
        x = _toned_like(self._looked_up(x), x)
        before = None
        for block in self.generator.blocks:
            x = block(x)
            if isinstance(before, Resampling) and weight > 0 and str(x.shape[-1]) in self.fuse_convs_dict:
                x = self.fuse_convs_dict[str(x.shape[-1])](seen[x.shape[-1]], x, weight)
            before = block
        return x

    def _looked_up(self, features: Tensor) -> Tensor:
        """The dictionary's entries for features (B, C, h, w), of the same shape."""
        x = self.feat_emb(features.flatten(2).transpose(1, 2))
        for layer in self.ft_layers:
            x = layer(x, self.position_emb)
        entries = self.quantize.embedding(self.idx_pred_layer(x).argmax(dim=-1))
        return entries.transpose(1, 2).unflatten(2, features.shape[-2:])


class Dictionary(nn.Module):
    """Entries by number."""

    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(entries, width))

    def forward(self, numbers: Tensor) -> Tensor:
        return self.weight[numbers]


class Row(nn.Module):
    def __init__(self, plan: list[Block], factor: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block(one, factor) for one in plan)


class Residual(nn.Module):
    def __init__(self, taken: int, made: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(taken), nn.Conv2d(taken, made, 3, padding=1)
        self.norm2, self.conv2 = _norm(made), nn.Conv2d(made, made, 3, padding=1)
        self.conv_out = nn.Conv2d(taken, made, 1) if taken != made else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(x)))
        return self.conv_out(x) + self.conv2(F.silu(self.norm2(inner)))


class Attention(nn.Module):
    """Of every place to every other, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        query, key, value = (part(normed).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        found = F.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(found.transpose(1, 2).reshape(x.shape))


class Resampling(nn.Module):
    """Half the size, padded below and to the right; or twice the size."""

    def __init__(self, width: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        halves = factor < 1
        self.conv = nn.Conv2d(width, width, 3, stride=2 if halves else 1, padding=0 if halves else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.factor < 1 else F.interpolate(x, scale_factor=self.factor))


class TransformerLayer(nn.Module):
    """Self-attention and two linear layers, each after a norm; places are told to queries and keys only."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, max(1, width // HEAD_WIDTH), batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        normed = self.norm1(x)
        placed = normed + positions
        x = x + self.self_attn(placed, placed, normed, need_weights=False)[0]
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Connection(nn.Module):
    """What the encoder saw, let into the decoder as a scale and a shift: "controllable feature transformation"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode_enc = Residual(2 * width, width)
        self.scale, self.shift = (
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(LEAK), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(2)
        )

    def forward(self, seen: Tensor, drawn: Tensor, weight: float) -> Tensor:
        both = self.encode_enc(torch.cat([seen, drawn], dim=1))
        return drawn + weight * (drawn * self.scale(both) + self.shift(both))


def codeformer(tensors: Mapping[str, Tensor]) -> CodeFormer:
    """The network of a file's tensors, in float32 and ready to run; raises ValueError for another kind of file."""
    try:
        sizes = {name.split(".")[1] for name in tensors if name.startswith("fuse_convs_dict.")}
        connections = {
            int(size): tensors[f"fuse_convs_dict.{size}.encode_enc.conv1.weight"].shape[0]
            for size in sorted(sizes, key=int)
        }
        rows = [_plan(tensors, row) for row in ("encoder", "generator")]
        shapes = {
            "dictionary": tuple(tensors["quantize.embedding.weight"].shape),
            "positions": tuple(tensors["position_emb"].shape),
            "inner": tensors["ft_layers.0.linear1.weight"].shape[0],
        }
    except KeyError as error:
        raise ValueError(f"it lacks the tensor {error}, so it is no CodeFormer") from error
    layers = count(tensors, "ft_layers.")
    return filled(lambda: CodeFormer(*rows, **shapes, layers=layers, connections=connections), tensors)


def _plan(tensors: Mapping[str, Tensor], row: str) -> list[Block]:
    """The blocks of a row, each known by the names of its tensors."""

    def block(place: int) -> Block:
        prefix = f"{row}.blocks.{place}"
        for kind, leaf in (("residual", "conv1"), ("attention", "q"), ("resampling", "conv")):
            if (weight := tensors.get(f"{prefix}.{leaf}.weight")) is not None:
                return Block(kind, weight.shape[1], weight.shape[0])
        weight = tensors[f"{prefix}.weight"]
        if weight.ndim == 1:
            return Block("norm", len(weight), len(weight))
        return Block("convolution", weight.shape[1], weight.shape[0])

    return [block(place) for place in range(count(tensors, f"{row}.blocks."))]


def _block(one: Block, factor: float) -> nn.Module:
    if one.kind == "residual":
        return Residual(one.taken, one.made)
    if one.kind == "attention":
        return Attention(one.made)
    if one.kind == "resampling":
        return Resampling(one.made, factor)
    return _norm(one.made) if one.kind == "norm" else nn.Conv2d(one.taken, one.made, 3, padding=1)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, width, eps=1e-6)


def _toned_like(x: Tensor, other: Tensor) -> Tensor:
    """`x` with each channel's mean and spread as in `other`. Huang et al. 2017 (arXiv:1703.06868): "AdaIN"."""

    def measured(one: Tensor) -> tuple[Tensor, Tensor]:
        flat = one.flatten(2)
        return flat.mean(dim=2)[..., None, None], (flat.var(dim=2) + 1e-5).sqrt()[..., None, None]

    (mean, spread), (wanted_mean, wanted_spread) = measured(x), measured(other)
    return (x - mean) / spread * wanted_spread + wanted_mean
