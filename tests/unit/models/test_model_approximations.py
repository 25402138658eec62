from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modules.errors import ModelFileBroken, ModelUnsupported
from modules.models.approximations import Approximations
from modules.models.device import DevicePolicy
from modules.models.manager import ModelManager
from modules.settings.stable_diffusion import GenerationOptions
from tests.unit.models.conftest import ref_to
from tests.unit.networks.test_taesd import in_original_layout, tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TAESD for SD 1 and 2 as its own files have it: one safetensors, one pickle."""
    folder = tmp_path_factory.mktemp("VAE-approx")
    save_file(in_original_layout(tiny(), "decoder"), folder / "taesd_decoder.safetensors")
    torch.save(in_original_layout(tiny(), "encoder"), folder / "taesd_encoder.pth")
    return folder


def test_taesd_decodes_and_encodes_where_the_settings_say_so(folder: Path, tiny_sd1: Path) -> None:
    manager = ModelManager(
        DevicePolicy(use_cpu=("all",), no_half=True), approximations=Approximations([folder.parent / "none", folder])
    )
    latents, pixels = torch.randn(2, 4, 5, 6), torch.rand(1, 3, 32, 24) * 2 - 1
    with manager.use(ref_to(tiny_sd1)) as model:
        full = model.decode(latents), model.encode_source(pixels)
        assert torch.equal(full[1], model.encode(pixels, sample=False))
    options = GenerationOptions(sd_vae_decode_method="TAESD", sd_vae_encode_method="TAESD")
    with manager.use(ref_to(tiny_sd1), None, options) as model, torch.no_grad():
        decoded = torch.cat([tiny().decode(one[None]).sample for one in latents])
        assert torch.equal(model.decode(latents), decoded) and not torch.equal(decoded, full[0])
        assert torch.equal(model.encode_source(pixels), tiny().encode(pixels).latents)
        assert torch.equal(model.encode(pixels, sample=False), full[1])  # what inpainting models are shown stays exact


def test_without_its_file_the_error_says_what_to_put_where(folder: Path) -> None:
    like = torch.zeros(1)
    with pytest.raises(ModelUnsupported, match=r"VAE for decoding.*no file taesdxl_decoder\.safetensors .*VAE-approx"):
        Approximations([folder]).needed_taesd("sdxl", "decoder", like)
    assert Approximations([folder]).taesd("sdxl", "decoder", like) is None
    assert Approximations([folder]).taesd("sd2", "encoder", like) is not None


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "taesd_decoder.safetensors")
    with pytest.raises(ModelFileBroken, match=r"taesd_decoder\.safetensors: it is no TAESD decoder"):
        Approximations([tmp_path]).taesd("sd1", "decoder", torch.zeros(1))
