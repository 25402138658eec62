from __future__ import annotations

import pytest
import torch

from modules.errors import InvalidRequest
from modules.models.device import DevicePolicy, choose, has_bfloat16, has_float8


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


BUILT_FOR = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90a", "sm_100", "sm_120")
"""What PyTorch 2.10 for CUDA 12.8 says of itself."""


def pretend_cuda(
    monkeypatch: pytest.MonkeyPatch,
    name: str = "NVIDIA GeForce RTX 3060",
    capability: tuple[int, int] = (8, 6),
    built_for: tuple[str, ...] = BUILT_FOR,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(built_for))
    monkeypatch.setattr(torch.version, "cuda", "12.8")


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
    pretend_cuda(monkeypatch, "NVIDIA GeForce GTX 1660 SUPER", (7, 5))
    assert choose(DevicePolicy()).unet_dtype == torch.float32
    assert choose(DevicePolicy(precision="half")).unet_dtype == torch.float16


@pytest.mark.parametrize(
    "capability, built_for, works",
    [
        ((8, 9), BUILT_FOR, True),  # by the code for 8.6
        ((12, 0), BUILT_FOR, True),
        ((6, 1), BUILT_FOR, False),
        ((5, 2), BUILT_FOR, False),
        ((8, 6), ("sm_87",), False),  # code for a later minor version does not run on an earlier one
        ((6, 1), ("sm_50", "sm_60", "sm_70", "sm_90"), True),
        ((12, 0), ("sm_80", "sm_90"), False),
        ((12, 0), ("sm_80", "compute_90"), True),  # the driver compiles it
    ],
)
def test_a_card_that_this_pytorch_has_no_code_for_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], built_for: tuple[str, ...], works: bool
) -> None:
    pretend_cuda(monkeypatch, "NVIDIA GeForce GTX 1080", capability, built_for)
    assert choose(DevicePolicy()).device.type == ("cuda" if works else "cpu")


def test_a_card_that_is_too_old_or_too_new_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, "NVIDIA GeForce GTX 1080", (6, 1))
    assert choose(DevicePolicy()).reasons[0] == (
        f"CPU: NVIDIA GeForce GTX 1080 has compute capability 6.1, and PyTorch {torch.__version__} has code for "
        "7.0, 7.5, 8.0, 8.6, 9.0, 10.0, 12.0 only; ./webui.sh --reinstall-torch installs the build for older cards"
    )
    pretend_cuda(monkeypatch, "NVIDIA GeForce RTX 9090", (15, 0))
    assert choose(DevicePolicy()).reasons[0].endswith("name a newer build with TORCH_COMMAND in webui-user.sh")


def test_networks_run_in_bfloat16_where_the_card_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    card = torch.device("cuda", 0)
    for capability, has in (((7, 5), False), ((8, 0), True), ((12, 0), True)):
        pretend_cuda(monkeypatch, capability=capability)
        assert has_bfloat16(card) is has
    monkeypatch.setattr(torch.version, "hip", "7.2")
    pretend_cuda(monkeypatch, capability=(7, 5))
    assert has_bfloat16(card) and has_bfloat16(torch.device("cpu"))


def test_an_amd_card_is_cuda_to_pytorch_and_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, "AMD Radeon RX 7900 XTX", (11, 0), ("gfx1030", "gfx1100"))
    monkeypatch.setattr(torch.version, "hip", "7.2")
    monkeypatch.setattr(torch.version, "cuda", None)
    choice = choose(DevicePolicy())
    assert (choice.device, choice.unet_dtype) == (torch.device("cuda", 0), torch.float16)
    assert choice.reasons[0] == "AMD card 0: AMD Radeon RX 7900 XTX"


def test_an_intel_card_is_used_and_may_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda device: f"Intel Arc {device.index}")
    choice = choose(DevicePolicy(device_id=1))
    assert (choice.device, choice.unet_dtype, choice.has_own_memory) == (torch.device("xpu", 1), torch.float16, True)
    assert choice.reasons[0] == "Intel card 1: Intel Arc 1"
    with pytest.raises(InvalidRequest, match="--device-id 2: this machine has 2 Intel devices"):
        choose(DevicePolicy(device_id=2))


def test_apples_gpu_computes_in_half_precision_but_for_the_vae(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    choice = choose(DevicePolicy())
    assert (choice.device.type, choice.has_own_memory) == ("mps", False)
    assert (choice.unet_dtype, choice.text_dtype, choice.vae_dtype) == (torch.float16, torch.float16, torch.float32)
    assert has_float8(torch.device("cpu")) and not has_float8(choice.device)


@pytest.mark.parametrize("built_for, said", [("cuda", "CUDA"), ("hip", "ROCm"), ("xpu", "Intel cards")])
def test_a_build_for_gpus_that_finds_none_says_so(monkeypatch: pytest.MonkeyPatch, built_for: str, said: str) -> None:
    monkeypatch.setattr(torch.version, built_for, "1.0")
    reasons = choose(DevicePolicy(device_id=1)).reasons
    assert reasons[0].startswith(f"CPU: PyTorch was built for {said} but finds no device")
    assert reasons[0].endswith("--device-id has no effect")


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
