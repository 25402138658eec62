from __future__ import annotations

import pytest
import torch

from modules.errors import InvalidRequest
from modules.models.device import DevicePolicy, choose


@pytest.mark.parametrize(
    "flags, policy, unet, rest",
    [
        ("avx2", DevicePolicy(), torch.float32, torch.float32),
        ("avx512_bf16", DevicePolicy(), torch.bfloat16, torch.float32),
        ("amx_bf16 avx512_bf16", DevicePolicy(), torch.bfloat16, torch.float32),
        ("amx_bf16", DevicePolicy(no_half=True), torch.float32, torch.float32),
        ("amx_bf16", DevicePolicy(precision="full"), torch.float32, torch.float32),
        ("avx2", DevicePolicy(precision="half"), torch.bfloat16, torch.bfloat16),
    ],
)
def test_the_processor_decides_the_type_unless_flags_do(
    monkeypatch: pytest.MonkeyPatch, flags: str, policy: DevicePolicy, unet: torch.dtype, rest: torch.dtype
) -> None:
    monkeypatch.setenv("WEBUI_CPU_FLAGS", flags)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    choice = choose(policy)
    assert (choice.device.type, choice.unet_dtype, choice.text_dtype, choice.vae_dtype) == ("cpu", unet, rest, rest)
    assert choice.reasons[0].startswith("CPU: ")


def test_a_flag_that_asks_for_what_is_always_done_is_told_so() -> None:
    assert "--upcast-sampling adds nothing" in choose(DevicePolicy(use_cpu=("all",), upcast_sampling=True)).reasons[-1]
    assert "upcast" not in " ".join(choose(DevicePolicy(use_cpu=("all",))).reasons)


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, name: str = "NVIDIA GeForce RTX 3060") -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)


def test_cuda_computes_in_half_precision_and_no_half_vae_spares_the_vae(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch)
    choice = choose(DevicePolicy(device_id=1, no_half_vae=True))
    assert (choice.device, choice.unet_dtype, choice.vae_dtype) == (
        torch.device("cuda", 1),
        torch.float16,
        torch.float32,
    )
    assert choice.has_own_memory
    assert "CUDA device 1: NVIDIA GeForce RTX 3060" in choice.reasons


def test_cards_that_compute_nan_in_float16_are_spared_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, "NVIDIA GeForce GTX 1660 SUPER")
    assert choose(DevicePolicy()).unet_dtype == torch.float32


def test_use_cpu_wins_over_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch)
    assert choose(DevicePolicy(use_cpu=("all",))).device.type == "cpu"
    assert choose(DevicePolicy(use_cpu=("interrogate",))).device.type == "cuda"


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch)
    with pytest.raises(InvalidRequest, match="--device-id 2: this machine has 2 CUDA devices"):
        choose(DevicePolicy(device_id=2))
    with pytest.raises(InvalidRequest, match='--device-id "gpu"'):
        DevicePolicy.of({"device_id": "gpu"})


def test_a_policy_takes_its_fields_from_the_flags() -> None:
    flags = {"device_id": "1", "use_cpu": None, "medvram": True, "xformers": True, "port": 7860}
    policy = DevicePolicy.of(flags)
    assert (policy.device_id, policy.use_cpu, policy.medvram, policy.attention) == (1, (), True, ("xformers",))
