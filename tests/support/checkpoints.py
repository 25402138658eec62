"""Random checkpoints of true size and layout, written without holding them in memory."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np

from tests.support.layouts import Layout


def write_random(path: Path, layout: Layout, *, seed: int = 0, metadata: dict[str, str] | None = None) -> Path:
    """Write `layout` as an fp16 safetensors file with weights that keep activations near unit size.

    Norm gains are 1, biases 0, every other weight is normal with deviation 1 / sqrt(fan in).
    """
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for key, shape in layout.items():
        length = 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for key, shape in layout.items():
            file.write(_values(key, shape, random).astype("<f2").tobytes())
    return path


def _values(key: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if key.endswith("bias"):
        return np.zeros(shape)
    if len(shape) == 1:
        return np.ones(shape)
    fan_in = math.prod(shape[1:]) or 1
    return random.standard_normal(shape, dtype=np.float32) / math.sqrt(fan_in)
