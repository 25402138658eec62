"""What each adapter format adds to a weight: one function a format, tensors in, tensor out.

All are functions of the format's own tensors and, where the format is multiplicative, of the weight as it is. The
answer has the shape of the weight, is float32, and has neither the alpha scale nor the multiplier in it.

LoRA: Hu et al. 2021 (arXiv:2106.09685); LoHa: Hyeon-Woo et al. 2021 (arXiv:2108.06098); LoKr and the Tucker forms:
LyCORIS, Yeh et al. 2023 (arXiv:2309.14859); DoRA: Liu et al. 2024 (arXiv:2402.09353); IA3: Liu et al. 2022
(arXiv:2205.05638); OFT: Qiu et al. 2023 (arXiv:2306.07280).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]


def lora(parts: Parts, weight: Tensor, dyn: int | None) -> Tensor:
    """Low rank: up @ down, with a core in the middle for Tucker convolutions. `dyn` keeps the first ranks only."""
    up, down, middle = parts["up"], parts["down"], parts.get("mid")
    if middle is not None:
        return torch.einsum("nmkl,in,mj->ijkl", middle, up.flatten(1), down.flatten(1))
    up, down = up.flatten(1), down.flatten(1)
    if dyn is not None:
        up, down = up[:, :dyn], down[:dyn]
    return (up @ down).reshape(weight.shape)


def hadamard(parts: Parts, weight: Tensor) -> Tensor:
    """LoHa: the elementwise product of two low-rank matrices."""

    def half(number: int) -> Tensor:
        a, b, core = parts[f"hada_w{number}_a"], parts[f"hada_w{number}_b"], parts.get(f"hada_t{number}")
        return (a @ b.flatten(1)) if core is None else _tucker(core, a, b)

    return (half(1) * half(2)).reshape(weight.shape)


def kronecker(parts: Parts, weight: Tensor) -> Tensor:
    """LoKr: the Kronecker product of two matrices, each whole or of low rank."""
    first = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        second = parts["lokr_w2"]
    elif "lokr_t2" in parts:
        second = _tucker(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    else:
        a, b = parts["lokr_w2_a"], parts["lokr_w2_b"]
        second = (a @ b.flatten(1)).reshape(a.shape[0], *b.shape[1:])
    if second.ndim == 4:
        first = first[:, :, None, None]
    return torch.kron(first, second.contiguous()).reshape(weight.shape)


def scaled(parts: Parts, weight: Tensor) -> Tensor:
    """IA3: the weight times a learned factor for every row, or for every column with `on_input`."""
    factor = parts["weight"].flatten()
    on_input = bool(parts["on_input"].item()) if "on_input" in parts else False
    shape = [1] * weight.ndim
    shape[1 if on_input else 0] = -1
    return weight * factor.reshape(shape)


def generalised(parts: Parts, weight: Tensor) -> Tensor:
    """GLoRA: weight @ A + B, both of low rank; LyCORIS 2 and later store A = a1 a2, older files A = a2 a1, and so B."""
    order = (2, 1) if is_old_generalised(parts) else (1, 2)
    a_tall, a_wide, b_tall, b_wide = (
        parts[f"{letter}{number}.weight"].flatten(1) for letter in "ab" for number in order
    )
    weighted = torch.einsum("oi...,ir,rj->oj...", weight, a_tall, a_wide)
    return weighted + (b_tall @ b_wide).reshape(weight.shape)


def is_old_generalised(parts: Parts) -> bool:
    """Whether GLoRA's first matrices are the wide ones; such files are not scaled by their rank (A1111)."""
    first = parts["b1.weight"]
    return first.shape[0] < first.shape[1]


def orthogonal(parts: Parts, weight: Tensor, alpha: float | None) -> Tensor:
    """OFT (3 dimensions) and BOFT (4): the weight turned by block-diagonal rotations, minus the weight.

    `oft_blocks` hold generators of the rotations (Cayley transform), whose length alpha may limit; the older
    `oft_diag` holds the rotations themselves.
    """
    if "oft_diag" in parts:
        rotations = parts["oft_diag"]
    else:
        generators = parts["oft_blocks"] - parts["oft_blocks"].transpose(-1, -2)
        if alpha:
            length = generators.norm()
            generators = generators * ((length.clamp(max=alpha * weight.shape[0]) + 1e-8) / (length + 1e-8))
        identity = torch.eye(generators.shape[-1], device=weight.device)
        rotations = (identity + generators) @ torch.linalg.inv(identity - generators)
    if rotations.ndim == 3:
        rows = weight.unflatten(0, rotations.shape[:2])
        turned = torch.einsum("knm,kn...->km...", rotations, rows).flatten(0, 1)
    else:
        turned = _butterfly(rotations, weight)
    if "rescale" in parts:
        turned = turned * parts["rescale"].reshape(-1, *[1] * (weight.ndim - 1))
    return turned - weight


def decomposed(change: Tensor, weight: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA: the change that gives `weight + change` the learned length in every slice.

    Slices are columns where the magnitude is (1, in, …), as kohya and A1111 have it, else rows (peft's vector).
    """
    merged = weight + change
    dimension = 1 if magnitude.ndim > 1 and magnitude.shape[0] == 1 else 0
    others = [dim for dim in range(weight.ndim) if dim != dimension]
    norm = torch.linalg.vector_norm(merged, dim=others, keepdim=True)
    return merged * (magnitude.reshape(norm.shape) / norm) - weight


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("ijkl,jr,ip->prkl", core, b, a)


def _butterfly(rotations: Tensor, weight: Tensor) -> Tensor:
    """BOFT: rotations (stages, blocks, size, size), each stage over rows twice as far apart as the one before."""
    turned = weight
    size = rotations.shape[-1]
    for stage, rotation in enumerate(rotations):
        far = 2**stage * (size // 2)
        rows = turned.unflatten(0, (-1, 2, far)).transpose(1, 2).flatten(0, 2).unflatten(0, (-1, size))
        rows = torch.einsum("bij,bj...->bi...", rotation, rows).flatten(0, 1)
        turned = rows.unflatten(0, (-1, far, 2)).transpose(1, 2).flatten(0, 2)
    return turned
