"""A network's own tensors in place of random ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def filled(build: Callable[[], Network], tensors: Mapping[str, Tensor]) -> Network:
    """What `build` makes, with these tensors (float32), ready to run; nothing is drawn at random on the way.

    The tensors may lack the counters of batch normalisation, which old files do. Raises ValueError, with what is wrong,
    when names or shapes are others than the network's.
    """
    with torch.device("meta"):
        network = build()
    counters = [name for name in network.state_dict() if name.endswith("num_batches_tracked")]
    given = {name: torch.zeros((), dtype=torch.long) for name in counters}
    given |= {name: tensor if name in given else tensor.float() for name, tensor in tensors.items()}
    try:
        network.load_state_dict(given, assign=True)
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    return network.requires_grad_(False).eval()


def count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered parts there are below `prefix`: "blocks." of "blocks.0.weight", "blocks.1.weight": 2."""
    numbers = {name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)}
    return 1 + max((int(number) for number in numbers if number.isdigit()), default=-1)
