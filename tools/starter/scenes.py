"""Scenes: what is in a training picture, its caption, and how it is drawn. Every caption is true by construction.

The grammar here is the language the checkpoint understands: words that never occur in it do nothing useful.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tools.starter.concepts import BACKGROUNDS, RGB, TINTS, Concept, article, is_held_out
from tools.starter.sprites import Sprite

Pixels = NDArray[np.uint8]
"""Height x width x 3."""

COUNT_WORDS = {2: "two", 3: "three"}
MAX_OBJECTS = 3
LAYOUTS = ("one", "small", "large", "left", "right", "top", "bottom", "pair", "two", "three", "trio")
"""How the objects of a scene are arranged."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One object in a scene. Centre and size are fractions of the picture's side."""

    concept: Concept
    tint: str | None
    x: float
    y: float
    size: float
    flip: bool = False

    @property
    def words(self) -> str:
        return f"{self.tint} {self.concept.name}" if self.tint else self.concept.name


@dataclass(frozen=True, slots=True)
class Scene:
    objects: tuple[Placed, ...]
    background: str
    layout: str
    caption: str


_Drawn = tuple[str, str, tuple[Placed, ...]]
"""Layout, the caption's subject, the objects from left to right."""


class SceneSampler:
    """Draws random scenes: mostly one centred object or a pair, the hardest to learn; sizes, places, counts, trios."""

    KINDS: Mapping[str, float] = {
        "one": 0.43,
        "sized": 0.05,
        "placed": 0.06,
        "pair": 0.36,
        "count": 0.06,
        "trio": 0.04,
    }

    def __init__(
        self, concepts: Sequence[Concept], seed: int, tint_share: float = 0.4, plain_share: float = 0.35
    ) -> None:
        """`tint_share` of the objects get a colour, `plain_share` of the pictures keep a white background."""
        self.concepts = tuple(concepts)
        self.tint_share = tint_share
        self.plain_share = plain_share
        self._rng = np.random.default_rng(seed)

    def sample(self, kind: str | None = None) -> Scene:
        rng = self._rng
        kind = kind or str(rng.choice(list(self.KINDS), p=list(self.KINDS.values())))
        background = "white" if rng.random() < self.plain_share else str(rng.choice(list(BACKGROUNDS)))
        draw = {
            "one": self._one,
            "sized": self._sized,
            "placed": self._placed,
            "pair": self._pair,
            "count": self._count,
            "trio": self._trio,
        }[kind]
        layout, subject, objects = draw(background)
        return Scene(objects, background, layout, self._caption(subject, background, objects))

    def _pick(self, background: str, **where: float) -> Placed:
        rng = self._rng
        concept = self.concepts[rng.integers(len(self.concepts))]
        tint = None
        if rng.random() < self.tint_share:
            allowed = [name for name in TINTS if name != background and not is_held_out(concept.name, name)]
            tint = str(rng.choice(allowed))
        return Placed(concept, tint, flip=bool(rng.random() < 0.15), **where)

    def _near(self, value: float, spread: float) -> float:
        return float(value + self._rng.uniform(-spread, spread))

    def _one(self, background: str) -> _Drawn:
        size = self._near(0.74, 0.08)
        room = (1 - size) / 2 * 0.6
        placed = self._pick(background, x=self._near(0.5, room), y=self._near(0.5, room), size=size)
        return "one", article(placed.words, placed.concept.is_plural), (placed,)

    def _sized(self, background: str) -> _Drawn:
        word, size = ("small", 0.36) if self._rng.random() < 0.5 else ("large", 0.95)
        size = self._near(size, 0.03)
        placed = self._pick(background, x=self._near(0.5, 0.03), y=self._near(0.5, 0.03), size=size)
        return word, article(f"{word} {placed.words}", placed.concept.is_plural), (placed,)

    def _placed(self, background: str) -> _Drawn:
        where, x, y = [
            ("on the left", 0.26, 0.5),
            ("on the right", 0.74, 0.5),
            ("at the top", 0.5, 0.26),
            ("at the bottom", 0.5, 0.74),
        ][self._rng.integers(4)]
        placed = self._pick(background, x=self._near(x, 0.02), y=self._near(y, 0.02), size=self._near(0.46, 0.03))
        return where.split()[-1], f"{article(placed.words, placed.concept.is_plural)} {where}", (placed,)

    def _row(self, background: str, count: int) -> list[Placed]:
        side = {2: 0.46, 3: 0.31}[count]
        return [
            self._pick(
                background,
                x=self._near((index + 0.5) / count, 0.01),
                y=self._near(0.5, 0.06),
                size=self._near(side, 0.02),
            )
            for index in range(count)
        ]

    def _pair(self, background: str) -> _Drawn:
        row = self._row(background, 2)
        first, second = (article(placed.words, placed.concept.is_plural) for placed in row)
        if self._rng.random() < 0.2:
            return "pair", f"{first} on the left and {second} on the right", tuple(row)
        return "pair", f"{first} and {second}", tuple(row)

    def _trio(self, background: str) -> _Drawn:
        row = self._row(background, 3)
        first, second, third = (article(placed.words, placed.concept.is_plural) for placed in row)
        return "trio", f"{first}, {second} and {third}", tuple(row)

    def _count(self, background: str) -> _Drawn:
        count = int(self._rng.integers(2, MAX_OBJECTS + 1))
        row = self._row(background, count)
        first = row[0]
        same = tuple(Placed(first.concept, first.tint, it.x, it.y, it.size, first.flip) for it in row)
        plural = f"{first.tint} {first.concept.plural}" if first.tint else first.concept.plural
        return COUNT_WORDS[count], f"{COUNT_WORDS[count]} {plural}", same

    def _caption(self, subject: str, background: str, objects: tuple[Placed, ...]) -> str:
        rng = self._rng
        is_plain = background == "white" and rng.random() < 0.6
        if rng.random() < 0.2 and len(objects) == 1:
            subject = subject.removeprefix("an ").removeprefix("a ")
        if is_plain:
            return subject
        if rng.random() < 0.25:
            return f"{subject}, {background} background"
        return f"{subject} on {article(background)} background"


class Painter:
    """Draws scenes from sprites; keeps tinted sprites so that each is computed once."""

    def __init__(self, sprites: Sequence[Sprite]) -> None:
        self._sprites = {sprite.concept.name: sprite.image for sprite in sprites}
        self._tinted: dict[tuple[str, str | None], Image.Image] = {}

    def paint(self, scene: Scene, size_px: int) -> Pixels:
        canvas = Image.new("RGB", (size_px, size_px), BACKGROUNDS[scene.background])
        for placed in scene.objects:
            side = max(1, round(placed.size * size_px))
            image = self._sprite(placed.concept.name, placed.tint).resize((side, side), Image.Resampling.BOX)
            if placed.flip:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            corner = (round(placed.x * size_px - side / 2), round(placed.y * size_px - side / 2))
            self._put(canvas, image, corner)
        return np.asarray(canvas)

    def _put(self, canvas: Image.Image, image: Image.Image, corner: tuple[int, int]) -> None:
        canvas.paste(image, corner, image)

    def _sprite(self, concept: str, tint: str | None) -> Image.Image:
        key = (concept, tint)
        if key not in self._tinted:
            sprite = self._sprites[concept]
            self._tinted[key] = sprite if tint is None else tinted(sprite, TINTS[tint])
        return self._tinted[key]


class OutlinePainter(Painter):
    """Draws a thick black line around every object: the style of the LoRA."""

    LINE_SHARE = 0.035
    """The line's width as a share of the picture's side."""

    def _put(self, canvas: Image.Image, image: Image.Image, corner: tuple[int, int]) -> None:
        line = max(1, round(self.LINE_SHARE * canvas.width))
        wide = Image.new("L", (image.width + 2 * line, image.height + 2 * line))
        wide.paste(image.getchannel("A"), (line, line))
        canvas.paste((0, 0, 0), (corner[0] - line, corner[1] - line), wide.filter(ImageFilter.MaxFilter(2 * line + 1)))
        super()._put(canvas, image, corner)


def tinted(image: Image.Image, colour: RGB) -> Image.Image:
    """`image` in shades of `colour`: its light and dark kept (stretched to the full range), its hues replaced."""
    rgba = np.asarray(image).astype(np.float32) / 255
    opaque = rgba[..., 3] > 0.5
    light = rgba[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    low, high = np.quantile(light[opaque], [0.03, 0.97])
    light = np.clip((light - low) / max(high - low, 0.25), 0, 1)[..., None]
    target = np.array(colour, np.float32) / 255
    dark = target * (0.35 + 0.65 * np.clip(light / 0.6, 0, 1))
    bright = target + (1 - target) * 0.55 * np.clip((light - 0.6) / 0.4, 0, 1)
    rgb = np.where(light < 0.6, dark, bright)
    shaded = np.concatenate([rgb, rgba[..., 3:]], -1)
    return Image.fromarray((shaded * 255).round().astype(np.uint8))
