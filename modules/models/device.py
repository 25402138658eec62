"""Which device and which number types to use, with the reasons in words.

`DevicePolicy` is what the command line asked (torch-free: the front passes it to the worker); `choose` is what this
machine makes of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.errors import InvalidRequest

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DevicePolicy:
    """A1111's flags about devices, precision, memory and attention, as given; False, None and () mean "not given"."""

    use_cpu: tuple[str, ...] = ()  # "all", "sd", or other modules that do not concern the generator
    device_id: int | None = None
    precision: str = "autocast"  # "autocast", "full" or "half"
    no_half: bool = False
    no_half_vae: bool = False
    upcast_sampling: bool = False
    disable_nan_check: bool = False
    medvram: bool = False
    medvram_sdxl: bool = False
    lowvram: bool = False
    opt_channelslast: bool = False
    xformers: bool = False
    force_enable_xformers: bool = False
    opt_sdp_attention: bool = False
    opt_sdp_no_mem_attention: bool = False
    opt_sub_quad_attention: bool = False
    opt_split_attention: bool = False
    opt_split_attention_v1: bool = False
    opt_split_attention_invokeai: bool = False
    disable_opt_split_attention: bool = False
    ram_budget_bytes: int | None = None  # for models that are kept; None: half of the memory that is there

    @property
    def attention(self) -> tuple[str, ...]:
        """The attention backends that flags ask for, as `networks.attention` names them, in A1111's order."""
        wanted = {
            "xformers": self.xformers or self.force_enable_xformers,
            "sdp-no-mem": self.opt_sdp_no_mem_attention,
            "sdp": self.opt_sdp_attention,
            "sub-quadratic": self.opt_sub_quad_attention,
            "split": self.opt_split_attention or self.opt_split_attention_v1 or self.opt_split_attention_invokeai,
            "math": self.disable_opt_split_attention,
        }
        return tuple(name for name, is_wanted in wanted.items() if is_wanted)

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> DevicePolicy:
        """The policy among the command line's flags by name (Any: of every kind); others do not concern it."""
        given = {field.name: flags[field.name] for field in fields(cls) if field.name in flags}
        if isinstance(device := given.get("device_id"), str):
            if not device.isdecimal():
                raise InvalidRequest(f'--device-id "{device}": give the number of a graphics card, such as 0')
            given["device_id"] = int(device)
        return cls(**given | {"use_cpu": tuple(given.get("use_cpu") or ())})


@dataclass(frozen=True)
class DeviceChoice:
    """What is used, and why: one sentence a decision, for the log and the Models page."""

    device: torch.device
    unet_dtype: torch.dtype
    text_dtype: torch.dtype
    vae_dtype: torch.dtype
    reasons: tuple[str, ...] = field(default=())

    @property
    def has_own_memory(self) -> bool:
        """Whether device memory is another than the main memory, so that models are moved."""
        return self.device.type not in ("cpu", "mps")


def choose(policy: DevicePolicy) -> DeviceChoice:
    """The device and types for this machine; raises InvalidRequest when the flags name a device that is not there."""
    import torch

    device, why_device = _device(policy)
    half, why_half = _half_type(device)
    if policy.no_half or policy.precision == "full":
        half, why_half = torch.float32, "float32: --no-half or --precision full was given"
    elif policy.precision == "half" and half == torch.float32:
        half = torch.bfloat16 if device.type == "cpu" else torch.float16
        why_half = f"{_name(half)}: --precision half was given"
    text, vae, why_others = half, half, ""
    if half == torch.bfloat16 and policy.precision != "half":
        text = vae = torch.float32
        why_others = "text encoder and VAE in float32: they run once a picture, and bfloat16 would show as banding"
    elif policy.no_half_vae and half != torch.float32:
        vae, why_others = torch.float32, "VAE in float32: --no-half-vae was given"
    elif device.type == "mps" and half == torch.float16 and policy.precision != "half":
        vae, why_others = torch.float32, "VAE in float32: A1111 starts with --no-half-vae on Macs, and so do we"
    why_upcast = ""
    if policy.upcast_sampling:
        why_upcast = "samplers compute in float32 around the network whatever its type: --upcast-sampling adds nothing"
    reasons = tuple(reason for reason in (why_device, why_half, why_others, why_upcast) if reason)
    return DeviceChoice(device, unet_dtype=half, text_dtype=text, vae_dtype=vae, reasons=reasons)


def has_bfloat16(device: torch.device) -> bool:
    """Whether networks can run in bfloat16 there; NVIDIA cards before Ampere only store it."""
    import torch

    if device.type == "cuda" and torch.version.hip is None:
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return True


def has_float8(device: torch.device) -> bool:
    """Whether tensors of 8-bit floats can be kept there, and widened; Apple's GPUs do not know them at all."""
    return device.type != "mps"


def _device(policy: DevicePolicy) -> tuple[torch.device, str]:
    import torch

    if {"all", "sd"} & set(policy.use_cpu):
        return torch.device("cpu"), "CPU: --use-cpu was given"
    index = policy.device_id or 0
    if torch.cuda.is_available():
        device = _numbered("cuda", index, torch.cuda.device_count())
        name = torch.cuda.get_device_name(device)
        if torch.version.hip is not None:
            return device, f"AMD card {index}: {name}"
        if (why_not := _without_kernels(device, name)) is not None:
            return torch.device("cpu"), f"CPU: {why_not}"
        return device, f"CUDA device {index}: {name}"
    if torch.xpu.is_available():
        device = _numbered("xpu", index, torch.xpu.device_count())
        return device, f"Intel card {index}: {torch.xpu.get_device_name(device)}"
    if torch.backends.mps.is_available():
        return torch.device("mps"), "Apple GPU (MPS)"
    return torch.device("cpu"), f"CPU: {_why_no_gpu()}" + (", --device-id has no effect" if policy.device_id else "")


def _numbered(kind: str, index: int, count: int) -> torch.device:
    import torch

    if index >= count:
        there = {"cuda": "CUDA", "xpu": "Intel"}[kind]
        raise InvalidRequest(f"--device-id {index}: this machine has {count} {there} devices, numbered from 0")
    return torch.device(kind, index)


def _without_kernels(device: torch.device, name: str) -> str | None:
    """Why this build of PyTorch cannot compute on an NVIDIA card; None where it can.

    Machine code for x.y runs on every x.z with z >= y, as NVIDIA promises; builds carry it for some x.y only, and their
    makers drop old cards. "compute_…" is code that the driver compiles for any newer card.
    """
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    built = [entry.rstrip("af").split("_") for entry in torch.cuda.get_arch_list()]  # "sm_86", "sm_90a", "compute_120"
    codes = [(kind, *divmod(int(number), 10)) for kind, number in built]
    if not codes or any(kind == "compute" and (x, y) <= (major, minor) for kind, x, y in codes):
        return None
    if any(x == major and y <= minor for kind, x, y in codes if kind == "sm"):
        return None
    there = ", ".join(f"{x}.{y}" for x, y in sorted({(x, y) for _, x, y in codes}))
    if (major, minor) < min((x, y) for _, x, y in codes):
        what = "./webui.sh --reinstall-torch installs the build for older cards"
    else:
        what = "name a newer build with TORCH_COMMAND in webui-user.sh"
    card = f"{name} has compute capability {major}.{minor}"
    return f"{card}, and PyTorch {torch.__version__} has code for {there} only; {what}"


def _why_no_gpu() -> str:
    import torch

    for kind in ("cuda", "hip", "xpu"):
        if getattr(torch.version, kind, None) is not None:
            kind = {"cuda": "CUDA", "hip": "ROCm", "xpu": "Intel cards"}[kind]
            return f"PyTorch was built for {kind} but finds no device (is its driver there, and new enough?)"
    return "no GPU was found"


def _half_type(device: torch.device) -> tuple[torch.dtype, str]:
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if "GTX 16" in name:
            return torch.float32, f"float32: {name} computes NaN in float16"
    if device.type in ("cuda", "xpu"):
        return torch.float16, "float16: half the memory of float32, and faster on most cards"
    if device.type == "mps":
        return torch.float16, "float16: half the memory on this GPU"
    flags = _cpu_flags()
    if "amx_bf16" in flags:
        return torch.bfloat16, "bfloat16: this processor multiplies it in hardware (AMX)"
    if "avx512_bf16" in flags:
        return torch.bfloat16, "bfloat16: this processor multiplies it in hardware (AVX512-BF16)"
    return torch.float32, "float32: this processor has neither AMX nor AVX512-BF16"


def _cpu_flags() -> frozenset[str]:
    """The processor's features as Linux names them; empty elsewhere, or where WEBUI_CPU_FLAGS overrides them."""
    if (stated := os.environ.get("WEBUI_CPU_FLAGS")) is not None:
        return frozenset(stated.split())
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return frozenset()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
