"""Model files opened for reading: safetensors memory-mapped, pickles read as data and nothing else.

A pickle is a program. torch's `weights_only` reader runs none of it beyond rebuilding tensors; what old training code
left beside them (Lightning callbacks, numpy numbers) is replaced by inert stubs, and anything else is refused by name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from modules.errors import ModelError, ModelFileBroken, ModelFileUnsafe, ModelUnsupported
from modules.models.header import Header, TensorInfo, read_header
from modules.models.views import view_checkpoint

HARMLESS_GLOBALS = re.compile(
    r"(pytorch_lightning|lightning|lightning_fabric|omegaconf|numpy)\.[\w.]+|argparse\.Namespace|collections\.defaultdict"
    r"|typing\.Any|builtins\.(set|dict|list|tuple|int|float)|__builtin__\.(set|dict|list|tuple|int|float)|pathlib\.\w+Path"
)
"""Globals that training code leaves in checkpoints; they are never called: a stub stands in for each."""

CHUNK = 2**18
"""How many numbers are converted at a time; what they take fits into a processor's cache."""

_PARAMETER_DICT = "torch.nn.modules.container.ParameterDict"
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_BY_NAME = {name: dtype for dtype, name in _DTYPES.items()}


class Weights:
    """The tensors of one file by name, read when asked for; a context manager that closes the file."""

    header: Header

    def tensor(self, key: str) -> Tensor:
        """The tensor on the CPU in its stored type; shares memory with the file where that is possible."""
        raise NotImplementedError

    def converted(self, key: str, dtype: torch.dtype) -> Tensor:
        """The tensor in another type; the stored one takes memory only while it is converted."""
        return self.tensor(key).to(dtype)

    def close(self) -> None:
        """Let go of the file. Tensors handed out stay valid."""

    def __enter__(self) -> Weights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SafetensorsWeights(Weights):
    def __init__(self, path: Path) -> None:
        self.header = read_header(path)
        try:
            self._file = safe_open(path, framework="pt", device="cpu").__enter__()
            self._plain = path.open("rb", buffering=0)
            self._chunk = bytearray(CHUNK * 8)
        except SafetensorError as error:
            raise ModelFileBroken(f"{path}: {error}; the file is damaged") from error

    def tensor(self, key: str) -> Tensor:
        return self._file.get_tensor(key)

    def converted(self, key: str, dtype: torch.dtype) -> Tensor:
        info = self.header.tensors[key]
        stored = _BY_NAME.get(info.dtype)
        if stored is None or stored == dtype or not info.elements:
            return self.tensor(key).to(dtype)
        # Pages of a mapping stay resident until it is closed, and fresh pages cost more than the conversion: what is
        # converted anyway is read through one small buffer.
        answer = torch.empty(info.shape, dtype=dtype)
        flat = answer.view(-1)
        self._plain.seek(self.header.data_offset + info.begin)
        for start in range(0, info.elements, CHUNK):
            count = min(CHUNK, info.elements - start)
            wanted = count * stored.itemsize
            if self._plain.readinto(memoryview(self._chunk)[:wanted]) != wanted:
                raise ModelFileBroken(f'{self.header.path}: ends within tensor "{key}"; it changed while it was read')
            piece = torch.frombuffer(self._chunk, dtype=stored, count=count)
            if stored.itemsize < 4 and dtype.itemsize < 4:
                piece = piece.float()  # torch converts between short floats one number at a time
            flat[start : start + count].copy_(piece)
        return answer

    def close(self) -> None:
        self._file.__exit__(None, None, None)
        self._plain.close()


class PickledWeights(Weights):
    def __init__(self, path: Path) -> None:
        self._tensors: Mapping[str, Tensor] = tensors_in(read_pickle(path))
        if not self._tensors:
            raise ModelFileBroken(f"{path}: holds no tensors under names; it is no model")
        infos = {
            key: TensorInfo(tuple(tensor.shape), _DTYPES.get(tensor.dtype, "F32"))
            for key, tensor in self._tensors.items()
        }
        self.header = Header(path, infos)

    def tensor(self, key: str) -> Tensor:
        return self._tensors[key]

    def close(self) -> None:
        self._tensors = {}


def open_weights(path: str | Path) -> Weights:
    """Open a model file by its content: safetensors or a pickle, whatever its name ends with.

    Raises ModelFileBroken, ModelFileUnsafe, or the OSError of a file that cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(16)
    is_pickle = start[:4] == b"PK\x03\x04" or start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    return PickledWeights(path) if is_pickle and start[8:9] != b"{" else SafetensorsWeights(path)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a small model file, which is closed again; raises as `open_weights`."""
    with open_weights(path) as weights:
        return {name: weights.tensor(name).clone() for name in weights.header}


class ViewWeights(Weights):
    """A checkpoint in LDM's names, from whatever files it is made of; they stay open until it is closed."""

    def __init__(self, path: Path, *, base: str | None = None, vae: str | None = None) -> None:
        self._files: dict[Path, Weights] = {}
        try:
            self.view = view_checkpoint(path, lambda file: self._opened(file).header, base=base, vae=vae)
        except BaseException:
            self.close()
            raise
        self.header = self.view.header

    def tensor(self, key: str) -> Tensor:
        return self._assembled(key, lambda weights, name: weights.tensor(name))

    def converted(self, key: str, dtype: torch.dtype) -> Tensor:
        return self._assembled(key, lambda weights, name: weights.converted(name, dtype))

    def close(self) -> None:
        for weights in self._files.values():
            weights.close()
        self._files.clear()

    def _assembled(self, key: str, read: Callable[[Weights, str], Tensor]) -> Tensor:
        piece = self.view.pieces[key]
        parts = [read(self._opened(file), name) for file, name in piece.places]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole.t() if piece.swapped else whole

    def _opened(self, file: Path) -> Weights:
        if file not in self._files:
            self._files[file] = open_weights(file)
        return self._files[file]


def read_pickle(path: str | Path) -> Any:
    """What a `.ckpt`, `.pt`, `.bin` or `.pth` file holds: containers, numbers, strings and tensors, never code.

    Raises ModelFileUnsafe naming the first global that is not known to be harmless, ModelUnsupported for pickles of
    protocols that torch's reader of data does not read, ModelFileBroken for damaged files. What the answer is, is up to
    the file, hence Any.
    """
    path = Path(path)
    is_zip = _is_zip(path)
    try:
        with _inert(_harmless_globals(path) if is_zip else ()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except ModelError:
        raise
    except Exception as error:  # torch raises many kinds for damaged files, UnpicklingError for refused ones
        raise _unreadable(path, error) from error


def tensors_in(content: object) -> dict[str, Tensor]:
    """The named tensors in a loaded pickle, found below `state_dict`, `model` … where training code puts them."""
    for _ in range(3):
        if not isinstance(content, Mapping):
            return {}
        inner = next(
            (
                content[key]
                for key in ("state_dict", "params_ema", "params", "model")
                if isinstance(content.get(key), Mapping)
            ),
            None,
        )
        if inner is None:
            break
        content = inner
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _harmless_globals(path: Path) -> tuple[str, ...]:
    try:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:  # a damaged zip or pickle: many kinds
        raise _unreadable(path, error) from error
    for name in wanted:
        if name != _PARAMETER_DICT and not HARMLESS_GLOBALS.fullmatch(name):
            raise _unsafe(path, name)
    return tuple(wanted)


@contextmanager
def _inert(names: tuple[str, ...]) -> Iterator[None]:
    kept = {_PARAMETER_DICT: _Parameters}
    stubs = [(type("Inert", (kept.get(name, _Inert),), {}), name) for name in names]
    with torch.serialization.safe_globals(stubs):
        yield


class _Inert(dict):
    """Stands in for an object of foreign code: takes whatever it is given and does nothing with it."""

    def __new__(cls, *arguments: object, **named: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


class _Parameters(_Inert):
    """A torch ParameterDict as the plain dictionary of its parameters (old textual inversions are saved in one)."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, Mapping) and isinstance(state.get("_parameters"), Mapping):
            self.update(state["_parameters"])


def _unreadable(path: Path, error: Exception) -> ModelError:
    """What torch's error about a pickle means."""
    if (refused := _refused_global(str(error))) is not None:
        return _unsafe(path, refused)
    if "Unsupported operand" in str(error):  # torch.save writes protocol 2; 4 and 5 have steps that its reader lacks
        return ModelUnsupported(
            f"{path}: is a pickle of a protocol that is not read here (torch.save's own is 2), so nothing in it was "
            "run; get the model as .safetensors"
        )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelFileBroken(f"{path}: cannot be read ({reason}); the download may be incomplete")


def _refused_global(message: str) -> str | None:
    match = re.search(r"GLOBAL ([\w.]+)", message) or re.search(r"Unsupported (?:global|class)[^\w]*([\w.]+)", message)
    return match[1] if match else None


def _unsafe(path: Path, name: str) -> ModelFileUnsafe:
    return ModelFileUnsafe(
        f'{path}: wants to run "{name}" when opened, which no model needs; it was not opened. '
        "Delete it, or get the model as .safetensors"
    )
