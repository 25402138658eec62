"""How a family's text towers together tell its network about a text; the one place that knows families apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from modules.conditioning.outputs import TowerOutput
from modules.generation.part import Size
from modules.models.loaded import LoadedModel, TextTower
from modules.registry import Registry
from modules.settings.stable_diffusion import GenerationOptions

SIZE_EMBEDDING_WIDTH = 256


class Row(NamedTuple):
    """One text's conditioning: crossattn (T, C) and vector (D,) or None."""

    crossattn: Tensor
    vector: Tensor | None


@dataclass(frozen=True)
class EncodedTexts:
    """The conditioning of the distinct texts of one schedule: crossattn (n, T, C) and vector (n, D) or None."""

    crossattn: Tensor
    vector: Tensor | None = None

    def row(self, index: int) -> Row:
        return Row(self.crossattn[index], None if self.vector is None else self.vector[index])


@dataclass(frozen=True)
class Surroundings:
    """What a text is told besides itself.

    `size` of this pass in pixels, crop corner, aesthetic score; `zeroed` for the negative prompts of a batch in which
    all of them are empty.
    """

    size: Size
    crop_top: int = 0
    crop_left: int = 0
    aesthetic_score: float = 6.0
    zeroed: bool = False


class Layout(Protocol):
    """One family's way of telling its network about texts.

    `joins_emphasis`: the mean that emphasis restores is that of all towers' states together.
    """

    joins_emphasis: bool

    def clip_skip(self, tower: TextTower, asked: int, options: GenerationOptions) -> int:
        """The clip skip to hand to `tower`."""
        ...

    def assemble(self, outputs: Sequence[TowerOutput], around: Surroundings) -> EncodedTexts:
        """The conditioning of the n texts in `outputs` (one entry a tower)."""
        ...


class OneTower:
    """SD 1, SD 2 and latent diffusion: the only tower's hidden states. SD 2's tower ignores clip skip by itself."""

    joins_emphasis = False

    def clip_skip(self, tower: TextTower, asked: int, options: GenerationOptions) -> int:
        return asked

    def assemble(self, outputs: Sequence[TowerOutput], around: Surroundings) -> EncodedTexts:
        (only,) = outputs
        return EncodedTexts(only.hidden)


@dataclass(frozen=True)
class Sdxl:
    """SDXL and its refiner (Podell et al. 2023, arXiv:2307.01952, section 2.2).

    Hidden states of all towers side by side; the vector is the last tower's pooled text and then sinusoids of original
    size, crop corner and target size (refiner: aesthetic score in place of the target size), each as (height, width).
    """

    is_refiner: bool = False
    joins_emphasis: ClassVar[bool] = False

    def clip_skip(self, tower: TextTower, asked: int, options: GenerationOptions) -> int:
        """CLIP-L stops at its last layer but one, unless the setting `sdxl_clip_l_skip` lets clip skip decide."""
        return asked if options.sdxl_clip_l_skip else 2

    def assemble(self, outputs: Sequence[TowerOutput], around: Surroundings) -> EncodedTexts:
        crossattn = torch.cat([output.hidden for output in outputs], dim=-1)
        pooled = outputs[-1].pooled
        if pooled is None:
            raise ValueError("the last text tower of an SDXL model gave no pooled vector")
        if around.zeroed:
            crossattn, pooled = torch.zeros_like(crossattn), torch.zeros_like(pooled)
        height, width = around.size.height, around.size.width
        ending = [around.aesthetic_score] if self.is_refiner else [height, width]
        numbers = torch.tensor([height, width, around.crop_top, around.crop_left, *ending], dtype=torch.float32)
        sizes = sinusoids(numbers.to(pooled.device)).flatten().to(pooled.dtype)
        vector = torch.cat([pooled, sizes.expand(pooled.shape[0], -1)], dim=-1)
        return EncodedTexts(crossattn, vector)


@dataclass(frozen=True)
class Sd3:
    """SD 3 (Esser et al. 2024, arXiv:2403.03206, section 4.3): CLIP-L's and bigG's states side by side, filled up with
    zeros to `width`; behind them as many tokens of T5, zeros where it is not used. The vector is both pooled texts.
    """

    width: int
    joins_emphasis: ClassVar[bool] = True

    def clip_skip(self, tower: TextTower, asked: int, options: GenerationOptions) -> int:
        """Both towers stop at their last layer but one by themselves."""
        return asked

    def assemble(self, outputs: Sequence[TowerOutput], around: Surroundings) -> EncodedTexts:
        small, big, *passages = outputs
        clip = torch.cat([small.hidden, big.hidden], dim=-1)
        clip = torch.nn.functional.pad(clip, (0, self.width - clip.shape[-1]))
        passage = passages[0].hidden.to(clip) if passages else torch.zeros_like(clip)
        if small.pooled is None or big.pooled is None:
            raise ValueError("a CLIP text tower of an SD 3 model gave no pooled vector")
        return EncodedTexts(torch.cat([clip, passage], dim=1), torch.cat([small.pooled, big.pooled], dim=-1))


LAYOUTS: Registry[Callable[[LoadedModel], Layout]] = Registry("text layout of a model family")
LAYOUTS.add("sd1", lambda model: OneTower())
LAYOUTS.add("sd2", lambda model: OneTower())
LAYOUTS.add("ldm", lambda model: OneTower())
LAYOUTS.add("x4-upscaler", lambda model: OneTower())
LAYOUTS.add("sdxl", lambda model: Sdxl(is_refiner=model.variant == "refiner"))
LAYOUTS.add("sd3", lambda model: Sd3(model.context_width))


def layout_for(model: LoadedModel) -> Layout:
    """The layout of the model's family; raises UnknownName when the family has none."""
    return LAYOUTS.get(model.family)(model)


def sinusoids(numbers: Tensor, width: int = SIZE_EMBEDDING_WIDTH) -> Tensor:
    """Numbers (n,) as (n, width): cosines, then sines, of number * 10000 ** (-i / half), i < half = width / 2."""
    half = width // 2
    frequencies = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(half, dtype=torch.float32) / half)
    angles = numbers[:, None].float() * frequencies.to(numbers.device)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
