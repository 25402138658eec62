"""Pretrains the text encoder to tell scenes apart before the UNet needs it.

Trained together from nothing, the UNet learns to ignore captions. Here the encoder's output at the caption's end is
matched against an embedding of the scene's own description (InfoNCE), and every part of that description is read back
from it, so that names, colours and places start well separated.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.starter.architecture import Architecture
from tools.starter.concepts import BACKGROUNDS, CONCEPTS, TINTS, Concept
from tools.starter.scenes import LAYOUTS, MAX_OBJECTS, Scene, SceneSampler
from tools.starter.tokens import CompactVocabulary, with_fillers

CAPTION_TOKENS = 32
"""Captions end before this; by causality the tokens after need not be computed."""


class SceneTower(nn.Module):
    """Embeds a scene's labels (batch x parts) as the sum of learned vectors, through two layers."""

    def __init__(self, sizes: list[int], width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.mix = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, labels: Tensor) -> Tensor:
        return self.mix(torch.stack([part(labels[:, i]) for i, part in enumerate(self.parts)]).sum(0))


class TextObjective:
    """InfoNCE between captions and scenes, plus reading each part of the scene from the caption's end."""

    def __init__(self, architecture: Architecture, batch: int, concepts: tuple[Concept, ...] = CONCEPTS) -> None:
        self.concepts = concepts
        self.vocabulary = CompactVocabulary.of(concepts)
        self.batch = batch
        sizes = label_sizes(len(concepts))
        width = architecture.text_width
        encoder = architecture.text_encoder(len(self.vocabulary))
        self.networks = nn.ModuleDict(
            {
                "encoder": encoder,
                "tower": SceneTower(sizes, width),
                "readers": nn.ModuleList(nn.Linear(width, size) for size in sizes),
            }
        )
        self.scenes: SceneSampler | None = None
        held_out = SceneSampler(concepts, seed=990_002)
        self.held_out = [held_out.sample() for _ in range(512)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.networks.parameters())}]

    def loss(self, generator: torch.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        if self.scenes is None:
            self.scenes = SceneSampler(self.concepts, seed=int(torch.randint(2**31, (1,), generator=generator)))
        scenes = [self.scenes.sample() for _ in range(self.batch)]
        rows = [with_fillers(self.vocabulary.rows(it.caption), self.vocabulary.unknown, generator) for it in scenes]
        captions, towers, readings, labels = self._both(self.networks, scenes, rows)
        logits = captions @ towers.T * 14
        same = (labels[:, None] == labels[None]).all(-1) & ~torch.eye(len(labels), dtype=torch.bool)
        logits = logits.masked_fill(same, -1e4)
        target = torch.arange(len(scenes))
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        reading = sum(F.cross_entropy(part, labels[:, i]) for i, part in enumerate(readings))
        assert isinstance(reading, Tensor)
        return contrast + reading, {"contrast": float(contrast.detach()), "reading": float(reading.detach())}

    def report(self, averaged: nn.Module) -> dict[str, float]:
        assert isinstance(averaged, nn.ModuleDict)
        rows = [self.vocabulary.rows(it.caption) for it in self.held_out]
        captions, towers, readings, labels = self._both(averaged, self.held_out, rows)
        right = torch.stack([part.argmax(-1) == labels[:, i] for i, part in enumerate(readings)]).all(0)
        hits = []
        for start in range(0, len(captions), 128):
            found = (captions[start : start + 128] @ towers[start : start + 128].T).argmax(-1)
            wanted = labels[start : start + 128]
            hits.append((wanted[found] == wanted).all(-1).float().mean())
        return {"retrieval_of_128": float(torch.stack(hits).mean()), "read_whole": float(right.float().mean())}

    def _both(
        self, networks: nn.ModuleDict, scenes: list[Scene], rows: list[list[int]]
    ) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        labels = torch.tensor([scene_labels(it, self.concepts) for it in scenes])
        ids = self.vocabulary.pad(rows, CAPTION_TOKENS)
        hidden = networks["encoder"](ids).last_hidden_state
        ends = (ids == self.vocabulary.end).int().argmax(-1)
        end = hidden[torch.arange(len(ids)), ends]
        tower = F.normalize(networks["tower"](labels), dim=-1)
        return F.normalize(end, dim=-1), tower, [reader(end) for reader in networks["readers"]], labels


def label_sizes(concepts: int) -> list[int]:
    return [len(BACKGROUNDS), len(LAYOUTS), *[concepts + 1, len(TINTS) + 1] * MAX_OBJECTS]


def scene_labels(scene: Scene, concepts: tuple[Concept, ...]) -> list[int]:
    """Background, layout, then concept and tint of each place; absent things have the last number."""
    tints = list(TINTS)
    labels = [list(BACKGROUNDS).index(scene.background), LAYOUTS.index(scene.layout)]
    for place in range(MAX_OBJECTS):
        if place < len(scene.objects):
            it = scene.objects[place]
            labels += [concepts.index(it.concept), tints.index(it.tint) if it.tint else len(tints)]
        else:
            labels += [len(concepts), len(tints)]
    return labels
