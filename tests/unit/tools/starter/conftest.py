"""Tiny sprites and a tiny architecture: every stage runs in seconds and without the network."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from tools.starter.architecture import Architecture
from tools.starter.concepts import Concept
from tools.starter.sprites import Sprite, save_sprites

TINY = Architecture(
    size_px=32,
    vae_channels=(8, 8, 16, 16),
    vae_groups=2,
    unet_channels=(16, 32),
    unet_attention=(False, True),
    unet_heads=2,
    unet_groups=4,
    text_width=16,
    text_layers=1,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def architecture() -> Architecture:
    return TINY


@pytest.fixture(scope="session")
def concepts() -> tuple[Concept, ...]:
    return (
        Concept("disc", "disc", "discs"),
        Concept("box", "box", "boxes"),
        Concept("scissors", "scissors", "scissors"),
    )


@pytest.fixture(scope="session")
def sprites(concepts) -> tuple[Sprite, ...]:
    drawn = []
    for index, concept in enumerate(concepts):
        picture = Image.new("RGBA", (40, 40))
        draw = ImageDraw.Draw(picture)
        if index % 2:
            draw.rectangle((4, 8, 30, 30), fill=(200, 60, 60), outline=(40, 20, 20))
        else:
            draw.ellipse((4, 8, 36, 30), fill=(90, 120, 200), outline=(230, 230, 230), width=4)
        drawn.append(Sprite.from_picture(concept, picture, size_px=32))
    return tuple(drawn)


@pytest.fixture
def folder(tmp_path: Path, sprites) -> Path:
    """A state folder as the data stage leaves it."""
    save_sprites(sprites, tmp_path / "sprites.npz")
    return tmp_path
