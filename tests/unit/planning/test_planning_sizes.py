"""Hires sizes: the rules of "Upscale by" and "Resize to", and the first pass of old versions."""

from __future__ import annotations

import pytest

from modules.generation.part import Size
from modules.planning.hires import old_first_pass, target


def size(text: str) -> Size:
    width, height = text.split("x")
    return Size(width=int(width), height=int(height))


@pytest.mark.parametrize(
    "first, scale, resize, upscaled, final",
    [
        ("512x512", 2.0, (0, 0), "1024x1024", "1024x1024"),
        ("512x768", 1.5, (0, 0), "768x1152", "768x1152"),
        ("520x512", 1.33, (0, 0), "691x680", "688x680"),  # int(520 * 1.33); latents cut 691 down to 688
        ("512x768", 2.0, (1024, 0), "1024x1536", "1024x1536"),
        ("512x768", 2.0, (0, 1000), "666x1000", "664x1000"),  # 1000 * 512 // 768
        ("64x64", 2.0, (128, 96), "128x128", "128x96"),  # covers; four latent rows are cropped
        ("512x512", 2.0, (1000, 600), "1000x1000", "1000x600"),
    ],
)
def test_the_second_pass_gets_a1111s_size(
    first: str, scale: float, resize: tuple[int, int], upscaled: str, final: str
) -> None:
    made = target(size(first), scale=scale, resize_width=resize[0], resize_height=resize[1])
    assert (str(made.upscaled), str(made.final)) == (upscaled, final)


@pytest.mark.parametrize("final, first", [("1024x1024", "512x512"), ("1920x1080", "704x384"), ("512x512", "512x512")])
def test_old_versions_made_a_first_pass_of_about_512_squared(final: str, first: str) -> None:
    assert str(old_first_pass(size(final))) == first
