"""How much memory there is, and how "there is not enough" sounds on each kind of device."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from types import ModuleType

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")
_WORDS = (
    *("out of memory", "can't allocate memory", "not enough memory", "alloc_cpu.cpp", "failed to allocate"),
    "_alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED: libraries that allocate by themselves
    "invalid buffer size",  # MPS, for one tensor larger than all of the memory
    *("out_of_device_memory", "out_of_host_memory"),  # UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY: XPU's driver
)
"""What RuntimeErrors say in lower case: of PyTorch's other devices (MPS, CPU, XPU), and of libraries on CUDA."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: CUDA's own class, Python's, or a RuntimeError that says so."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def is_broken_device(error: BaseException) -> bool:
    """Whether a card can no longer be used by this process after an error: an illegal access, a card that was lost.

    CUDA then answers every later call with the same error.
    """
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def free_bytes(device: torch.device) -> int:
    """What can still be taken on a device: free memory, and what PyTorch holds there without using it.

    On the CPU: what the system calls available, or less inside a container with a limit (cgroup v2). MPS shares that
    memory, and may take a part of it that the system recommends.
    """
    if (card := _card(device)) is not None:
        free, _ = card.mem_get_info(device)
        return free + card.memory_reserved(device) - card.memory_allocated(device)
    available = psutil.virtual_memory().available
    if device.type == "mps":
        used, held = torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory()
        return max(0, min(torch.mps.recommended_max_memory() - used, available + held - used))
    limit = _container_bytes("memory.max")
    return available if limit is None else max(0, min(available, limit - (_container_bytes("memory.current") or 0)))


def card_usage(device: torch.device) -> tuple[int, int] | None:
    """How many bytes of a card are used, by whomever, and how many it has; None where memory is the system's."""
    if (card := _card(device)) is None:
        return None
    free, total = card.mem_get_info(device)
    return total - free, total


def begin_peak(device: torch.device) -> None:
    """From now on `peak_bytes` counts anew."""
    if (card := _card(device)) is not None:
        card.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """The most that tensors took on a card since `begin_peak`; 0 where memory is the system's."""
    return 0 if (card := _card(device)) is None else card.max_memory_allocated(device)


def release_unused(device: torch.device) -> None:
    """Give back what nothing refers to any more, to the device and to the system.

    glibc keeps freed memory below 32 MB a piece for itself, which after some switches of checkpoints is as much as one
    of them; other C libraries have no `malloc_trim`, and no need for it.
    """
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
    if (card := _card(device)) is not None:
        card.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _card(device: torch.device) -> ModuleType | None:
    """torch's module for a card with memory of its own; None for others.

    Its functions are always told the device: "the current one" is another in every thread, and the first card in those
    that were never told, which would get a context (some hundred megabytes) by being asked.
    """
    return {"cuda": torch.cuda, "xpu": torch.xpu}.get(device.type)


def in_words(count: int) -> str:
    """A number of bytes for people: "5.7 GB", "300 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _container_bytes(name: str) -> int | None:
    """A number of the container's memory controller; None where there is none, or no limit ("max")."""
    try:
        text = (_CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
