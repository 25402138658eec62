"""Fetches the emoji pictures from npm and turns them into square RGBA sprites, one a concept."""

import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tools.starter.concepts import Concept

FLUENT = "@lobehub/fluent-emoji-3d@1.1.0"
EMOJIBASE = "emojibase-data@17.0.0"
SPRITE_PX = 160


@dataclass(frozen=True)
class Sprite:
    """A picture of one concept, cut to its outline and centred on a transparent square."""

    concept: Concept
    image: Image.Image

    @classmethod
    def from_picture(cls, concept: Concept, picture: Image.Image, size_px: int = SPRITE_PX) -> "Sprite":
        """Crops `picture` to what is not transparent and centres that in a square of `size_px`."""
        picture = picture.convert("RGBA")
        box = picture.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0).getbbox()
        if box is None:
            raise ValueError(f"the picture of {concept.name!r} is wholly transparent")
        cut = picture.crop(box)
        side = max(cut.size)
        square = Image.new("RGBA", (side, side))
        square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
        return cls(concept, square.resize((size_px, size_px), Image.Resampling.LANCZOS))


def npm_fetch(package: str, folder: Path) -> Path:
    """The tarball of an npm package (`name@version`) in `folder`, downloaded unless it is already there."""
    folder.mkdir(parents=True, exist_ok=True)
    name, version = package.rsplit("@", 1)
    tarball = folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    if not tarball.exists():
        subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return tarball


def load_sprites(concepts: Sequence[Concept], npm_folder: Path) -> tuple[Sprite, ...]:
    """A sprite for each concept, from the Fluent 3D emoji."""
    hexcodes = _hexcodes(npm_fetch(EMOJIBASE, npm_folder))
    with tarfile.open(npm_fetch(FLUENT, npm_folder)) as tar:
        members = {_key(Path(member.name).stem): member for member in tar if member.name.endswith(".webp")}
        sprites = []
        for concept in concepts:
            key = _key(_look_up(hexcodes, concept.label))
            if key not in members:
                raise KeyError(f"{FLUENT} has no picture of {concept.label!r} ({key})")
            file = tar.extractfile(members[key])
            assert file is not None
            sprites.append(Sprite.from_picture(concept, Image.open(file)))
    return tuple(sprites)


def save_sprites(sprites: Sequence[Sprite], path: Path) -> None:
    np.savez_compressed(path, **{sprite.concept.name: np.asarray(sprite.image) for sprite in sprites})


def read_sprites(concepts: Sequence[Concept], path: Path) -> tuple[Sprite, ...]:
    with np.load(path) as arrays:
        return tuple(Sprite(concept, Image.fromarray(arrays[concept.name])) for concept in concepts)


def _hexcodes(tarball: Path) -> Mapping[str, str]:
    with tarfile.open(tarball) as tar:
        file = tar.extractfile("package/en/data.json")
        assert file is not None
        return {entry["label"]: entry["hexcode"] for entry in json.load(file)}


def _look_up(hexcodes: Mapping[str, str], label: str) -> str:
    if label not in hexcodes:
        raise KeyError(f"{EMOJIBASE} has no emoji labelled {label!r}")
    return hexcodes[label]


def _key(hexcode: str) -> str:
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")
