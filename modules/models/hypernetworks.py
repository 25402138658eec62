"""Hypernetworks: small networks that change what cross- and self-attention make keys and values of (A1111, 1.8, 11.7).

For every width of context that a file knows there is one network for the keys and one for the values:
x ← x + network(x) · multiplier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modules.errors import ModelFileBroken
from modules.models.adapters.patch import AdapterReport
from modules.models.model import Model
from modules.models.weights import read_pickle
from modules.networks.attention import attention_layers, context_hooks

Pair = tuple[nn.Module, nn.Module]
"""The networks of keys and of values for one width."""

_OLD_NAMES = {"linear1": "linear.0", "linear2": "linear.1"}
_OVER_BATCH = {"softmax": nn.Softmax, "softmin": nn.Softmin, "logsoftmax": nn.LogSoftmax, "softmax2d": nn.Softmax}
_PLAIN = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid),
    *(nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink),
    *(nn.Softsign, nn.Tanh, nn.Tanhshrink),
)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    **{kind.__name__.lower(): kind for kind in _PLAIN},
    "swish": nn.Hardswish,  # A1111's name for it
    # torch takes the first dimension when none is given, and A1111 gives none
    **{name: partial(kind, dim=0) for name, kind in _OVER_BATCH.items()},
}
"""Every activation that A1111 offers and that can be built without arguments."""


@dataclass(frozen=True)
class Hypernetwork:
    """A hypernetwork as a prompt asks for it: file, name for messages, multiplier."""

    path: str
    name: str
    multiplier: float = 1.0


class Residual(nn.Module):
    """The layers of one network, whose answer is added to what they are given."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stack = nn.Sequential(*layers)

    def forward(self, x: Tensor, multiplier: float) -> Tensor:
        return x + self.stack(x) * multiplier


def read_hypernetwork(path: str | Path) -> Mapping[int, Pair]:
    """The networks of a `.pt` file by the width of the context they change, on the CPU in their stored type.

    Raises ModelFileBroken when it is no hypernetwork or wants an activation that is not known, ModelFileUnsafe.
    """
    content = read_pickle(path)
    widths = {key: value for key, value in content.items() if type(key) is int} if isinstance(content, Mapping) else {}
    if not widths:
        raise ModelFileBroken(f"{path}: not a hypernetwork: it has no networks for any width of context")
    return {width: _pair(Path(path), width, states, content) for width, states in widths.items()}


@contextmanager
def hypernetworks_applied(model: Model, wanted: Sequence[Hypernetwork]) -> Iterator[tuple[AdapterReport, ...]]:
    """While open, these hypernetworks act on the model's attention, in their order; reports count widths of context.

    Raises ModelError for files that cannot be used.
    """
    if not wanted:
        yield ()
        return
    layers = [layer for layer in attention_layers(model.unet) if getattr(layer.processor, "takes_hooks", False)]
    widths = {layer.to_k.in_features for layer in layers}
    hooks, reports = [], []
    for one in wanted:
        pairs = read_hypernetwork(one.path)
        fitting = {width: pair for width, pair in pairs.items() if width in widths}
        notices = () if fitting else (_unfit(one, pairs, widths),)
        reports.append(AdapterReport(one.name, len(fitting), len(pairs), notices=notices))
        for network in (network for pair in fitting.values() for network in pair):
            network.to(model.device, model.dtype)
        hooks.append(_Hook(fitting, one.multiplier))
    with model.networks_noted(reports), context_hooks(model.unet, tuple(hooks)) if layers else nullcontext():
        yield tuple(reports)


def _unfit(hypernetwork: Hypernetwork, pairs: Iterable[int], widths: Iterable[int]) -> str:
    theirs, ours = (", ".join(str(width) for width in sorted(each)) for each in (pairs, widths))
    return (
        f'hypernetwork "{hypernetwork.name}" was made for another kind of model: '
        f"it changes contexts of width {theirs}, this model has {ours}"
    )


class _Hook:
    def __init__(self, pairs: Mapping[int, Pair], multiplier: float) -> None:
        self._pairs = pairs
        self._multiplier = multiplier

    def __call__(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        pair = self._pairs.get(keys.shape[-1])
        if pair is None:
            return keys, values
        return pair[0](keys, self._multiplier), pair[1](values, self._multiplier)


def _pair(path: Path, width: int, states: object, options: Mapping[Any, Any]) -> Pair:
    if not isinstance(states, (tuple, list)) or len(states) < 2 or not all(isinstance(s, Mapping) for s in states[:2]):
        raise ModelFileBroken(f"{path}: the networks for width {width} are not a pair of named tensors; it is damaged")
    return tuple(_network(path, width, state, options) for state in states[:2])  # type: ignore[return-value]


def _network(path: Path, width: int, state: Mapping[str, Tensor], options: Mapping[Any, Any]) -> nn.Module:
    """One network from its tensors: linear layers, each perhaps with an activation and a layer norm behind it.

    Dropout, which only takes part in training, leaves gaps in the numbers of the layers; their order is what counts.
    """
    parts: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        module, _, leaf = key.rpartition(".")
        number = _OLD_NAMES.get(module, module).removeprefix("linear.")
        if not number.isdigit() or leaf not in ("weight", "bias") or not isinstance(tensor, Tensor):
            raise ModelFileBroken(f'{path}: "{key}" is no tensor of a hypernetwork; it is another kind of file')
        parts.setdefault(int(number), {})[leaf] = tensor.float()
    activation = _activation(path, options.get("activation_func"))
    last = max((number for number, part in parts.items() if part["weight"].ndim == 2), default=None)
    layers: list[nn.Module] = []
    for number, part in sorted(parts.items()):
        if part["weight"].ndim == 2:
            rows, columns = part["weight"].shape
            layers.append(_filled(nn.Linear(columns, rows, bias="bias" in part), part))
            if activation is not None and (number != last or options.get("activate_output", True)):
                layers.append(activation())
        elif "bias" in part:
            layers.append(_filled(nn.LayerNorm(len(part["weight"])), part))
        else:
            _filled(layers[-1], part)  # an activation with a weight of its own (PReLU)
    network = Residual(layers).requires_grad_(False).eval()
    try:
        network(torch.zeros(1, 1, width), 1.0)
    except RuntimeError as error:
        raise ModelFileBroken(f"{path}: the networks for width {width} do not take it ({error})") from error
    return network


def _filled(layer: nn.Module, part: Mapping[str, Tensor]) -> nn.Module:
    layer.load_state_dict(dict(part), assign=True)
    return layer


def _activation(path: Path, name: object) -> Callable[[], nn.Module] | None:
    """What makes the activation of this name; None where the file asks for none."""
    if name is None or name == "linear":
        return None
    if name not in ACTIVATIONS:
        known = ", ".join(("linear", *ACTIVATIONS))
        raise ModelFileBroken(f'{path}: wants the activation "{name}"; there is {known}')
    return ACTIVATIONS[name]
