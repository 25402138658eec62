"""A stand-in for a GPU that this machine does not have: tensors that say they are on MPS and keep their numbers here.

What a real device refuses is refused: tensors of two devices in one operation (but for single numbers of the CPU), the
number types that Apple's GPUs do not know, numpy. So a forgotten `.to(device)` fails as it would there. What only real
kernels show (precision, memory, what is not implemented) does not appear.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("mps", 0)
UNKNOWN = {torch.float64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2}

_aten = torch.ops.aten
_BETWEEN_DEVICES = {_aten._to_copy.default, _aten.copy_.default}
_TAKES_INDICES_FROM_ANYWHERE = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default}


class OnDevice(Tensor):
    """A tensor on the pretended device; `held` has its numbers, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, real: Tensor) -> OnDevice:
        if real.dtype in UNKNOWN:
            raise TypeError(f"Trying to convert {real.dtype} to the MPS backend but it does not have support for it")
        made = Tensor._make_wrapper_subclass(
            cls, real.size(), strides=real.stride(), storage_offset=real.storage_offset(), dtype=real.dtype,
            device=DEVICE, requires_grad=False,
        )  # fmt: skip
        made.held = real
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if isinstance(value, OnDevice):
            self.held = value.held
        else:
            _become(self, value)

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        return f"OnDevice({self.held!r})"


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """While open, this thread has the device; what was moved there must have left before it closes."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(
        True
    )  # as on a real device, a parameter stays the same object
    try:
        with _Dispatch(), _Data():
            yield DEVICE
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Data(TorchFunctionMode):
    """What PyTorch decides before its dispatcher: `torch.tensor`, indexing, attention, `parameter.data = tensor`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = (kwargs or {}).get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None and torch.device(device).type == DEVICE.type:
            return func(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        if func in (F.scaled_dot_product_attention, Tensor.contiguous):
            return _run(func, args, kwargs or {})
        if func in (Tensor.__float__, Tensor.__int__) and isinstance(args[0], OnDevice):
            return func(args[0].held)
        if func is Tensor.__getitem__ and isinstance(args[0], OnDevice):
            return OnDevice(args[0].held[_held(args[1])])
        if func is Tensor.__setitem__ and isinstance(args[0], OnDevice):
            args[0].held[_held(args[1])] = _held(args[2])
            return None
        if func == Tensor.data.__set__ and len({isinstance(each, OnDevice) for each in args}) == 2:  # type: ignore[attr-defined]
            _become(*args)
            return None
        return func(*args, **(kwargs or {}))


def _become(tensor: Tensor, value: Tensor) -> None:
    """Put a value of the other device into a tensor, which stays the same object."""
    is_parameter = isinstance(tensor, nn.Parameter)
    torch.utils.swap_tensors(tensor, nn.Parameter(value, requires_grad=False) if is_parameter else value.detach())


def _held(values: Any) -> Any:
    """The same with the numbers of tensors on the device in their place."""
    return tree_map(lambda each: each.held if isinstance(each, OnDevice) else each, values)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    there = [each for each in tensors if isinstance(each, OnDevice)]
    asked = kwargs.get("device")
    to_device = asked is not None and torch.device(asked).type == DEVICE.type
    if not there and not to_device:
        return func(*args, **kwargs)
    if there and func not in _BETWEEN_DEVICES:
        here = [each for each in tensors if not isinstance(each, OnDevice) and each.ndim]
        if here and not (func in _TAKES_INDICES_FROM_ANYWHERE and isinstance(args[0], OnDevice)):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got mps:0 and cpu")
    wrappers = {id(each.held): each for each in there}
    args, kwargs = _held((args, kwargs))
    if asked is not None:
        kwargs["device"] = torch.device("cpu") if to_device else asked
    answer = func(*args, **kwargs)
    stays = to_device or (asked is None and (func is not _aten.copy_.default or id(args[0]) in wrappers))

    def wrapped(each: Any) -> Any:
        if not isinstance(each, Tensor) or not stays:
            return each
        return wrappers[id(each)] if id(each) in wrappers else OnDevice(each)

    return tree_map(wrapped, answer)
