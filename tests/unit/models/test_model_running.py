from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file
from torch import Tensor

from modules.errors import NotANumber, NotEnoughMemory
from modules.generation.plan import VaeRef
from modules.models import ladder
from modules.models.device import DevicePolicy
from modules.models.loaded import Conditioning
from modules.models.manager import ModelManager
from modules.models.model import Model
from modules.settings.stable_diffusion import GenerationOptions
from tests.unit.models.conftest import ref_to


@pytest.fixture(scope="module")
def model(tiny_sd1: Path) -> Model:
    with ModelManager(DevicePolicy(use_cpu=("all",), no_half=True)).use(ref_to(tiny_sd1)) as model:
        yield model


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def diffusers_unet(model: Model, path: Path) -> UNet2DConditionModel:
    """The network that diffusers' own conversion makes of the same file."""
    config = {**dict(model.unet.config), "layers_per_block": 1}
    unet = UNet2DConditionModel.from_config(config)
    unet.load_state_dict(single_file_utils.convert_ldm_unet_checkpoint(load_file(path), config))
    return unet.eval()


def test_predict_equals_diffusers_unet_on_the_same_weights(model: Model, tiny_sd1: Path) -> None:
    x, context, times = noise(2, 4, 8, 12), noise(2, 77, 32, seed=1), torch.tensor([3.25, 987.0])
    with torch.no_grad():
        theirs = diffusers_unet(model, tiny_sd1)(x, times, context).sample
    assert torch.allclose(model.predict(x, times, Conditioning(context)), theirs, atol=1e-5)


def test_predict_takes_fractional_timesteps_for_what_they_are(model: Model) -> None:
    x, context = noise(1, 4, 8, 8), noise(1, 77, 32, seed=1)
    at = [model.predict(x, torch.tensor([t]), Conditioning(context)) for t in (500.0, 500.5, 501.0)]
    assert not torch.equal(at[0], at[1]) and not torch.equal(at[1], at[2])


@pytest.mark.parametrize("height, width", [(9, 11), (7, 8), (5, 5)])
def test_sizes_that_do_not_halve_evenly_are_doubled_and_cut_as_ldm_does(model: Model, height: int, width: int) -> None:
    x, context = noise(1, 4, height, width), noise(1, 77, 32, seed=1)
    seen = []
    upsampler = model.unet.up_blocks[0].upsamplers[0]
    hook = upsampler.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    answer = model.predict(x, torch.tensor([10.0]), Conditioning(context))
    hook.remove()
    feature, result = seen[0]
    doubled = upsampler.conv(F.interpolate(feature, scale_factor=2.0, mode="nearest"))
    assert torch.allclose(result, doubled[..., :height, :width], atol=1e-5)
    assert answer.shape == x.shape


def test_encode_and_decode_equal_diffusers_autoencoder(model: Model, tiny_sd1: Path) -> None:
    vae = AutoencoderKL.from_config(dict(model.vae.config))
    vae.load_state_dict(single_file_utils.convert_ldm_vae_checkpoint(load_file(tiny_sd1), dict(vae.config)))
    pixels, latents = noise(2, 3, 32, 40).tanh(), noise(2, 4, 4, 5)
    with torch.no_grad():
        mean = vae.encode(pixels).latent_dist.mean * 0.18215
        decoded = vae.decode(latents / 0.18215).sample
    assert torch.allclose(model.encode(pixels, sample=False), mean, atol=1e-5)
    assert torch.allclose(model.decode(latents), decoded, atol=1e-4)


def test_a_picture_decodes_alike_alone_and_in_a_batch(model: Model) -> None:
    latents = noise(3, 4, 4, 4)
    assert torch.equal(model.decode(latents)[1:2], model.decode(latents[1:2]))


def test_the_whole_agrees_with_diffusers_pipeline(model: Model, tiny_sd1: Path) -> None:
    tower = model.towers[0]
    tokens = torch.tensor([[49406, *tower.tokenize("a red apple"), *[49407] * 73]])
    hidden, pooled = tower.encode(tokens)
    with torch.no_grad():
        theirs = tower.network(tokens).last_hidden_state
    assert pooled is None and torch.allclose(hidden, theirs, atol=1e-5)
    assert hasattr(StableDiffusionPipeline, "encode_prompt")
    pipeline_unet = diffusers_unet(model, tiny_sd1)
    x = noise(1, 4, 8, 8)
    with torch.no_grad():
        expected = pipeline_unet(x, torch.tensor([500]), theirs).sample
    assert torch.allclose(model.predict(x, torch.tensor([500.0]), Conditioning(hidden)), expected, atol=1e-5)


def test_clip_skip_takes_an_earlier_state_and_still_norms_it(model: Model) -> None:
    tower = model.towers[0]
    tokens = torch.tensor([[49406, 320, 49407]])
    with torch.no_grad():
        states = tower.network(tokens, output_hidden_states=True).hidden_states
    for skip in (2, 3):
        expected = tower.network.final_layer_norm(states[-skip])
        assert torch.allclose(tower.encode(tokens, clip_skip=skip)[0], expected, atol=1e-5)
    assert torch.equal(tower.encode(tokens, clip_skip=9)[0], tower.encode(tokens, clip_skip=3)[0])  # 2 layers: no more


def test_vectors_of_a_textual_inversion_stand_in_for_token_embeddings(model: Model) -> None:
    tower = model.towers[0]
    words = torch.tensor([[49406, 320, 1125, 49407]])
    vectors = tower.network.embeddings.token_embedding.weight[torch.tensor([1125])]
    placeholder = torch.tensor([[49406, 320, 7, 49407]])
    replaced, _ = tower.encode(placeholder, replaced=[[(1, vectors)]])
    assert torch.allclose(replaced, tower.encode(words)[0], atol=1e-6)


def test_sd2_always_takes_the_penultimate_layer_with_zero_padding(manager: ModelManager, tiny_sd2: Path) -> None:
    with manager.use(ref_to(tiny_sd2)) as model:
        (tower,) = model.towers
        tokens = torch.tensor([[49406, 320, 49407, 0, 0]])
        assert (tower.name, tower.pad_id) == ("open_clip_h", 0)
        assert torch.equal(tower.encode(tokens, clip_skip=1)[0], tower.encode(tokens, clip_skip=3)[0])
        assert model.prediction in ("epsilon", "v")


def test_sdxl_has_two_towers_and_takes_a_vector(manager: ModelManager, tiny_sdxl: Path) -> None:
    with manager.use(ref_to(tiny_sdxl)) as model:
        tokens = torch.tensor([[49406, 320, 49407, 49407]])
        hidden = [tower.encode(tokens, clip_skip=2) for tower in model.towers]
        assert [tower.name for tower in model.towers] == ["clip_l", "clip_g"]
        assert hidden[0][1] is None and hidden[1][1].shape == (1, 32)
        context, x = torch.cat([state for state, _ in hidden], dim=-1), noise(1, 4, 8, 8)
        answers = [
            model.predict(x, torch.tensor([500.0]), Conditioning(context, vector=noise(1, 1568, seed=seed)))
            for seed in (1, 2)
        ]
        assert answers[0].shape == x.shape and not torch.equal(*answers)


def test_tiled_wraps_every_convolution_and_undoes_itself(model: Model) -> None:
    latents = noise(1, 4, 4, 4)
    plain = model.decode(latents)
    with model.tiled():
        wrapped = model.decode(latents)
        rolled = model.decode(latents.roll((2, 1), dims=(2, 3)))
    assert torch.allclose(rolled, wrapped.roll((16, 8), dims=(2, 3)), atol=1e-4)  # no edge: moving moves the picture
    assert torch.equal(model.decode(latents), plain)


@pytest.fixture
def fresh(tiny_sd1: Path) -> Model:
    with ModelManager(DevicePolicy(use_cpu=("all",), no_half=True)).use(ref_to(tiny_sd1)) as model:
        yield model


def nan_below(vae: AutoencoderKL, dtype: torch.dtype) -> Callable[..., object]:
    decode = vae.decode

    def broken(latents: Tensor, **arguments: object) -> object:
        answer = decode(latents, **arguments)
        return answer if latents.dtype == dtype else (answer[0] * float("nan"),)

    return broken


def test_a_vae_that_gives_nan_is_retried_in_float32_which_sticks(fresh: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.vae.to(torch.bfloat16)
    monkeypatch.setattr(fresh.vae, "decode", nan_below(fresh.vae, torch.float32))
    assert torch.isfinite(fresh.decode(noise(1, 4, 4, 4))).all()
    assert fresh.vae.decoder.conv_in.weight.dtype == torch.float32
    assert fresh.notes == ["the VAE gave NaN in bfloat16 and runs in float32 now"]
    assert fresh.take_news() == ("the VAE gave NaN in bfloat16 and runs in float32 now",)


def test_nan_that_precision_does_not_cure_is_an_error(fresh: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh.vae, "decode", nan_below(fresh.vae, torch.float64))
    with pytest.raises(NotANumber, match="decoding the latents with the VAE of tiny gave NaN in float32"):
        fresh.decode(noise(1, 4, 4, 4))
    fresh.options = GenerationOptions(auto_vae_precision=False)
    fresh.vae.to(torch.bfloat16)
    with pytest.raises(NotANumber, match="in bfloat16"):
        fresh.decode(noise(1, 4, 4, 4))


def test_a_decode_without_memory_is_done_in_tiles(fresh: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, latents = fresh.vae.decode, noise(1, 4, 8, 12)
    whole = fresh.decode(latents)
    monkeypatch.setattr(ladder, "TILE_SIDES", (64,))
    seen = []

    def needy(latents: Tensor, **arguments: object) -> object:
        seen.append(tuple(latents.shape[-2:]))
        if latents.shape[-1] > 8:
            raise torch.OutOfMemoryError("not enough")
        return decode(latents, **arguments)

    monkeypatch.setattr(fresh.vae, "decode", needy)
    assert fresh.decode(latents).shape == whole.shape
    assert seen == [(8, 12), (8, 8), (8, 8)]
    assert fresh.take_news() == ("decoding the latents was done in tiles of 64 pixels, as memory was short",)

    def hopeless(latents: Tensor, **arguments: object) -> object:
        raise torch.OutOfMemoryError("not enough")

    monkeypatch.setattr(fresh.vae, "decode", hopeless)
    with pytest.raises(NotEnoughMemory, match="takes more memory than the device has"):
        fresh.decode(latents)


def test_an_encode_without_memory_is_done_in_tiles(fresh: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, pixels = fresh.vae.encode, noise(1, 3, 64, 96).tanh()
    whole = fresh.encode(pixels, sample=False)
    monkeypatch.setattr(ladder, "TILE_SIDES", (64,))

    def needy(pixels: Tensor) -> object:
        if pixels.shape[-1] > 64:
            raise torch.OutOfMemoryError("not enough")
        return encode(pixels)

    monkeypatch.setattr(fresh.vae, "encode", needy)
    tiled = fresh.encode(pixels, sample=False)
    assert tiled.shape == whole.shape and tiled.shape == (1, 4, 8, 12)
    assert fresh.take_news() == ("encoding the picture was done in tiles of 64 pixels, as memory was short",)


def test_another_vae_decodes_and_the_own_one_comes_back(
    manager: ModelManager, tiny_sd1: Path, edited: Callable[..., Path]
) -> None:
    def other_vae(tensors: dict) -> None:
        tensors["first_stage_model.post_quant_conv.bias"] += 1

    path = edited(other_vae, "other.safetensors")
    latents = noise(1, 4, 4, 4)
    with manager.use(ref_to(tiny_sd1)) as model:
        own = model.decode(latents)
    with manager.use(ref_to(tiny_sd1), VaeRef(path=str(path), name=path.name)) as model:
        assert not torch.allclose(model.decode(latents), own)
    with manager.use(ref_to(tiny_sd1)) as model:
        assert torch.equal(model.decode(latents), own) and model.vae_ref is None
