"""What a model does when memory runs out: the same work with less of it at a time, rung by rung, and it is said.

Moving it to the device: other models leave, one network at a time. The network: other models leave the device,
attention in slices, half of the batch at a time (down to one row: prompt and negative prompt apart), one network on the
device at a time, layer by layer. The VAE: other models leave, tiles sized by what is free, one network at a time,
smaller tiles. Each rung is tried once. What was needed is remembered with the size of the run: one at least that large
begins there, a smaller one begins without. Where the device has no memory of its own, others are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch

from modules.errors import NotEnoughMemory
from modules.models.memory import free_bytes, in_words, is_out_of_memory, release_unused
from modules.models.placement import AllOnDevice, OneAtATime, PieceByPiece

logger = logging.getLogger(__name__)

T = TypeVar("T")

TILE_SIDES = (1024, 768, 512, 384, 256, 192, 128)
"""Pixels on a side of the VAE's tiles, the preferred first; below 128 seams would show."""
TILE_SHARE = 0.7
"""How much of what is free a tile may take."""


@dataclass(frozen=True)
class Means:
    """How much of a run happens at once; the default is all of it."""

    sliced: bool = False  # attention
    rows: int | None = None  # of the batch
    tile: int | None = None  # pixels on a side


@dataclass(frozen=True)
class Run:
    """A run of a network: `rows` in the batch, `size` in cells of latents over all rows, the longest `side` in pixels.

    `bytes_for(side)` is about what a square of so many pixels takes (the VAE only). `advice` is what a person can do
    when nothing helped.
    """

    doing: str
    rows: int
    size: int
    side: int = 0
    bytes_for: Callable[[int], int] = lambda side: 0
    advice: str = "choose a smaller size or batch, or close other programs"


class Climber(Protocol):
    """What rungs ask of a model."""

    device: torch.device
    placement: AllOnDevice

    def make_room(self) -> bool:
        """Let other models leave the device, or memory where that is the same; whether there were any."""
        ...

    def place(self, kind: type[AllOnDevice]) -> None:
        """Keep the networks elsewhere from now on."""
        ...

    def say(self, message: str) -> None:
        """Tell the person at the job's side, and the log."""
        ...


Rung = Callable[[Climber, Means, Run], "tuple[Means, str] | None"]
"""(model, means now, run) → (means with less at a time, in words); None where it cannot help, or no further."""


def others_leave(model: Climber, means: Means, run: Run) -> tuple[Means, str] | None:
    if not model.make_room():
        return None
    return means, "with other models " + ("dropped" if _shares_memory(model) else "moved off the device")


def slices(model: Climber, means: Means, run: Run) -> tuple[Means, str] | None:
    return None if means.sliced else (replace(means, sliced=True), "with attention in slices")


def half_the_rows(model: Climber, means: Means, run: Run) -> tuple[Means, str] | None:
    rows = min(means.rows or run.rows, run.rows)
    if rows <= 1:
        return None
    return replace(means, rows=rows // 2), f"with {rows // 2} of the batch's {run.rows} prompts at a time"


def one_network(model: Climber, means: Means, run: Run) -> tuple[Means, str] | None:
    if isinstance(model.placement, OneAtATime) or _shares_memory(model):
        return None
    model.place(OneAtATime)
    return means, "with one network on the device at a time, as --medvram does"


def layer_by_layer(model: Climber, means: Means, run: Run) -> tuple[Means, str] | None:
    if isinstance(model.placement, PieceByPiece) or _shares_memory(model):
        return None
    model.place(PieceByPiece)
    return means, "with one layer on the device at a time, as --lowvram does"


def tiles(model: Climber, means: Means, run: Run) -> tuple[Means, str] | None:
    """The first time as large as memory allows."""
    if means.tile is not None:
        return None
    tile = tile_for(run, free_bytes(model.device))
    return None if tile is None else (replace(means, tile=tile), f"in tiles of {tile} pixels")


def smaller_tiles(model: Climber, means: Means, run: Run) -> tuple[Means, str] | None:
    smaller = [side for side in TILE_SIDES if means.tile is not None and side < means.tile]
    return (replace(means, tile=smaller[0]), f"in tiles of {smaller[0]} pixels") if smaller else None


def _shares_memory(model: Climber) -> bool:
    """Whether the device has no memory of its own, so that nothing is won by moving networks."""
    return model.device.type in ("cpu", "mps")


LOADING_RUNGS: tuple[Rung, ...] = (others_leave, one_network)
NETWORK_RUNGS: tuple[Rung, ...] = (others_leave, slices, half_the_rows, one_network, layer_by_layer)
VAE_RUNGS: tuple[Rung, ...] = (others_leave, tiles, one_network, smaller_tiles)


def tile_for(run: Run, free: int) -> int | None:
    """The side of the largest tiles that fit into `free` bytes, the smallest if none do; None for a small picture."""
    sides = [side for side in TILE_SIDES if side < run.side]
    fitting = (side for side in sides if run.bytes_for(side) <= free * TILE_SHARE)
    return next(fitting, sides[-1] if sides else None)


class Ladder:
    """The rungs of one model's network or VAE, and which of them runs of what size have needed."""

    def __init__(self, rungs: Sequence[Rung]) -> None:
        self.rungs = rungs
        self._needed: dict[int, tuple[Means, str]] = {}
        self._said: set[tuple[str, str]] = set()

    def begin_job(self) -> None:
        """Say again, once, what is done because of earlier jobs."""
        self._said.clear()

    def run(self, model: Climber, attempt: Callable[[Means], T], run: Run) -> T:
        """`attempt(means)` with the first means that suffice; raises NotEnoughMemory when the last rung did not."""
        begun = means = self._known(model, run)
        taken: dict[Rung, str] = {}
        while True:
            try:
                result = attempt(means)
                break
            except Exception as error:  # which errors mean memory is for is_out_of_memory to say
                if not is_out_of_memory(error):
                    raise
                reason = error.with_traceback(None)  # its frames hold the tensors that are in the way
            release_unused(model.device)
            rung, answer = next(
                ((rung, answer) for rung in self.rungs if (answer := rung(model, means, run)) is not None),
                (None, None),
            )
            if rung is None or answer is None:
                raise _failed(model, run, taken) from reason
            means, taken[rung] = answer
            logger.warning("%s takes more memory than there is; trying it %s", run.doing, taken[rung])
        if taken:
            self._say(model, run, ", ".join(taken.values()), "as memory was short")
        if means != begun:
            self._needed[run.size] = means, ", ".join(taken.values())
        return result

    def _known(self, model: Climber, run: Run) -> Means:
        sizes = [size for size in self._needed if size <= run.size]
        if not sizes:
            return Means()
        means, words = self._needed[max(sizes)]
        self._say(model, run, words, "as memory was short before")
        return means

    def _say(self, model: Climber, run: Run, how: str, why: str) -> None:
        """Once a job, whatever the reason."""
        if (run.doing, how) not in self._said:
            self._said.add((run.doing, how))
            model.say(f"{run.doing} was done {how}, {why}")


def _failed(model: Climber, run: Run, taken: Mapping[Rung, str]) -> NotEnoughMemory:
    even = f", even {', '.join(taken.values())}" if taken else ""
    free = in_words(free_bytes(model.device))
    return NotEnoughMemory(f"{run.doing} takes more memory than the device has ({free} are free){even}; {run.advice}")
