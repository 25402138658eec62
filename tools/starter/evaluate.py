"""Measures a starter checkpoint file: does it draw what the prompt says, and do guidance, strength and masks act?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tools.starter.architecture import DOWNSCALE
from tools.starter.autoencoder import flat_colour_error, psnr, reconstruct, to_tensor
from tools.starter.checkpoint import Checkpoint
from tools.starter.classifier import Classifier
from tools.starter.concepts import BACKGROUNDS, TINTS, Concept, article, is_held_out
from tools.starter.scenes import Painter, Placed, Scene, SceneSampler

EVALUATION_SEED = 424_242
CHROMATIC = 30
"""A pixel whose strongest and weakest channel differ by more than this (of 255) has a hue worth counting."""

SHEET_PROMPTS = tuple(
    """
    a red apple on a yellow background
    a cat
    a blue cat on a white background
    a dog and a cat
    a green car on a pink background
    a pizza on a gray background
    a rocket on a black background
    a penguin
    an owl on a purple background
    a house, green background
    a pink elephant
    a snowman on a blue background
    a banana and an apple
    a yellow duck on a cyan background
    a crown on a purple background
    a heart
    two cats
    three stars on a black background
    a small fox on an orange background
    a guitar
    a purple umbrella on a green background
    a train
    a cactus on a brown background
    a cup of coffee
    a fish on the left and a crab on the right
    a large lion
    a ghost on a black background
    an alien
    a strawberry on the left
    a robot at the top
    a blue rose
    a sunflower on a blue background
    a cake on a pink background
    cheese
    glasses on a white background
    a cyan backpack on a red background
    a castle on a cyan background
    an airplane, blue background
    a key and a lock
    a book on a brown background
    an orange frog
    a mushroom on a green background
    a bomb
    a whale on a yellow background
    a pig on a red background
    a unicorn on a purple background
    a gift and a balloon
    a planet on a black background
    """.replace("    ", "")
    .strip()
    .splitlines()
)


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, what was wanted (None: no gate), what was found."""

    name: str
    wanted: str
    found: str


class Judge:
    """Reads names and colours from pictures in -1..1."""

    def __init__(self, classifier: Classifier, concepts: Sequence[Concept]) -> None:
        self.classifier = classifier
        self.concepts = tuple(concepts)

    @torch.no_grad()
    def ranks(self, pictures: Tensor, names: Sequence[Concept]) -> Tensor:
        """Place of the right name in the classifier's order, 0 is first."""
        scores = self.classifier(pictures)
        wanted = torch.tensor([self.concepts.index(name) for name in names])
        return (scores > scores.gather(1, wanted[:, None])).sum(1)

    @torch.no_grad()
    def belief(self, pictures: Tensor, names: Sequence[Concept]) -> float:
        """Mean probability of the right name."""
        wanted = torch.tensor([self.concepts.index(name) for name in names])
        return float(self.classifier(pictures).softmax(1).gather(1, wanted[:, None]).mean())


def background_of(picture: Tensor) -> str:
    """The named colour nearest to the median of the picture's border."""
    nearest = [
        (sum((a - b) ** 2 for a, b in zip(_border(picture), rgb, strict=True)), name)
        for name, rgb in BACKGROUNDS.items()
    ]
    return min(nearest)[1]


def tint_of(picture: Tensor) -> str:
    """The tint whose hue is nearest to the mean hue of what is not background."""
    pixels = (picture.permute(1, 2, 0).reshape(-1, 3) + 1) * 127.5
    border = torch.tensor(_border(picture))
    is_object = (pixels - border).abs().amax(1) > 40
    chroma = pixels.amax(1) - pixels.amin(1)
    chosen = is_object & (chroma > CHROMATIC)
    if not bool(chosen.any()):
        return "none"
    angles = _hue(pixels[chosen])
    weight = chroma[chosen]
    mean = torch.atan2((angles.sin() * weight).sum(), (angles.cos() * weight).sum())
    named = _hue(torch.tensor(list(TINTS.values()), dtype=torch.float32))
    distance = 1 - torch.cos(named - mean)
    return list(TINTS)[int(distance.argmin())]


def contact_sheet(checkpoint: Checkpoint, path: Path, columns: int = 8, seed: int = 1) -> None:
    """The pictures of `SHEET_PROMPTS`, each with one fixed seed, as a JPEG or PNG at `path`."""
    pictures = checkpoint.generate(SHEET_PROMPTS, [seed + i for i in range(len(SHEET_PROMPTS))])
    save_grid(pictures, path, columns)


def save_grid(pictures: Tensor, path: Path, columns: int) -> None:
    rows = [torch.cat(list(row), -1) for row in pictures.split(columns)]
    grid = ((torch.cat(rows, -2).permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path)


class Evaluation:
    """Every figure of the table, each by its own method."""

    def __init__(self, checkpoint: Checkpoint, judge: Judge, painter: Painter) -> None:
        self.checkpoint = checkpoint
        self.judge = judge
        self.painter = painter
        self.size_px = checkpoint.architecture.size_px
        self.concepts = judge.concepts
        self._rng = np.random.default_rng(EVALUATION_SEED)

    def quick(self) -> list[Figure]:
        """Object, background and colour only, on fewer prompts."""
        return [*self.objects(48), *self.colours(40)]

    def full(self) -> list[Figure]:
        return [
            *self.objects(100),
            *self.colours(96),
            *self.pairs(48),
            *self.guidance(48),
            *self.negatives(),
            *self.from_pictures(32),
            *self.inpainting(48),
            *self.reconstruction(),
            self.speed(),
        ]

    def objects(self, count: int, cfg_scale: float = 5.0) -> list[Figure]:
        names = self._names(count)
        grounds = [list(BACKGROUNDS)[i % len(BACKGROUNDS)] for i in range(count)]
        prompts = [
            f"{name.with_article} on {article(ground)} background" for name, ground in zip(names, grounds, strict=True)
        ]
        pictures = self.checkpoint.generate(prompts, range(1000, 1000 + count), cfg_scale=cfg_scale)
        ranks = self.judge.ranks(pictures, names)
        right = sum(background_of(picture) == ground for picture, ground in zip(pictures, grounds, strict=True))
        different = len(set(names))
        return [
            Figure(
                f"object named first ({count} prompts, {different} objects)",
                ">= 70 %",
                _percent(float((ranks == 0).float().mean())),
            ),
            Figure("object among the first five", ">= 90 %", _percent(float((ranks < 5).float().mean()))),
            Figure(f"background colour ({len(BACKGROUNDS)} colours)", ">= 95 %", _percent(right / count)),
        ]

    def colours(self, count: int) -> list[Figure]:
        pairs = [(concept, tint) for concept in self.concepts for tint in TINTS]
        self._rng.shuffle(pairs)
        seen = [pair for pair in pairs if not is_held_out(pair[0].name, pair[1])]
        unseen = [pair for pair in pairs if is_held_out(pair[0].name, pair[1])]
        figures = []
        for label, wanted, chosen in (
            (f"object colour ({len(TINTS)} colours)", ">= 90 %", seen[:count]),
            ("object colour, pairs never trained on", "within 10 points", unseen[: count * 2 // 3]),
        ):
            prompts = [article(f"{tint} {concept.name}", concept.is_plural) for concept, tint in chosen]
            pictures = self.checkpoint.generate(prompts, range(2000, 2000 + len(prompts)))
            right = sum(tint_of(picture) == tint for picture, (_, tint) in zip(pictures, chosen, strict=True))
            painted = torch.stack([self._painted(concept, tint=tint) for concept, tint in chosen])
            ceiling = sum(tint_of(picture) == tint for picture, (_, tint) in zip(painted, chosen, strict=True))
            found = f"{_percent(right / len(chosen))} (painted scenes: {_percent(ceiling / len(chosen))})"
            figures.append(Figure(label, wanted, found))
            first = self.judge.ranks(pictures, [concept for concept, _ in chosen]) == 0
            figures.append(Figure(f"{label}: object named first", "-", _percent(float(first.float().mean()))))
        return figures

    def pairs(self, count: int) -> list[Figure]:
        left, right = self._names(count), self._names(count)
        prompts = [f"{a.with_article} and {b.with_article}" for a, b in zip(left, right, strict=True)]
        pictures = self.checkpoint.generate(prompts, range(3000, 3000 + count))
        both = self._both_found(pictures, left, right)
        painted = torch.stack([self._painted_pair(a, b) for a, b in zip(left, right, strict=True)])
        ceiling = self._both_found(painted, left, right)
        return [
            Figure(
                f"pairs: both found ({count} prompts)",
                ">= 60 %",
                f"{_percent(both)} (painted scenes: {_percent(ceiling)})",
            )
        ]

    def guidance(self, count: int) -> list[Figure]:
        figures = []
        for cfg_scale in (1.0, 3.0, 5.0, 7.5):
            first, _, ground = self.objects(count, cfg_scale)
            figures.append(
                Figure(
                    f"CFG {cfg_scale:g}: object first / background",
                    "rises from 1 to 5",
                    f"{first.found} / {ground.found}",
                )
            )
        return figures

    def negatives(self) -> list[Figure]:
        """Things that are red or yellow by themselves, with and without that colour as the negative prompt."""
        own = {
            "red": ("apple", "heart", "strawberry", "tomato", "ladybug"),
            "yellow": ("banana", "star", "cheese", "chick", "lemon"),
        }
        chosen = [(c, tint) for tint, names in own.items() for c in self.concepts if c.name in names for _ in range(3)]
        shares = []
        for is_negative in (False, True):
            right = 0
            for tint in own:
                prompts = [concept.with_article for concept, it in chosen if it == tint]
                if prompts:
                    pictures = self.checkpoint.generate(
                        prompts, range(4000, 4000 + len(prompts)), negative=tint if is_negative else ""
                    )
                    right += sum(tint_of(picture) == tint for picture in pictures)
            shares.append(right / max(len(chosen), 1))
        return [
            Figure(
                "own colour without / with it as negative", "falls", f"{_percent(shares[0])} / {_percent(shares[1])}"
            )
        ]

    def from_pictures(self, count: int) -> list[Figure]:
        before, after = self._names(count), self._names(count)
        source = torch.stack([self._painted(concept) for concept in before])
        prompts = [concept.with_article for concept in after]
        figures = []
        for strength in (0.2, 0.4, 0.6, 0.8):
            pictures = self.checkpoint.generate(prompts, range(5000, 5000 + count), source=source, strength=strength)
            same = psnr(pictures, source)
            belief = self.judge.belief(pictures, after)
            figures.append(
                Figure(
                    f"img2img at {strength}: PSNR to source / belief in prompt",
                    "falls / rises",
                    f"{same:.1f} dB / {belief:.2f}",
                )
            )
        return figures

    def inpainting(self, count: int) -> list[Figure]:
        before, after = self._names(count), self._names(count)
        source = torch.stack([self._painted(concept) for concept in before])
        side = self.size_px // DOWNSCALE
        border = max(1, side // 16)
        mask = torch.zeros(count, 1, side, side)
        mask[..., border:-border, border:-border] = 1
        prompts = [concept.with_article for concept in after]
        pictures = self.checkpoint.generate(prompts, range(6000, 6000 + count), source=source, mask=mask)
        wide = mask.repeat_interleave(DOWNSCALE, 2).repeat_interleave(DOWNSCALE, 3)
        pictures = pictures * wide + source * (1 - wide)
        first = float((self.judge.ranks(pictures, after) == 0).float().mean())
        outside = bool(((pictures == source) | (wide == 1)).all())
        found = f"{_percent(first)}, outside the mask {'identical' if outside else 'CHANGED'}"
        return [Figure(f"inpainting: masked object becomes the named one ({count})", ">= 60 %, identical", found)]

    def reconstruction(self) -> list[Figure]:
        scenes = SceneSampler(self.concepts, seed=990_005)
        pixels = to_tensor(np.stack([self.painter.paint(scenes.sample(), self.size_px) for _ in range(100)]))
        autoencoder = self.checkpoint.autoencoder
        flat = flat_colour_error(autoencoder, self.size_px)
        return [
            Figure(
                "autoencoder PSNR, held-out scenes",
                ">= 28 dB",
                f"{psnr(reconstruct(autoencoder, pixels), pixels):.1f} dB",
            ),
            Figure("autoencoder error on flat colours (0..1)", "< 0.02", f"{flat:.4f}"),
        ]

    def speed(self) -> Figure:
        self.checkpoint.generate(["a cat"], [1], steps=2)
        start = time.monotonic()
        self.checkpoint.generate(["a red apple on a yellow background"], [1])
        seconds = time.monotonic() - start
        name = f"one {self.size_px} px picture, 20 steps, {torch.get_num_threads()} threads"
        return Figure(name, "<= 3 s", f"{seconds:.2f} s")

    def _names(self, count: int) -> list[Concept]:
        """`count` concepts, each as often as any other to within one."""
        order: list[Concept] = []
        while len(order) < count:
            order += [self.concepts[i] for i in self._rng.permutation(len(self.concepts))]
        return order[:count]

    def _painted(self, concept: Concept, tint: str | None = None) -> Tensor:
        scene = Scene((Placed(concept, tint, 0.5, 0.5, 0.74),), "white", "one", concept.name)
        return to_tensor(self.painter.paint(scene, self.size_px)[None])[0]

    def _painted_pair(self, left: Concept, right: Concept) -> Tensor:
        places = (Placed(left, None, 0.25, 0.5, 0.46), Placed(right, None, 0.75, 0.5, 0.46))
        return to_tensor(self.painter.paint(Scene(places, "white", "pair", ""), self.size_px)[None])[0]

    def _both_found(self, pictures: Tensor, left: Sequence[Concept], right: Sequence[Concept]) -> float:
        half = self.size_px // 2
        found = torch.ones(len(pictures), dtype=torch.bool)
        for names, part in ((left, pictures[..., :half]), (right, pictures[..., half:])):
            square = torch.ones(len(pictures), 3, self.size_px, self.size_px)
            square *= torch.tensor([_border(picture) for picture in pictures])[:, :, None, None] / 127.5 - 1
            square[..., half // 2 : half // 2 + half] = part
            found &= self.judge.ranks(square, names) == 0
        return float(found.float().mean())


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| figure | wanted | found |", "|---|---|---|"]
    return "\n".join(lines + [f"| {it.name} | {it.wanted} | {it.found} |" for it in figures])


def _border(picture: Tensor) -> list[float]:
    """Median colour of the outermost two pixels, 0..255."""
    edge = torch.cat(
        [
            picture[:, :2].flatten(1),
            picture[:, -2:].flatten(1),
            picture[:, :, :2].flatten(1),
            picture[:, :, -2:].flatten(1),
        ],
        1,
    )
    return ((edge.median(1).values + 1) * 127.5).tolist()


def _hue(rgb: Tensor) -> Tensor:
    """Hue in radians of rows of red, green, blue."""
    red, green, blue = rgb.unbind(-1)
    return torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue)


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
