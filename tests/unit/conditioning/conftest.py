"""A real CLIP text encoder, made small, behind the face that the loader gives it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from modules.models.towers import ClipTower, build_text_network

WIDTHS = {"clip_l": 16, "clip_g": 24, "open_clip_h": 16}


class CountingTower(ClipTower):
    """A tower that remembers how many chunks it was asked to encode."""

    encoded = 0

    def encode(self, tokens, **arguments):
        self.encoded += len(tokens)
        return super().encode(tokens, **arguments)


def make_tower(name: str, *, seed: int, **arguments) -> CountingTower:
    width = WIDTHS[name]
    torch.manual_seed(seed)
    network = build_text_network(
        {
            "vocab_size": 49408,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "eos_token_id": 49407,
            "bos_token_id": 49406,
        }
    ).eval()
    norm = network.final_layer_norm  # as trained ones are: the mean over a chunk is not 0
    torch.nn.init.normal_(norm.weight, mean=1.0, std=0.3)
    torch.nn.init.normal_(norm.bias, mean=0.1, std=0.3)
    defaults = {"pad_id": 49407 if name == "clip_l" else 0, "layer": "penultimate", "final_norm": True}
    return CountingTower(name, network, **(defaults | arguments))


def make_model(family: str, *towers: CountingTower, variant: str = "base") -> SimpleNamespace:
    """What of a LoadedModel the conditioning looks at."""
    return SimpleNamespace(family=family, variant=variant, towers=towers, passage_towers=(), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def sd1():
    return make_model("sd1", make_tower("clip_l", seed=1, layer="clip-skip"))


@pytest.fixture(scope="module")
def sdxl():
    l_tower = make_tower("clip_l", seed=2, layer="penultimate-clip-skip", final_norm=False)
    g_tower = make_tower("clip_g", seed=3, final_norm=False, projection=torch.randn(24, 20))
    return make_model("sdxl", l_tower, g_tower)
