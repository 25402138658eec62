"""Ways to compute attention in the UNet: a registry of kernels, each tried on the device before it is used.

A kernel is a function of q, k, v, each (batch, heads, tokens, width), giving (batch, heads, tokens, width). Names and
priorities are A1111's (section 10.1); what its "Doggettx", "V1" and "InvokeAI" did (work through the queries in slices
that fit into memory) is one kernel here. A kernel that cannot run on a device says why, in words, for the Models page.

Measured on a CPU at SD 1.5's sizes (4096 tokens, 8 heads of 40, float32): PyTorch's attention takes a quarter of the
time of plain bmm and softmax, so it is the automatic choice there too, unlike in A1111. On Apple's GPUs PyTorch's holds
all scores at once, ends the process where they are more than 4 GB (pytorch/pytorch#149261), and loses precision in
float16 over thousands of tokens (#190791): chunks are the automatic choice, as in A1111.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from modules.registry import Registry

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
ContextHook = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Changes what keys and what values are made of, each (B, T, C): hypernetworks."""

AUTOMATIC = "Automatic"
WIDTHS = (40, 64, 80, 160)
"""What a head of SD 1.5, SD 2 and SDXL is wide."""
SLICE_BYTES = 512 * 2**20  # what the scores of one slice may take


@dataclass(frozen=True)
class AttentionBackend:
    """`make` gives the kernel or raises with the reason why there is none; a higher `priority` is chosen first."""

    name: str
    make: Callable[[torch.device], Kernel]
    priority: int
    mps_priority: int | None = None  # where it differs
    device: str = ""  # the only kind of device that it can have kernels for; elsewhere it is tried when asked for


@dataclass(frozen=True)
class Probe:
    """What came of trying a backend: `reason` says why it cannot be used, "" when it can."""

    name: str
    reason: str = ""

    @property
    def works(self) -> bool:
        return not self.reason


BACKENDS: Registry[AttentionBackend] = Registry("attention backend")


class Unavailable(Exception):
    """A backend cannot run here; the message is the reason, without a full stop."""


def attention_backend(
    name: str, *, priority: int, mps_priority: int | None = None, aliases: tuple[str, ...] = (), device: str = ""
) -> Callable[[Callable[[torch.device], Kernel]], Callable[[torch.device], Kernel]]:
    """Register the decorated function, device → kernel, as a backend."""

    def register(make: Callable[[torch.device], Kernel]) -> Callable[[torch.device], Kernel]:
        BACKENDS.add(name, AttentionBackend(name, make, priority, mps_priority, device), aliases=aliases)
        return make

    return register


@attention_backend("xformers", priority=100, device="cuda")
def xformers_kernel(device: torch.device) -> Kernel:
    if device.type != "cuda":
        raise Unavailable("xformers has kernels for CUDA devices only")
    try:
        from xformers.ops import memory_efficient_attention
    except (ImportError, OSError) as error:
        raise Unavailable(f"xformers cannot be imported ({error})") from error

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (tensor.transpose(1, 2).contiguous() for tensor in (q, k, v))
        return memory_efficient_attention(q, k, v).transpose(1, 2)

    return run


@attention_backend("sdp", priority=90)
def sdp_kernel(device: torch.device) -> Kernel:
    """PyTorch's own choice among flash, memory-efficient and plain attention."""
    return F.scaled_dot_product_attention


@attention_backend("sdp-no-mem", priority=80)
def sdp_no_mem_kernel(device: torch.device) -> Kernel:
    """PyTorch's attention without the memory-efficient kernel, whose results vary from run to run."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            return F.scaled_dot_product_attention(q, k, v)

    return run


@attention_backend("sub-quadratic", priority=10, mps_priority=110)
def sub_quadratic_kernel(device: torch.device) -> Kernel:
    """Chunks of queries and of keys, with a running softmax: memory grows with the tokens, not with their square.

    Rabe and Staats 2021 (arXiv:2112.05682).
    """

    def run(q: Tensor, k: Tensor, v: Tensor, query_chunk: int = 1024, key_chunk: int = 4096) -> Tensor:
        return torch.cat([_running_softmax(part, k, v, key_chunk) for part in q.split(query_chunk, dim=2)], dim=2)

    return run


@attention_backend("split", priority=10, aliases=("Doggettx", "V1", "InvokeAI"))
def split_kernel(device: torch.device) -> Kernel:
    """Plain attention on as many queries at a time as half a gigabyte of scores allows."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        row_bytes = q.shape[0] * q.shape[1] * k.shape[2] * max(q.element_size(), 4)
        rows = max(1, SLICE_BYTES // row_bytes)
        return torch.cat([_plain(part, k, v) for part in q.split(rows, dim=2)], dim=2)

    return run


@attention_backend("math", priority=0, aliases=("None",))
def plain_kernel(device: torch.device) -> Kernel:
    """The formula, softmax(q kᵀ / √d) v, all at once."""
    return _plain


def probe(
    name: str, device: torch.device, dtype: torch.dtype = torch.float32, widths: Collection[int] = WIDTHS
) -> Probe:
    """Try a backend on the device with small cases and compare it with the formula in float32.

    `widths` are those of the heads it is wanted for: many kernels exist for some only.
    """
    backend = BACKENDS.get(name)
    try:
        kernel = backend.make(device)
        error = max(_error_of(kernel, device, dtype, width) for width in sorted(widths))
    except Unavailable as error:
        return Probe(backend.name, str(error))
    except Exception as error:  # kernels fail in their own ways: the reason is what matters
        return Probe(backend.name, f"it failed a small test: {type(error).__name__}: {str(error).splitlines()[0]}")
    allowed = 1e-4 if dtype == torch.float32 else 2e-2
    if not math.isfinite(error) or error > allowed:
        return Probe(backend.name, f"its result on a small test is wrong by {error:.2g}")
    return Probe(backend.name)


def _error_of(kernel: Kernel, device: torch.device, dtype: torch.dtype, width: int) -> float:
    """How far a kernel is from the formula at worst, for the shapes of cross-attention and heads of this width."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, tokens, width, generator=generator).to(device, dtype) for tokens in (64, 77, 77))
    distance = (kernel(q, k, v).float() - _plain(q.float(), k.float(), v.float())).abs()
    return distance.max().item() if distance.isfinite().all() else math.inf


def choose_backend(
    asked: str,
    preferred: tuple[str, ...],
    device: torch.device,
    dtype: torch.dtype,
    widths: Collection[int] = WIDTHS,
) -> tuple[str, tuple[Probe, ...]]:
    """The backend to use, and what came of those tried first, for queries of this type and heads of these widths.

    `asked` is the setting ("Automatic" or a name, perhaps with " - " and a remark behind it), `preferred` the backends
    that command line flags name. Raises UnknownName. What is asked but does not work gives way to what does.
    """
    name = asked.split(" - ")[0].strip() or AUTOMATIC
    order = sorted(BACKENDS, key=lambda b: -(b.mps_priority if device.type == "mps" and b.mps_priority else b.priority))
    candidates = [*preferred, *(each.name for each in order if each.device in ("", device.type))]
    if name != AUTOMATIC:
        candidates.insert(0, BACKENDS.name_of(name))
    tried: list[Probe] = []
    for candidate in dict.fromkeys(BACKENDS.name_of(each) for each in candidates):
        tried.append(probe(candidate, device, dtype, widths))
        if tried[-1].works:
            return candidate, tuple(tried)
    raise RuntimeError(f"no attention works on {device}: " + "; ".join(f"{p.name}: {p.reason}" for p in tried))


class KernelProcessor:
    """A diffusers attention processor around a kernel, for the UNet's transformer blocks.

    `upcast` computes the scores in float32 whatever the weights' type. `hooks` change the context of keys and values.
    """

    takes_hooks = True

    def __init__(self, kernel: Kernel, *, upcast: bool = False) -> None:
        self.kernel = kernel
        self.upcast = upcast
        self.hooks: tuple[ContextHook, ...] = ()

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(B, N, C) from (B, N, C) and, for cross-attention, a context (B, T, D); masks do not occur in these UNets."""
        if attention_mask is not None:
            raise NotImplementedError("attention masks are not supported by this processor")
        key_context = value_context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        for hook in self.hooks:
            key_context, value_context = hook(key_context, value_context)
        q = _heads(attention.to_q(hidden_states), attention.heads)
        k = _heads(attention.to_k(key_context), attention.heads)
        v = _heads(attention.to_v(value_context), attention.heads)
        dtype = q.dtype
        if self.upcast or attention.upcast_attention:
            q, k = q.float(), k.float()
            v = v.float()
        answer = self.kernel(q, k, v).to(dtype).transpose(1, 2).flatten(2)
        return attention.to_out[0](answer)


def use_kernel(unet: UNet2DConditionModel, kernel: Kernel, *, upcast: bool = False) -> None:
    """Let every attention of the UNet's transformer blocks use `kernel`."""
    processor = getattr(unet, "attention_processor", KernelProcessor)  # a network may bring its own kind
    unet.set_attn_processor(processor(kernel, upcast=upcast))


@contextmanager
def sliced_attention(unet: UNet2DConditionModel) -> Iterator[None]:
    """While open, attention goes through queries and keys in chunks: the least memory, and the same but for rounding.

    Attention that is diffusers' own stays as it is.
    """
    processors = [each for each in unet.attn_processors.values() if isinstance(each, KernelProcessor)]
    chunks = sub_quadratic_kernel(next(unet.parameters()).device)
    before = [(each, each.kernel) for each in {id(each): each for each in processors}.values()]
    for processor, _ in before:
        processor.kernel = chunks
    try:
        yield
    finally:
        for processor, kernel in before:
            processor.kernel = kernel


@contextmanager
def context_hooks(unet: UNet2DConditionModel, hooks: tuple[ContextHook, ...]) -> Iterator[None]:
    """While open, the contexts of every attention pass through `hooks`, in their order."""
    processors = [each for each in unet.attn_processors.values() if isinstance(each, KernelProcessor)]
    if not processors:
        raise RuntimeError("this network has diffusers' own attention; give it a kernel with use_kernel first")
    before = {id(each): (each, each.hooks) for each in processors}.values()
    for processor, kept in before:
        processor.hooks = kept + hooks
    try:
        yield
    finally:
        for processor, kept in before:
            processor.hooks = kept


def head_widths(network: nn.Module) -> frozenset[int]:
    """How wide the heads of a network's attention layers are."""
    return frozenset(layer.inner_dim // layer.heads for layer in attention_layers(network))


def attention_layers(network: nn.Module) -> list[Attention]:
    """Every attention layer of a network."""
    return [module for module in network.modules() if isinstance(module, Attention)]


def _heads(tensor: Tensor, heads: int) -> Tensor:
    return tensor.unflatten(2, (heads, -1)).transpose(1, 2)


def _plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    return torch.matmul(scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype), v)


def _running_softmax(q: Tensor, k: Tensor, v: Tensor, key_chunk: int) -> Tensor:
    highest = total = answer = None
    scale = q.shape[-1] ** -0.5
    for keys, values in zip(k.split(key_chunk, dim=2), v.split(key_chunk, dim=2), strict=True):
        scores = torch.matmul(q * scale, keys.transpose(-1, -2)).float()
        peak = scores.amax(dim=-1, keepdim=True)
        weights = (scores - peak).exp()
        part, mass = torch.matmul(weights.to(v.dtype), values).float(), weights.sum(dim=-1, keepdim=True)
        if highest is None:
            highest, total, answer = peak, mass, part
            continue
        new = torch.maximum(highest, peak)
        before, now = (highest - new).exp(), (peak - new).exp()
        highest, total, answer = new, total * before + mass * now, answer * before + part * now
    return (answer / total).to(q.dtype)
