from __future__ import annotations

import re

import pytest
import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from modules.networks.taesd import ApproxNetwork, taesd_half


def tiny(channels: int = 4) -> AutoencoderTiny:
    """diffusers' own, with TAESD's numbers of blocks, 16 channels wide."""
    torch.manual_seed(0)
    return AutoencoderTiny(
        encoder_block_out_channels=(16,) * 4, decoder_block_out_channels=(16,) * 4, latent_channels=channels
    ).eval()


def in_original_layout(vae: AutoencoderTiny, half: str) -> dict[str, Tensor]:
    """The names of TAESD's own files: layers by number, the decoder's after the one that clamps."""
    shift = 1 if half == "decoder" else 0
    layers = getattr(vae, half).layers.state_dict()
    return {re.sub(r"^\d+", lambda found: str(int(found[0]) + shift), name): value for name, value in layers.items()}


@pytest.mark.parametrize("channels", [4, 16])
@torch.no_grad()
def test_both_halves_equal_diffusers_autoencoder(channels: int) -> None:
    vae = tiny(channels)
    pixels, latents = torch.rand(1, 3, 40, 24) * 2 - 1, torch.randn(1, channels, 5, 3) * 3
    for tensors in (in_original_layout(vae, "decoder"), dict(vae.state_dict())):
        assert torch.equal(taesd_half(tensors, "decoder")(latents), vae.decode(latents).sample)
    for tensors in (in_original_layout(vae, "encoder"), dict(vae.state_dict())):
        assert torch.equal(taesd_half(tensors, "encoder")(pixels), vae.encode(pixels).latents)


def test_the_original_layout_is_the_published_one() -> None:
    names = list(in_original_layout(tiny(), "decoder"))
    assert names[:3] == ["1.weight", "1.bias", "3.conv.0.weight"] and names[-1] == "19.bias"
    assert list(in_original_layout(tiny(), "encoder"))[-1] == "14.bias"


def test_another_network_is_named() -> None:
    with pytest.raises(ValueError, match="no numbered layers"):
        taesd_half({"decoder.conv_in.weight": torch.ones(1)}, "decoder")
    with pytest.raises(ValueError, match="works at 0 sizes, not 4"):
        taesd_half({"1.weight": torch.ones(4, 4, 3, 3)}, "decoder")
    tensors = in_original_layout(tiny(), "decoder")
    tensors["19.bias"] = torch.ones(7)
    with pytest.raises(ValueError, match="size mismatch"):
        taesd_half(tensors, "decoder")
    with pytest.raises(ValueError, match=r"conv1\.weight to conv8"):
        ApproxNetwork({"conv1.weight": torch.ones(8, 4, 7, 7)})


def test_the_preview_network_doubles_latents_and_sees_what_its_kernels_reach() -> None:
    sizes = ((4, 8, 7), (8, 16, 5), (16, 32, 3), (32, 64, 3), (64, 32, 3), (32, 16, 3), (16, 8, 3), (8, 3, 3))
    torch.manual_seed(0)
    tensors = {}
    for number, (taken, made, kernel) in enumerate(sizes, start=1):
        tensors[f"conv{number}.weight"] = torch.randn(made, taken, kernel, kernel) / (taken * kernel**2) ** 0.5
        tensors[f"conv{number}.bias"] = torch.zeros(made)
    network = ApproxNetwork(tensors)
    assert network.border == 11
    latents = torch.randn(1, 4, 16, 12)
    answer = network(latents)
    assert answer.shape == (1, 3, 32, 24)
    latents[0, :, 0, 0] += 1.0
    changed = (network(latents) != answer).any(dim=1)[0].nonzero()
    assert changed.amax(dim=0).tolist() == [1 + 11, 1 + 11]  # the doubled corner, and eleven pixels on
