"""Making a new hypernetwork to train: networks that change nothing much yet (A1111's "Create hypernetwork")."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from modules.errors import InvalidRequest
from modules.models.hypernetworks import ACTIVATIONS

_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "Normal": lambda tensor: nn.init.normal_(tensor, std=0.01),
    "XavierUniform": nn.init.xavier_uniform_,
    "XavierNormal": nn.init.xavier_normal_,
    "KaimingUniform": lambda tensor: nn.init.kaiming_uniform_(tensor, nonlinearity="relu"),
    "KaimingNormal": lambda tensor: nn.init.kaiming_normal_(tensor, nonlinearity="relu"),
}
"""How the first weights are drawn, by A1111's names."""


def create(
    path: Path,
    *,
    widths: Sequence[int],
    structure: Sequence[float],
    activation: str | None,
    weight_init: str,
    layer_norm: bool,
    dropout: Sequence[float],
    activate_output: bool,
    overwrite: bool,
) -> Path:
    """Write networks of keys and of values for each width to `path` (a `.pt`), in A1111's form; returns where.

    `structure` are the layers' widths in multiples of the context's, from 1 to 1. `dropout` is noted for training, a
    share a layer. Raises InvalidRequest for what cannot be built, and when the file is there and must stay.
    """
    _check(structure, activation, weight_init, dropout)
    if path.exists() and not overwrite:
        raise InvalidRequest(f"file {path.name} already exists; choose another name, or overwrite_old")

    def state(width: int) -> dict[str, Tensor]:
        network = _network(width, structure, activation, weight_init, layer_norm, dropout, activate_output)
        return {f"linear.{key}": tensor for key, tensor in network.state_dict().items()}

    content = {
        **{width: (state(width), state(width)) for width in widths},
        "step": 0,
        "name": path.stem,
        "layer_structure": list(structure),
        "activation_func": activation,
        "is_layer_norm": layer_norm,
        "weight_initialization": weight_init,
        "use_dropout": any(dropout),
        "dropout_structure": list(dropout) or None,
        "activate_output": activate_output,
        "last_layer_dropout": bool(dropout) and dropout[-1] > 0,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
        "optional_info": None,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        torch.save(content, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _network(
    width: int,
    structure: Sequence[float],
    activation: str | None,
    weight_init: str,
    layer_norm: bool,
    dropout: Sequence[float],
    activate_output: bool,
) -> nn.Sequential:
    """One network; its layers' numbers count activations and dropout too, as A1111's do."""
    layers: list[nn.Module] = []
    last = len(structure) - 2
    for index, (inner, outer) in enumerate(pairwise(structure)):
        linear = nn.Linear(int(width * inner), int(width * outer))
        _WEIGHTS[weight_init](linear.weight.data)
        linear.bias.data.zero_()
        layers.append(linear)
        if activation not in (None, "linear") and (index < last or activate_output):
            layers.append(ACTIVATIONS[activation]())
        if layer_norm:
            layers.append(nn.LayerNorm(int(width * outer)))
        if dropout and dropout[index + 1] > 0:
            layers.append(nn.Dropout(dropout[index + 1]))
    return nn.Sequential(*layers)


def _check(structure: Sequence[float], activation: str | None, weight_init: str, dropout: Sequence[float]) -> None:
    if len(structure) < 2 or structure[0] != 1 or structure[-1] != 1 or min(structure) <= 0 or max(structure) > 16:
        raise InvalidRequest(f"layer_structure is {list(structure)}; it must begin and end with 1, such as 1, 2, 1")
    if activation not in (None, "linear") and activation not in ACTIVATIONS:
        raise InvalidRequest(f'activation_func "{activation}" is not known; there is linear, {", ".join(ACTIVATIONS)}')
    if weight_init not in _WEIGHTS:
        raise InvalidRequest(f'weight_init "{weight_init}" is not known; there is {", ".join(_WEIGHTS)}')
    if dropout and (len(dropout) != len(structure) or not all(0 <= share < 1 for share in dropout)):
        raise InvalidRequest(f"dropout_structure needs {len(structure)} shares from 0 to below 1, one a layer")
