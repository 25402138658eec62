"""Applying adapters to a model for a while, exactly, and taking them back exactly.

A changed weight is a new tensor in the old one's place; the old tensor is kept and put back, so undoing restores every
bit and nothing accumulates. A1111 patches its weights likewise, from a backup (section 1.8).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modules.models.adapters import deltas
from modules.models.adapters.file import AdapterFile, read_adapter
from modules.models.adapters.names import T5, Target, targets
from modules.models.embedding import Embedding
from modules.models.memory import is_out_of_memory
from modules.models.model import Model

logger = logging.getLogger(__name__)

_NEED_VALUES = {"dora_scale", "oft_blocks", "oft_diag", "a1.weight", "weight"}
"""Tensors of the kinds whose change depends on the weight's values."""

_PLAIN = {"up", "down", "alpha", "scale"}
"""Tensors of the kind that most files are: a product of two matrices."""

ROWS_AT_ONCE = 2**18
"""How many numbers of a weight are changed at a time on the processor."""


@dataclass(frozen=True)
class Adapter:
    """One LoRA as a prompt asks for it: file, name for messages, the two multipliers, and at most how many ranks."""

    path: str
    name: str
    te: float = 1.0
    unet: float = 1.0
    dyn: int | None = None


@dataclass(frozen=True)
class AdapterReport:
    """What came of an adapter: how many of its modules the model has, words for the page, embeddings it brought.

    `for_t5` of the modules that are not there are SD 3's T5's, which is left out unless a setting brings it in.
    """

    name: str
    applied: int
    total: int
    for_t5: int = 0
    notices: tuple[str, ...] = ()
    embeddings: tuple[Embedding, ...] = ()


@contextmanager
def applied(model: Model, adapters: Sequence[Adapter]) -> Iterator[tuple[AdapterReport, ...]]:
    """While open, the weights have the adapters' changes added, in their order; afterwards they are the old ones.

    Raises ModelError for files that cannot be read. An adapter that was made for another kind of model (none of its
    modules is there, or one has another shape) changes nothing and says so.
    """
    undo: list[tuple[nn.Parameter, Tensor]] = []
    # A1111 keeps one network a name: naming it twice applies it twice, both times as the last tag says
    last = {adapter.name: adapter for adapter in adapters}
    adapters = [last[adapter.name] for adapter in adapters]
    files = [read_adapter(adapter.path) for adapter in adapters]
    try:
        if adapters:
            names = targets(model)
            reports = tuple(
                _apply(model, names, adapter, file, undo) for adapter, file in zip(adapters, files, strict=True)
            )
        else:
            reports = ()
        with model.networks_noted(reports):
            yield reports
    finally:
        _revert(undo, 0)


def _apply(
    model: Model,
    names: Mapping[str, Target],
    adapter: Adapter,
    file: AdapterFile,
    undo: list[tuple[nn.Parameter, Tensor]],
) -> AdapterReport:
    count, changed = 0, len(undo)
    for name, parts in file.modules.items():
        target = names.get(name)
        if target is None:
            continue
        multiplier = adapter.te if target.part == "te" else adapter.unet
        count += 1
        if multiplier == 0:
            continue
        try:
            _change(target.modules, parts, multiplier, adapter.dyn, undo)
        except (RuntimeError, KeyError, IndexError) as error:  # shapes that do not fit, tensors that are not there
            if is_out_of_memory(error):
                raise
            logger.warning('%s: module "%s" does not fit the model %s: %s', file.path, name, model.ref.name, error)
            _revert(undo, changed)
            why = f'LoRA "{adapter.name}" was made for another kind of model and is left out: "{name}" does not fit'
            return AdapterReport(adapter.name, 0, len(file.modules), notices=(why,))
    logger.info('LoRA "%s": %d of %d modules applied', adapter.name, count, len(file.modules))
    lacking = [name for name in file.modules if name not in names]
    for_t5 = sum(name.startswith(T5) for name in lacking) if model.family == "sd3" else 0
    notices = (_told(adapter.name, count, len(file.modules), lacking, for_t5),) if lacking else ()
    embeddings = tuple(_bundled(name, vectors, adapter.name) for name, vectors in file.embeddings.items())
    return AdapterReport(adapter.name, count, len(file.modules), for_t5, notices, embeddings)


def _told(name: str, count: int, total: int, lacking: Sequence[str], for_t5: int) -> str:
    """How much of a LoRA applied, and why not the rest."""
    other = next((one for one in lacking if not (for_t5 and one.startswith(T5))), None)
    whys = []
    if for_t5:
        whys.append(f"{for_t5} are for the text encoder T5, which is not loaded")
    if other is not None:
        whys.append(f'the model has no "{other}"')
    kind = " was made for another kind of model" if count == 0 and not for_t5 else ""
    return f'LoRA "{name}"{kind}: {count} of {total} modules applied, {" and ".join(whys)}'


def _change(
    modules: tuple[nn.Module, ...],
    parts: Mapping[str, Tensor],
    multiplier: float,
    dyn: int | None,
    undo: list[tuple[nn.Parameter, Tensor]],
) -> None:
    """Change one layer, or several as the one that their rows make together."""
    weights: list[nn.Parameter] = [module.weight for module in modules]  # type: ignore[misc]
    device = weights[0].device
    tensors = {name: tensor.to(device, torch.float32) for name, tensor in parts.items()}
    if len(weights) == 1 and tensors.keys() <= _PLAIN and _is_product(tensors, weights[0]):
        _add_product(weights[0], tensors, multiplier, dyn, undo)
        return
    base = weights[0].data if len(weights) == 1 else torch.cat([weight.data for weight in weights])
    # most kinds only ask for the weight's shape: a copy of every weight would take longer than the rest
    base = base.float() if _NEED_VALUES & tensors.keys() else base
    change = weight_change(tensors, base, dyn)
    if change is not None:
        change = change.mul_(multiplier)
        for weight, rows in zip(weights, change.split([len(weight) for weight in weights]), strict=True):
            _add(weight, rows, undo)
    bias_change = tensors.get("diff_b", tensors.get("b_norm"))
    biases = [module.bias for module in modules]
    if bias_change is not None and all(isinstance(bias, nn.Parameter) for bias in biases):
        whole = bias_change.reshape(-1) * multiplier
        for bias, rows in zip(biases, whole.split([len(bias) for bias in biases]), strict=True):
            _add(bias, rows, undo)


def _revert(undo: list[tuple[nn.Parameter, Tensor]], kept: int) -> None:
    """Take back every change but the first `kept`."""
    while len(undo) > kept:
        parameter, original = undo.pop()
        parameter.data = original.to(parameter.device)


def weight_change(parts: Mapping[str, Tensor], weight: Tensor, dyn: int | None = None) -> Tensor | None:
    """The change (float32, of the weight's shape, scale included, multiplier not) that a module's tensors ask for."""
    base = weight
    if weight.ndim == 4 and weight.shape[1] == 9 and _input_channels(parts) == 4:
        base = weight[:, :4]  # a LoRA of the plain model on an inpainting one: its own channels stay as they are
    alpha = float(parts["alpha"].item()) if "alpha" in parts else None
    rank: int | None = None
    if "up" in parts and "down" in parts:
        change, rank = deltas.lora(parts, base, dyn), parts["down"].shape[0]
    elif "hada_w1_a" in parts:
        change, rank = deltas.hadamard(parts, base), parts["hada_w1_b"].shape[0]
    elif any(name.startswith("lokr_") for name in parts):
        change = deltas.kronecker(parts, base)
        low_rank = parts.get("lokr_w1_b", parts.get("lokr_w2_b"))
        rank = low_rank.shape[0] if low_rank is not None else None
    elif "oft_blocks" in parts or "oft_diag" in parts:
        change = deltas.orthogonal(parts, base, alpha)
    elif "a1.weight" in parts:
        change = deltas.generalised(parts, base)
        rank = None if deltas.is_old_generalised(parts) else parts["a1.weight"].shape[1]
    elif "diff" in parts or "w_norm" in parts:
        change = parts.get("diff", parts.get("w_norm")).reshape(base.shape)  # type: ignore[union-attr]
    elif "weight" in parts:
        change = deltas.scaled(parts, base)
    else:
        return None
    change = change * _scale(parts, alpha, rank)
    if (magnitude := parts.get("dora_scale")) is not None:
        change = deltas.decomposed(change, base, magnitude)
    if base.shape != weight.shape:
        change = torch.nn.functional.pad(change, (0, 0, 0, 0, 0, weight.shape[1] - base.shape[1]))
    return change


def _scale(parts: Mapping[str, Tensor], alpha: float | None, rank: int | None) -> float:
    if "scale" in parts:
        return float(parts["scale"].item())
    return alpha / rank if alpha is not None and rank else 1.0


def _input_channels(parts: Mapping[str, Tensor]) -> int | None:
    for name in ("down", "diff"):
        if name in parts and parts[name].ndim == 4:
            return parts[name].shape[1]
    return None


def _add(parameter: nn.Parameter, change: Tensor, undo: list[tuple[nn.Parameter, Tensor]]) -> None:
    """Put `parameter + change` in the parameter's place; float32 sum (in `change`), then the parameter's own type."""
    _keep(parameter, undo)
    parameter.data = change.add_(parameter.data.to(change.dtype)).to(parameter.dtype)  # 8-bit floats do not promote


def _keep(parameter: nn.Parameter, undo: list[tuple[nn.Parameter, Tensor]]) -> None:
    """Remember what is to be put back, in main memory."""
    original = parameter.data
    undo.append((parameter, original if original.device.type == "cpu" else original.cpu()))


def _is_product(tensors: Mapping[str, Tensor], weight: Tensor) -> bool:
    """Whether a plain low-rank change has exactly the weight's rows and columns."""
    if not {"up", "down"} <= tensors.keys() or not weight.is_contiguous():
        return False
    up, down = tensors["up"].flatten(1), tensors["down"].flatten(1)
    return up.shape[1] == down.shape[0] and (len(up), down.shape[1]) == (len(weight), weight[0].numel())


def _add_product(
    parameter: nn.Parameter,
    tensors: Mapping[str, Tensor],
    multiplier: float,
    dyn: int | None,
    undo: list[tuple[nn.Parameter, Tensor]],
) -> None:
    """As `_add` of `deltas.lora`, without the change ever being whole: rows are widened, added to and narrowed in turn.

    A few rows fit into the processor's cache, where the whole change of a large layer goes to memory and back.
    """
    up, down = tensors["up"].flatten(1)[:, :dyn], tensors["down"].flatten(1)[:dyn]
    alpha = float(tensors["alpha"].item()) if "alpha" in tensors else None
    up = up * (_scale(tensors, alpha, tensors["down"].shape[0]) * multiplier)
    original = parameter.data
    _keep(parameter, undo)
    changed = torch.empty_like(original)
    rows, answer = original.flatten(1), changed.flatten(1)
    step = max(1, ROWS_AT_ONCE // rows.shape[1]) if original.device.type == "cpu" else len(rows)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        answer[part] = torch.addmm(rows[part].float(), up[part], down)
    parameter.data = changed


def _bundled(name: str, vectors: Mapping[str, Tensor], lora: str) -> Embedding:
    if not set(vectors) <= {"clip_l", "clip_g"}:
        vectors = {"": next(iter(vectors.values()))}
    return Embedding(name, vectors, bundled_in=lora)
