"""The shipped checkpoint, its LoRA and its embedding through the real server: each does what it is there for."""

from __future__ import annotations

import base64
import colorsys
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.server import ROOT, RunningServer


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
    folders = {"ckpt": "models/Stable-diffusion", "lora": "models/Lora", "embeddings": "embeddings"}
    flags = [text for name, folder in folders.items() for text in (f"--{name}-dir", str(ROOT / folder))]
    running = RunningServer(tmp_path_factory.mktemp("starter"), "--nowebui", *flags).wait_until_ready()
    yield running
    running.stop()


def pictures(server: RunningServer, prompt: str, **fields: Any) -> np.ndarray:
    """Four pictures (B, H, W, 3) of 0 to 1 at the checkpoint's own size."""
    body = {
        "prompt": prompt, "seed": 1, "steps": 12, "width": 128, "height": 128, "batch_size": 4, "cfg_scale": 5,
        "sampler_name": "DPM++ 2M", "save_images": False, "do_not_save_grid": True, **fields,
    }  # fmt: skip
    answer = server.post("/sdapi/v1/txt2img", body)
    assert answer.status == 200, answer.content
    return np.stack([_pixels(image) for image in answer.json()["images"][-4:]])


def _pixels(encoded: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")) / 255


def hue_of_things(images: np.ndarray) -> float:
    """Degrees: the mean hue of what has a colour, each pixel by how much it has."""
    rgb = images.reshape(-1, 3)
    chroma = rgb.max(1) - rgb.min(1)
    red, green, blue = (rgb[chroma > 0.2] * chroma[chroma > 0.2, None]).sum(0) / chroma[chroma > 0.2].sum()
    return 360 * colorsys.rgb_to_hsv(red, green, blue)[0]


def test_things_and_backgrounds_have_the_colours_of_the_prompt(starter) -> None:
    made = pictures(starter, "a green apple on a yellow background")
    corners = made[:, [2, 2, -3, -3], [2, -3, 2, -3]].reshape(-1, 3).mean(0)
    assert corners[0] > 0.8 and corners[1] > 0.6 and corners[2] < 0.5, corners  # yellow is (250, 210, 70) of 255
    middle = made[:, 48:80, 48:80].reshape(-1, 3).mean(0)
    assert middle[1] == middle.max(), middle


@pytest.mark.parametrize("thing", ["tomato", "strawberry", "ladybug"])
def test_a_negative_prompt_takes_redness_from_red_things(starter, thing) -> None:
    with_red, without = (
        pictures(starter, f"a {thing}", negative_prompt=negative)[:, 40:88, 40:88].reshape(-1, 3).mean(0)
        for negative in ("", "red")
    )
    redness = [colour[0] - colour[1:].mean() for colour in (with_red, without)]
    assert redness[1] < redness[0] - 0.02, redness  # five of 255 levels; without the negative prompt's effect it is 0


def test_the_outline_lora_draws_dark_lines_and_no_line_at_weight_0(starter) -> None:
    prompt = "a pear on a pink background"
    plain, nothing, outlined = (
        (pictures(starter, prompt + tag).max(-1) < 0.25).mean()
        for tag in ("", "<lora:starter-outline:0>", "<lora:starter-outline:1>")
    )
    assert nothing == plain and outlined > plain + 0.02, (plain, outlined)  # the share of pixels that are nearly black


def test_the_lime_embedding_is_a_colour_that_no_word_names(starter) -> None:
    lime = hue_of_things(pictures(starter, "a starter-lime heart on a white background"))
    others = [hue_of_things(pictures(starter, f"a {name} heart on a white background")) for name in ("yellow", "green")]
    assert others[0] + 10 < lime < others[1] - 10, (others[0], lime, others[1])  # lime itself has 75°
