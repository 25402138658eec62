"""How much memory there is, and how "there is not enough" sounds on each kind of device."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")
_WORDS = (
    *("out of memory", "can't allocate memory", "not enough memory", "alloc_cpu.cpp", "failed to allocate"),
    "_alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED: libraries that allocate by themselves
    "invalid buffer size",  # MPS, for one tensor larger than all of the memory
)
"""What RuntimeErrors say in lower case: of PyTorch's other devices (MPS, CPU, XPU), and of libraries on CUDA."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: CUDA's own class, Python's, or a RuntimeError that says so."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def free_bytes(device: torch.device) -> int:
    """What can still be taken on a device: free memory, and what PyTorch holds there without using it.

    On the CPU: what the system calls available, or less inside a container with a limit (cgroup v2).
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    available = psutil.virtual_memory().available
    limit = _container_bytes("memory.max")
    return available if limit is None else max(0, min(available, limit - (_container_bytes("memory.current") or 0)))


def release_unused(device: torch.device) -> None:
    """Give back what nothing refers to any more, to the device and to the system.

    glibc keeps freed memory below 32 MB a piece for itself, which after some switches of checkpoints is as much as one
    of them; other C libraries have no `malloc_trim`, and no need for it.
    """
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


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
