"""Upscalers by name, A1111's rule of sizes, and latent modes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from modules.errors import ModelFileBroken, ModelUnsupported, NotEnoughMemory, UnknownName
from modules.networks.upscalers import network_for
from modules.settings.schema import Settings
from modules.upscaling import neural
from modules.upscaling.catalog import Upscalers, tiles_of
from modules.upscaling.latent import LATENT_MODES
from modules.upscaling.upscaler import Upscaler
from tests.support.upscalers import compact, real_esrgan


def doubling(passes: list[tuple[int, int]]) -> Upscaler:
    """An upscaler that doubles whatever it is asked for, as a network does, and notes its passes."""

    def enlarge(image: Image.Image, scale: float) -> Image.Image:
        passes.append(image.size)
        return image.resize((image.width * 2, image.height * 2))

    return Upscaler("doubling", enlarge, scale=2.0)


@pytest.mark.parametrize(
    "scale, size, passes",
    [
        (2.0, (128, 96), 1),
        (1.5, (96, 72), 1),
        (3.0, (192, 144), 2),
        (8.0, (512, 384), 3),
        (10.0, (640, 480), 3),  # three passes reach 8 times; the rest is resampled
        (1.0, (64, 48), 1),  # at 1 the first pass always runs
        (1.33, (80, 56), 1),  # sides are rounded down to multiples of 8
    ],
)
def test_passes_run_until_the_size_is_reached(scale: float, size: tuple[int, int], passes: int) -> None:
    made: list[tuple[int, int]] = []
    result = doubling(made).upscale(Image.new("RGB", (64, 48)), scale)
    assert (result.size, len(made)) == (size, passes)


def test_none_resamples_once_it_sees_that_nothing_changes() -> None:
    assert Upscalers().find("None").upscale(Image.new("RGB", (10, 10)), 2.4).size == (24, 24)


def test_nearest_keeps_the_colours_there_are() -> None:
    image = Image.new("RGB", (2, 1))
    image.putpixel((1, 0), (255, 255, 255))
    enlarged = Upscalers().find("nearest").upscale(image, 8)
    assert sorted(color for _, color in enlarged.getcolors()) == [(0, 0, 0), (255, 255, 255)]


def test_files_are_listed_after_the_built_in_ones_and_read_only_when_used(tmp_path: Path) -> None:
    files = {"ESRGAN": [tmp_path / "b4x.pth", tmp_path / "A2x.pth"]}  # neither exists
    upscalers = Upscalers(files)
    assert upscalers.names() == ("None", "Lanczos", "Nearest", "A2x", "b4x")
    with pytest.raises(UnknownName, match='did you mean "b4x"'):
        upscalers.find("b4")


@pytest.fixture(scope="module")
def esrgan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as Real-ESRGAN publishes them."""
    path = tmp_path_factory.mktemp("ESRGAN") / "4x-small.pth"
    torch.save({"params_ema": real_esrgan()}, path)
    return path


def photo(width: int = 150, height: int = 90) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 6, width), np.linspace(0, 4, height))
    waves = np.stack([np.sin(x * y), np.cos(x + y), np.sin(x - 2 * y)], axis=-1)
    return Image.fromarray((waves * 100 + 127).astype(np.uint8))


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_a_network_enlarges_in_tiles_as_in_one_piece(esrgan: Path) -> None:
    def enlarged(**tiles: int) -> np.ndarray:
        return levels(Upscalers({"ESRGAN": [esrgan]}, **tiles).find("4x-small").upscale(photo(), 4))

    whole = enlarged(tile=0)
    assert whole.shape == (360, 600, 3)
    assert np.abs(whole - levels(photo().resize((600, 360)))).mean() < 50  # still that picture

    def worst_edge(tiled: np.ndarray) -> int:
        return max(np.abs(np.diff(tiled - whole, axis=axis)).max() for axis in (0, 1))

    blended, butted = enlarged(tile=64, overlap=8), enlarged(tile=64, overlap=0)
    assert np.abs(blended - whole).max() <= 10 and worst_edge(blended) <= 8  # levels of 255
    assert worst_edge(butted) > 5 * worst_edge(blended)  # what there would be to see: random weights mind borders


def test_a_network_is_shown_blue_first_as_in_a1111(esrgan: Path) -> None:
    image = photo(24, 16)
    enlarged = Upscalers({"ESRGAN": [esrgan]}, tile=0).find("4x-small").upscale(image, 4)
    flipped = torch.from_numpy(levels(image)[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    expected = network_for(real_esrgan())(flipped)[0].clamp(0, 1).permute(1, 2, 0).numpy()[:, :, ::-1] * 255
    assert np.abs(levels(enlarged) - expected.round()).max() <= 1


def test_networks_of_a_folder_with_settings_of_its_own_run_in_its_tiles(esrgan: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(neural, "run", lambda network, image, **tiles: seen.append(tiles) or image)
    settings = Settings(SWIN_tile=96, SWIN_tile_overlap=4, SCUNET_tile=0, DAT_tile=64, ESRGAN_tile=128)
    for kind in ("SwinIR", "ScuNET", "DAT", "ESRGAN"):
        upscalers = Upscalers({kind: [esrgan]}, tile=settings.ESRGAN_tile, tiles=tiles_of(settings.model_dump()))
        upscalers.find("4x-small").upscale(photo(), 1)
    assert [(one["tile"], one["overlap"]) for one in seen] == [(96, 4), (0, 8), (64, 8), (128, 8)]


def test_a_network_short_of_memory_goes_on_in_smaller_tiles(esrgan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = neural.load(esrgan, 0, "cpu")
    whole = neural.run(network, photo(), tile=0, overlap=8)
    seen = []

    def too_much(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        seen.append(max(given[0].shape[-2:]))
        if seen[-1] > 50:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = network.register_forward_pre_hook(too_much)
    tiled = neural.run(network, photo(), tile=0, overlap=8)
    hook.remove()
    assert seen[:2] == [150, 45] and np.abs(levels(tiled) - levels(whole)).max() <= 10
    hook = network.register_forward_pre_hook(lambda *given: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(NotEnoughMemory, match="150x90 takes more memory than there is, even in tiles of 45"):
        neural.run(network, photo(), tile=0, overlap=8)
    hook.remove()


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "4x.safetensors"
    save_file(compact(seed=1), path)
    upscaler = Upscalers({"ESRGAN": [path]}).find("4x")
    before = upscaler.upscale(photo(24, 16), 4)
    save_file(compact(seed=2), path)
    os.utime(path, ns=(1, 1))
    assert levels(upscaler.upscale(photo(24, 16), 4)).tolist() != levels(before).tolist()


def test_real_esrgans_files_have_a1111s_names_and_answer_to_their_own(tmp_path: Path) -> None:
    upscalers = Upscalers({"RealESRGAN": [tmp_path / "RealESRGAN_x4plus_anime_6B.pth"]})
    assert upscalers.names()[-1] == "R-ESRGAN 4x+ Anime6B"
    assert upscalers.find("realesrgan_x4plus_anime_6b") is upscalers.find("R-ESRGAN 4x+ Anime6B")


def test_another_network_without_spandrel_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)  # makes `import spandrel` fail, whether or not it is installed
    save_file({"layers.0.residual_group.blocks.0.attn.qkv.weight": torch.ones(4)}, tmp_path / "SwinIR_4x.safetensors")
    upscaler = Upscalers({"SwinIR": [tmp_path / "SwinIR_4x.safetensors"]}).find("SwinIR_4x")
    with pytest.raises(ModelUnsupported, match=r"is no ESRGAN, Real-ESRGAN or compact network.*pip install spandrel"):
        upscaler.upscale(Image.new("RGB", (8, 8)), 4)


def test_a_damaged_network_is_refused_in_one_sentence(tmp_path: Path) -> None:
    tensors = real_esrgan()
    tensors.pop("conv_hr.bias")
    save_file(tensors, tmp_path / "4x.safetensors")
    with pytest.raises(ModelFileBroken, match=r"4x\.safetensors: cannot be used as an upscaler: .*conv_hr\.bias"):
        Upscalers({"ESRGAN": [tmp_path / "4x.safetensors"]}).find("4x").upscale(Image.new("RGB", (8, 8)), 4)


@pytest.mark.parametrize("name", LATENT_MODES.names())
def test_every_latent_mode_makes_the_size_and_keeps_the_mean(name: str) -> None:
    latents = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    enlarged = LATENT_MODES.get(name).upscale(latents, 12, 10)
    assert enlarged.shape == (2, 4, 12, 10)
    assert enlarged.mean().item() == pytest.approx(latents.mean().item(), abs=0.05)
