"""A small network that names the object in a picture. It sees painted scenes only, never generated ones."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.starter.autoencoder import to_tensor
from tools.starter.concepts import Concept
from tools.starter.scenes import Painter, SceneSampler
from tools.starter.sprites import read_sprites

SIDE_PX = 64


class Classifier(nn.Module):
    """Pictures in -1..1 of any size to one score a concept."""

    def __init__(self, concepts: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels, stride in ((32, 2), (64, 2), (64, 1), (128, 2), (128, 1), (192, 2)):
            layers += [nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            before = channels
        self.features = nn.Sequential(*layers)
        self.scores = nn.Linear(before * 4, concepts)

    def forward(self, pixels: Tensor) -> Tensor:
        small = F.interpolate(pixels, (SIDE_PX, SIDE_PX), mode="area")
        return self.scores(F.adaptive_avg_pool2d(self.features(small), 2).flatten(1))


def train_classifier(path: Path, concepts: Sequence[Concept], sprites_file: Path, minutes: float, seed: int) -> float:
    """Trains for `minutes`, writes the weights to `path` and returns the accuracy on scenes not trained on."""
    torch.manual_seed(seed)
    network = Classifier(len(concepts))
    painter = Painter(read_sprites(concepts, sprites_file))
    scenes = SceneSampler(concepts, seed=seed + 77, tint_share=0.3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    generator = torch.Generator().manual_seed(seed)
    start = time.monotonic()
    while (progress := (time.monotonic() - start) / (minutes * 60)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - progress) + 1e-5
        pixels, names = _batch(painter, scenes, concepts, 64)
        with torch.autocast("cpu", torch.bfloat16):
            scores = network(_blurred(pixels, generator))
        loss = F.cross_entropy(scores.float(), names, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    torch.save(network.state_dict(), path)
    pixels, names = _batch(painter, SceneSampler(concepts, seed=990_004, tint_share=0.3), concepts, 1000)
    with torch.no_grad():
        return float((network(pixels).argmax(-1) == names).float().mean())


def read_classifier(path: Path, concepts: Sequence[Concept]) -> Classifier:
    network = Classifier(len(concepts))
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def _batch(painter: Painter, scenes: SceneSampler, concepts: Sequence[Concept], count: int) -> tuple[Tensor, Tensor]:
    kinds = ("one", "one", "placed", "sized")
    drawn = [scenes.sample(kinds[i % len(kinds)]) for i in range(count)]
    pixels = to_tensor(np.stack([painter.paint(scene, SIDE_PX) for scene in drawn]))
    return pixels, torch.tensor([concepts.index(scene.objects[0].concept) for scene in drawn])


def _blurred(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A random part of the batch made coarser, all of it a little noisy."""
    coarse = F.interpolate(F.interpolate(pixels, scale_factor=0.5, mode="area"), pixels.shape[-2:], mode="bilinear")
    share = torch.rand(len(pixels), 1, 1, 1, generator=generator)
    return pixels + (coarse - pixels) * share + 0.05 * torch.randn(pixels.shape, generator=generator)
