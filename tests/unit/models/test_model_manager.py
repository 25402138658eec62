from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from modules.errors import ModelError, ModelFileBroken
from modules.generation.plan import VaeRef
from modules.models.adapters.patch import AdapterReport
from modules.models.device import DeviceChoice, DevicePolicy
from modules.models.loaded import Conditioning
from modules.models.manager import ModelManager
from modules.models.model import Model
from modules.settings.stable_diffusion import GenerationOptions
from tests.unit.models.conftest import ref_to

ON_CPU = DevicePolicy(use_cpu=("all",), no_half=True)


def answer(model: Model) -> torch.Tensor:
    x = torch.ones(1, 4, 8, 8)
    context = torch.ones(1, 77, model.unet.config.cross_attention_dim)
    return model.predict(x, torch.tensor([5.0]), Conditioning(context))


def test_a_model_is_loaded_once_and_kept(manager: ModelManager, tiny_sd1: Path) -> None:
    ref = ref_to(tiny_sd1)
    assert not manager.is_loaded(ref)
    with manager.use(ref) as first:
        pass
    assert manager.is_loaded(ref)
    with manager.use(ref) as second:
        assert second is first


def test_a_file_that_changed_is_loaded_again(manager: ModelManager, edited: Callable[..., Path]) -> None:
    path = edited(lambda tensors: None)
    with manager.use(ref_to(path)) as before:
        old = answer(before)
    edited(lambda tensors: tensors["model.diffusion_model.out.2.bias"].add_(1))
    with manager.use(ref_to(path)) as after:
        assert torch.allclose(answer(after), old + 1, atol=1e-5)


def test_a_failed_load_leaves_the_model_that_was_there(
    manager: ModelManager, tiny_sd1: Path, edited: Callable[..., Path]
) -> None:
    with manager.use(ref_to(tiny_sd1)) as model:
        before = answer(model)
    broken = edited(lambda tensors: tensors.pop("model.diffusion_model.out.2.bias"))
    with pytest.raises(ModelFileBroken), manager.use(ref_to(broken)):
        pass
    assert [kept.name for kept in manager.report()] == ["tiny"]
    with manager.use(ref_to(tiny_sd1)) as again:
        assert again is model and torch.equal(answer(again), before)


def test_a_vae_of_another_kind_is_refused_and_the_model_stays(
    manager: ModelManager, tiny_sd1: Path, tmp_path: Path
) -> None:
    from tests.support import layouts
    from tests.support.checkpoints import write_random

    other = layouts.autoencoder(channels=32, multipliers=(1, 1), residual_blocks=1, latent=16)
    path = write_random(tmp_path / "flux.safetensors", other)
    with (
        pytest.raises(ModelError, match="a VAE of 16 latent channels, tiny needs 4"),
        manager.use(ref_to(tiny_sd1), VaeRef(path=str(path), name=path.name)),
    ):
        pass
    small = layouts.autoencoder(channels=32, multipliers=(1, 1, 1), residual_blocks=1)
    path = write_random(tmp_path / "kl-f4.safetensors", small)
    with (
        pytest.raises(ModelError, match="a VAE that shrinks pictures 4 times, tiny needs 8"),
        manager.use(ref_to(tiny_sd1), VaeRef(path=str(path), name=path.name)),
    ):
        pass
    with manager.use(ref_to(tiny_sd1)) as model:
        assert model.vae is model.parts.vae


def test_a_refiner_within_a_job_keeps_the_main_model(manager: ModelManager, tiny_sd1: Path, tiny_sd2: Path) -> None:
    with manager.use(ref_to(tiny_sd1)) as main:
        before = answer(main)
        with manager.use(ref_to(tiny_sd2)) as refiner:
            assert refiner is not main
            assert [kept.in_use for kept in manager.report()] == [True, True]
        assert torch.equal(answer(main), before)


def test_the_least_recently_used_model_goes_when_the_budget_is_full(
    tiny_sd1: Path, tiny_sd2: Path, tiny_sdxl: Path
) -> None:
    manager = ModelManager(ON_CPU)
    for path in (tiny_sd1, tiny_sd2, tiny_sd1):
        with manager.use(ref_to(path)):
            pass
    assert [kept.name for kept in manager.report()] == ["tiny2", "tiny"]
    manager.budget_bytes = sum(kept.bytes for kept in manager.report())
    with manager.use(ref_to(tiny_sdxl)):
        pass
    assert "tiny2" not in [kept.name for kept in manager.report()]
    assert manager.is_loaded(ref_to(tiny_sdxl))


def test_a_limit_above_one_bounds_how_many_are_kept(tiny_sd1: Path, tiny_sd2: Path, tiny_sdxl: Path) -> None:
    manager = ModelManager(ON_CPU)

    def names_after(*paths: Path, **options: int) -> list[str]:
        for path in paths:
            with manager.use(ref_to(path), None, GenerationOptions(**options)):
                pass
        return [kept.name for kept in manager.report()]

    assert names_after(tiny_sd1, tiny_sd2, tiny_sdxl) == ["tiny", "tiny2", "tinyxl"]  # 1: what the memory allows
    assert names_after(tiny_sd2, sd_checkpoints_limit=2) == ["tinyxl", "tiny2"]
    assert names_after(tiny_sd1, tiny_sdxl, sd_checkpoints_limit=2, sd_checkpoint_cache=1) == [
        "tiny2",
        "tiny",
        "tinyxl",
    ]


@pytest.mark.parametrize("keep_in_cpu, left", [(True, ["tiny", "tiny2"]), (False, ["tiny"])])
def test_models_leave_a_card_for_the_next_unless_several_may_stay(
    tiny_sd1: Path, tiny_sd2: Path, tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch, keep_in_cpu: bool, left: list[str]
) -> None:
    monkeypatch.setattr(DeviceChoice, "has_own_memory", True)  # the CPU stands for a card
    manager, gone = ModelManager(ON_CPU), []
    monkeypatch.setattr(Model, "leave_device", lambda model: gone.append(model.ref.name))
    options = GenerationOptions(sd_checkpoints_limit=2, sd_checkpoints_keep_in_cpu=keep_in_cpu)
    for path in (tiny_sd1, tiny_sd2):
        with manager.use(ref_to(path), None, options):
            pass
    with manager.use(ref_to(tiny_sdxl), None, options) as model:
        assert list(dict.fromkeys(gone)) == left
        gone.clear()
        assert model.make_room() and gone == ["tiny", "tiny2"]  # when its own memory is short, all the others go


def test_where_memory_is_shared_other_models_are_dropped_to_make_room(tiny_sd1: Path, tiny_sd2: Path) -> None:
    manager = ModelManager(ON_CPU)
    with manager.use(ref_to(tiny_sd2)):
        pass
    with manager.use(ref_to(tiny_sd1)) as model:
        assert model.make_room() and not model.make_room()  # there is only itself then
        assert [kept.name for kept in manager.report()] == ["tiny"]


def test_a_vae_that_is_no_longer_chosen_leaves_the_device(tiny_sd1: Path, tiny_sd2: Path) -> None:
    manager, lent = ModelManager(ON_CPU), VaeRef(path=str(tiny_sd2), name="tiny2")
    with manager.use(ref_to(tiny_sd1), lent) as model:
        vae, count = model.vae, len(model.placement.networks)
        assert vae is not model.parts.vae
    with manager.use(ref_to(tiny_sd1)) as again:
        assert again is model and len(model.placement.networks) == count - 1
        assert not any(vae is network for network in model.placement.networks)


def test_the_report_tells_which_networks_act_on_a_model(manager: ModelManager, tiny_sd1: Path) -> None:
    with manager.use(ref_to(tiny_sd1)) as model:
        with model.networks_noted([AdapterReport("ink", 48, 48)]):
            assert manager.report()[-1].networks == (("ink", 48, 48),)
        assert manager.report()[-1].networks == ()


def test_parts_that_use_cpu_names_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    card = torch.device("meta")
    choice = DeviceChoice(card, torch.float16, torch.float16, torch.float16)
    manager = ModelManager(DevicePolicy(use_cpu=("interrogate",)), choice=choice)
    assert manager.device_for("interrogate").type == "cpu" and manager.device_for("esrgan") == card


def test_channels_last_is_another_layout_of_the_same_weights(tiny_sd1: Path, manager: ModelManager) -> None:
    with manager.use(ref_to(tiny_sd1)) as plain:
        expected = answer(plain), plain.decode(torch.ones(1, 4, 4, 4))
        assert plain.unet.conv_in.weight.is_contiguous()
    policy = DevicePolicy(use_cpu=("all",), no_half=True, opt_channelslast=True)
    with ModelManager(policy).use(ref_to(tiny_sd1)) as model:
        for network in (model.unet, model.vae):
            weights = [weight for weight in network.parameters() if weight.ndim == 4]
            assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
        assert torch.allclose(answer(model), expected[0], atol=1e-4)
        assert torch.allclose(model.decode(torch.ones(1, 4, 4, 4)), expected[1], atol=1e-4)


def test_a_dropped_model_is_gone_at_once(tiny_sd1: Path) -> None:
    """Without waiting for the garbage collector: two of them might not fit into memory."""
    gc.disable()
    try:
        for manager in (ModelManager(ON_CPU), ModelManager(ON_CPU)):
            with manager.use(ref_to(tiny_sd1)) as model:
                model.decode(torch.ones(1, 4, 4, 4))
                answer(model)
                weight = weakref.ref(model.unet.conv_in.weight)
            del model
            manager.unload()
            assert weight() is None
    finally:
        gc.enable()


def test_models_in_use_are_never_dropped(tiny_sd1: Path, tiny_sd2: Path) -> None:
    manager = ModelManager(DevicePolicy(use_cpu=("all",), no_half=True, ram_budget_bytes=1))
    with manager.use(ref_to(tiny_sd1)) as main:
        with manager.use(ref_to(tiny_sd2)):
            assert len(manager.report()) == 2
        assert answer(main).isfinite().all()
    manager.unload()
    assert manager.report() == ()


def test_memory_stays_flat_over_ten_switches(tiny_sd1: Path, tiny_sd2: Path) -> None:
    manager = ModelManager(DevicePolicy(use_cpu=("all",), no_half=True, ram_budget_bytes=1))
    process = psutil.Process()
    resident = []
    for path in (tiny_sd1, tiny_sd2) * 5:
        with manager.use(ref_to(path)):
            pass
        gc.collect()
        resident.append(process.memory_info().rss)
    # one tiny model takes 16 MB: keeping even a third of those dropped would show
    assert resident[-1] - resident[3] < 50 * 2**20


@pytest.mark.parametrize("policy", [{"medvram": True}, {"lowvram": True}, {}])
def test_memory_modes_change_no_result(tiny_sd1: Path, manager: ModelManager, policy: dict[str, bool]) -> None:
    with manager.use(ref_to(tiny_sd1)) as plain:
        expected = answer(plain), plain.decode(torch.ones(1, 4, 4, 4)), plain.towers[0].encode(torch.tensor([[49406]]))
    with ModelManager(DevicePolicy(use_cpu=("all",), no_half=True, **policy)).use(ref_to(tiny_sd1)) as saving:
        for _ in range(2):
            encoded = saving.towers[0].encode(torch.tensor([[49406]]))
            assert torch.equal(answer(saving), expected[0])
            assert torch.equal(saving.decode(torch.ones(1, 4, 4, 4)), expected[1])
            assert torch.equal(encoded[0], expected[2][0])


def test_medvram_moves_one_network_at_a_time() -> None:
    from modules.models.placement import OneAtATime

    networks = [torch.nn.Linear(1, 1) for _ in range(3)]
    placement = OneAtATime(networks)
    placement.load(torch.device("meta"))  # a device that every machine has besides the CPU
    placement.enter(networks[1])
    assert [network.weight.device.type for network in networks] == ["cpu", "meta", "cpu"]


def test_fp8_storage_keeps_eight_bits_and_computes_in_more(manager: ModelManager, tiny_sd1: Path) -> None:
    with manager.use(ref_to(tiny_sd1)) as full:
        exact, size = answer(full), full.weight_bytes()
    with manager.use(ref_to(tiny_sd1), None, GenerationOptions(fp8_storage="Enable")) as small:
        rough = answer(small)
        assert small is not full and small.dtype == torch.float32
        assert small.unet.conv_in.weight.dtype == torch.float8_e4m3fn and small.weight_bytes() < size
    assert 0 < (rough - exact).norm() / exact.norm() < 0.3  # three bits of mantissa
    with manager.use(ref_to(tiny_sd1)) as again:
        assert torch.equal(answer(again), exact)


def test_attention_that_is_asked_for_is_used_and_what_cannot_be_had_gives_way(
    manager: ModelManager, tiny_sd1: Path
) -> None:
    with manager.use(ref_to(tiny_sd1), None, GenerationOptions(cross_attention_optimization="sub-quadratic")) as model:
        assert model.attention == "sub-quadratic"
        chunked = answer(model)
    with manager.use(ref_to(tiny_sd1), None, GenerationOptions(cross_attention_optimization="xformers")) as model:
        assert model.attention == "sdp"  # xformers has no kernels for the CPU
        assert torch.allclose(answer(model), chunked, atol=1e-4)


def test_two_files_with_one_stem_are_two_models(manager: ModelManager, tiny_sd1: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny_sd1)
    tensors["model.diffusion_model.out.2.bias"] += 1
    save_file(tensors, tmp_path / "tiny.safetensors")
    with manager.use(ref_to(tiny_sd1)) as one, manager.use(ref_to(tmp_path / "tiny.safetensors")) as other:
        assert torch.allclose(answer(other), answer(one) + 1, atol=1e-5)
