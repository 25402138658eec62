from __future__ import annotations

import io
import json

import pytest
import torch
from PIL import Image

from modules.networks.preview import FAMILY_COLOURS, LatentColours, latent_colours, latents_to_rgb, pixels_to_rgb, sheet


def test_each_channel_adds_its_colour() -> None:
    colours = LatentColours(((1.0, 0.0, 0.0), (0.0, -1.0, 0.0)), bias=(0.0, 0.0, 1.0))
    latents = torch.zeros(1, 2, 1, 2)
    latents[0, 0, 0, 0], latents[0, 1, 0, 1] = 1.0, 1.0
    # -1…1 becomes 0…255, truncated: 0 is 127
    assert latents_to_rgb(latents, colours)[0, 0].tolist() == [[255, 127, 255], [127, 0, 255]]


def test_values_out_of_range_and_nan_still_give_a_picture() -> None:
    latents = torch.tensor([float("nan"), float("inf"), -1e9, 0.0]).reshape(1, 4, 1, 1)
    assert latents_to_rgb(latents, FAMILY_COLOURS["sd1"]).dtype == torch.uint8


def test_sd1_colours_are_a1111s_cheap_approximation() -> None:
    white = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 4, 1, 1)
    assert latents_to_rgb(white, latent_colours("sd1"))[0, 0, 0].tolist() == [165, 153, 154]  # (0.298 + 1) * 127.5 …


def test_a_models_own_colours_win_and_nonsense_is_passed_over() -> None:
    own = {"latent_rgb": json.dumps({"factors": [[1, 2, 3]] * 4, "bias": [0, 0, 1]})}
    assert latent_colours("sd1", own) == LatentColours(((1.0, 2.0, 3.0),) * 4, (0.0, 0.0, 1.0))
    for nonsense in ("{", "[]", '{"factors": [[1]]}', '{"factors": 3}'):
        assert latent_colours("sdxl", {"latent_rgb": nonsense}) == FAMILY_COLOURS["sdxl"]
    assert latent_colours("unheard of") == FAMILY_COLOURS["sd1"]


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_a_batch_becomes_a_grid_and_may_be_enlarged(file_format: str) -> None:
    batch = latents_to_rgb(torch.randn(3, 4, 8, 6), latent_colours("sd1"))
    content = sheet(batch, file_format=file_format)  # type: ignore[arg-type]
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.size) == (file_format.upper(), (12, 16))  # two columns, two rows
    first = sheet(batch[:1], side=64)
    assert Image.open(io.BytesIO(first)).size == (48, 64)


def test_decoded_pixels_become_colours_and_nonsense_stays_one() -> None:
    pixels = torch.tensor([-1.0, 0.0, 7.0, float("nan")]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert pixels_to_rgb(pixels)[0, :, :, 0].tolist() == [[0, 127], [255, 127]]


def test_a_latent_space_without_colours_is_grey() -> None:
    colours = latents_to_rgb(torch.randn(1, 16, 2, 2), latent_colours("unheard of"))
    assert (colours[..., 0] == colours[..., 1]).all() and (colours[..., 1] == colours[..., 2]).all()
