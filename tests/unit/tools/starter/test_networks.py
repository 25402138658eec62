"""The exported file is in Stable Diffusion's layout and gives the same outputs as what was trained."""

import json

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file

from tools.starter.architecture import LATENT_CHANNELS, SCALE_FACTOR, Architecture
from tools.starter.attention import PlainAttention
from tools.starter.autoencoder import encode_mean
from tools.starter.checkpoint import Checkpoint, architecture_of
from tools.starter.export import fold_whitening, latent_colours, write_checkpoint
from tools.starter.unet import start_near_identity


@pytest.fixture
def networks(architecture):
    torch.manual_seed(0)
    return architecture.unet().eval(), architecture.autoencoder().eval(), architecture.text_encoder().eval()


@pytest.fixture
def file(architecture, networks, tmp_path):
    path = tmp_path / "starter.safetensors"
    unet, autoencoder, text = (network.state_dict() for network in networks)
    write_checkpoint(path, architecture, unet, autoencoder, text, description="a test")
    return path


def test_diffusers_own_converter_reads_the_unet_and_autoencoder(file, networks):
    unet, autoencoder, _ = networks
    tensors = load_file(file)
    for network, read in (
        (unet, convert_ldm_unet_checkpoint(dict(tensors), dict(unet.config))),
        (autoencoder, convert_ldm_vae_checkpoint(dict(tensors), dict(autoencoder.config))),
    ):
        own = network.state_dict()
        assert set(read) == set(own)
        assert all(torch.equal(read[key].view_as(own[key]), own[key].half()) for key in own)


def test_the_file_read_back_gives_the_same_pictures_but_for_rounding_to_fp16(file, networks):
    unet, autoencoder, text = networks
    again = Checkpoint.read(file)
    x, context = torch.randn(2, LATENT_CHANNELS, 4, 4), torch.randn(2, 77, 16)
    with torch.no_grad():
        assert torch.allclose(again.unet(x, 500, context).sample, unet(x, 500, context).sample, atol=1e-2)
        assert torch.allclose(again.autoencoder.decode(x).sample, autoencoder.decode(x).sample, atol=1e-2)
        ids = torch.tensor([[49406, 320, 2368, *[49407] * 74]])
        assert torch.allclose(again.text(ids).last_hidden_state, text(ids).last_hidden_state, atol=1e-2)


def test_the_header_declares_the_sizes_and_where_the_file_comes_from(file, architecture):
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    assert architecture_of(json.loads(header["ldm_config"])) == architecture
    assert header["modelspec.resolution"] == "32x32"
    assert {"modelspec.title", "modelspec.license", "modelspec.attribution", "modelspec.date"} <= set(header)


def test_the_shipped_architecture_survives_its_ldm_config():
    assert architecture_of(Architecture().ldm_config()) == Architecture()


def test_folded_whitening_gives_unit_latents_and_the_same_pictures(networks):
    _, autoencoder, _ = networks
    pixels = torch.randn(16, 3, 32, 32)
    with torch.no_grad():
        before = encode_mean(autoencoder, pixels)
        picture = autoencoder.decode(before).sample
        fold_whitening(autoencoder, before)
        after = autoencoder.encode(pixels).latent_dist.mode()
        assert torch.allclose(autoencoder.decode(after).sample, picture, atol=1e-4)
    scaled = after * SCALE_FACTOR
    assert torch.allclose(scaled.mean((0, 2, 3)), torch.zeros(LATENT_CHANNELS), atol=1e-3)
    assert torch.allclose(scaled.std((0, 2, 3)), torch.ones(LATENT_CHANNELS), atol=1e-3)


def test_an_untrained_unet_returns_its_input_up_to_a_factor(architecture):
    unet = architecture.unet().eval()
    start_near_identity(unet)
    noise = torch.randn(8, LATENT_CHANNELS, 4, 4)
    with torch.no_grad():
        answer = unet(noise, 900, torch.randn(8, 77, 16)).sample
    assert torch.nn.functional.cosine_similarity(answer.flatten(1), noise.flatten(1)).min() > 0.8


def test_plain_attention_equals_the_fused_kernel(networks):
    unet, _, _ = networks
    x, context = torch.randn(2, LATENT_CHANNELS, 4, 4), torch.randn(2, 77, 16)
    with torch.no_grad():
        fused = unet(x, 10, context).sample
        unet.set_attn_processor(PlainAttention())
        assert torch.allclose(unet(x, 10, context).sample, fused, atol=1e-5)


def test_the_header_tells_live_previews_the_colours_that_the_decoder_makes(architecture, networks, tmp_path):
    unet, autoencoder, text = networks
    latents = torch.randn(64, LATENT_CHANNELS, 4, 4)
    torch.nn.init.zeros_(autoencoder.decoder.conv_out.weight)
    autoencoder.decoder.conv_out.bias.data = torch.tensor([0.5, 0.0, -0.5])  # a decoder that knows one colour
    colours = latent_colours(autoencoder, latents, latents)
    path = tmp_path / "starter.safetensors"
    states = (network.state_dict() for network in (unet, autoencoder, text))
    write_checkpoint(path, architecture, *states, description="a test", colours=colours)
    with safe_open(path, framework="pt") as opened:
        stored = json.loads(opened.metadata()["latent_rgb"])
    assert torch.allclose(torch.tensor(stored["bias"]), torch.tensor([0.5, 0.0, -0.5]), atol=1e-3)
    assert torch.tensor(stored["factors"]).abs().max() < 1e-3
