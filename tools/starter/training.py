"""The training loop every stage shares: a time budget, several one-thread processes, averaging, checkpoints, a log.

What is learned lives in the stages (`autoencoder.py`, `text.py`, `unet.py` ...), each an `Objective`.
"""

import copy
import csv
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn


class Objective(Protocol):
    """What a stage trains: its networks, its loss, and how it is judged."""

    networks: nn.Module

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimizer groups; a group's `scale` multiplies the learning rate."""
        ...

    def loss(self, generator: torch.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of one freshly drawn batch, and figures for the log. `progress` runs from 0 to 1."""
        ...

    def report(self, averaged: nn.Module) -> dict[str, float]:
        """Figures of the averaged networks on held-out data."""
        ...


@dataclass(frozen=True)
class RunOptions:
    """How long and how hard to train. The budget is time, because the machine is shared and speed is not known."""

    folder: Path
    name: str
    minutes: float
    learning_rate: float
    batch: int
    processes: int = 1
    seed: int = 0
    warmup: float = 0.02
    decay_from: float = 0.0
    ema: float = 0.999
    beta2: float = 0.95
    weight_decay: float = 0.01
    report_every_s: float = 300.0
    start_from: Path | None = None

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.pt"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.csv"


def learning_rate_factor(progress: float, warmup: float, decay_from: float) -> float:
    """Linear warm-up over the first `warmup` of the run, flat until `decay_from`, then a cosine down to 1 %."""
    if progress < warmup:
        return max(progress / warmup, 0.02)
    start = max(warmup, decay_from)
    if progress < start:
        return 1.0
    share = min((progress - start) / max(1 - start, 1e-9), 1.0)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))


def train(make: Callable[..., Objective], arguments: Mapping[str, Any], options: RunOptions) -> None:
    """Trains `make(**arguments)` until the budget is spent, continuing from the stage's checkpoint if there is one.

    A checkpoint with averaged weights alone (`resume.py`) is where training starts, with a new clock.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        _work(0, make, arguments, options, port=0)
        return
    mp.start_processes(
        _work, args=(make, arguments, options, _free_port()), nprocs=options.processes, start_method="spawn"
    )


def load_averaged(path: Path) -> dict[str, Tensor]:
    """The averaged weights in a stage's checkpoint."""
    return torch.load(path, map_location="cpu", weights_only=True)["averaged"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _work(
    rank: int, make: Callable[..., Objective], arguments: Mapping[str, Any], options: RunOptions, port: int
) -> None:
    torch.set_num_threads(1)
    parallel = options.processes > 1
    if parallel:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=options.processes)
    torch.manual_seed(options.seed)
    objective = make(**arguments)
    averaged = copy.deepcopy(objective.networks).eval().requires_grad_(False)
    groups = objective.parameter_groups()
    scales = [group.pop("scale", 1.0) for group in groups]
    optimizer = torch.optim.AdamW(
        groups, lr=options.learning_rate, betas=(0.9, options.beta2), weight_decay=options.weight_decay, fused=True
    )
    elapsed_s, steps, samples = _restore(objective.networks, averaged, optimizer, options)
    generator = torch.Generator().manual_seed(options.seed + 1000 * rank + 7919 * steps)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shared = _SharedGradients(parameters, options.processes) if parallel else None
    samples_per_step = options.batch * options.processes
    last = last_report = time.monotonic()
    sums: dict[str, float] = {}
    window = 0
    window_start_s = elapsed_s
    while True:
        progress = min(elapsed_s / (options.minutes * 60), 1.0)
        factor = learning_rate_factor(progress, options.warmup, options.decay_from)
        for group, scale in zip(optimizer.param_groups, scales, strict=True):
            group["lr"] = options.learning_rate * factor * scale
        loss, figures = objective.loss(generator, progress)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if shared is not None:
            shared.average()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        steps += 1
        samples += samples_per_step
        _update_average(averaged, objective.networks, min(options.ema, (1 + steps) / (10 + steps)))
        for name, value in {"loss": float(loss.detach()), **figures}.items():
            sums[name] = sums.get(name, 0.0) + value
        window += 1
        now = time.monotonic()
        elapsed_s = _agreed(elapsed_s + min(now - last, 60.0), parallel)
        last = now
        is_over = elapsed_s >= options.minutes * 60
        if elapsed_s - window_start_s >= options.report_every_s or is_over:
            if rank == 0:
                _save(objective.networks, averaged, optimizer, elapsed_s, steps, samples, options)
                speed = window * samples_per_step / max(now - last_report, 1e-9)
                row = {"minutes": elapsed_s / 60, "samples": samples, "samples_per_s": speed}
                row |= {name: total / window for name, total in sums.items()}
                with torch.no_grad():
                    row |= objective.report(averaged)
                _write_row(options.log, row)
            sums, window, window_start_s = {}, 0, elapsed_s
            last = last_report = time.monotonic()
        if is_over:
            break
    if parallel:
        dist.barrier()
        dist.destroy_process_group()


class _SharedGradients:
    """The gradients of all processes, averaged through one bf16 buffer made once."""

    def __init__(self, parameters: Sequence[nn.Parameter], processes: int) -> None:
        self.parameters = parameters
        self.processes = processes
        self.flat = torch.empty(sum(it.numel() for it in parameters), dtype=torch.bfloat16)
        self.views = [
            part.view_as(it)
            for part, it in zip(self.flat.split([it.numel() for it in parameters]), parameters, strict=True)
        ]

    @torch.no_grad()
    def average(self) -> None:
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [it.grad for it in self.parameters if it.grad is not None]
        torch._foreach_copy_(self.views, gradients)
        dist.all_reduce(self.flat)
        torch._foreach_copy_(gradients, self.views)
        torch._foreach_mul_(gradients, 1 / self.processes)


def _agreed(elapsed_s: float, parallel: bool) -> float:
    """The first process's clock, so that all stop at the same step."""
    if not parallel:
        return elapsed_s
    clock = torch.tensor([elapsed_s], dtype=torch.float64)
    dist.broadcast(clock, 0)
    return float(clock)


@torch.no_grad()
def _update_average(averaged: nn.Module, networks: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(networks.parameters()), 1 - decay)


def _save(
    networks: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    elapsed_s: float,
    steps: int,
    samples: int,
    options: RunOptions,
) -> None:
    state = {
        "networks": networks.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "elapsed_s": elapsed_s,
        "steps": steps,
        "samples": samples,
    }
    partial = options.checkpoint.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(options.checkpoint)


def _restore(
    networks: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer, options: RunOptions
) -> tuple[float, int, int]:
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
        averaged.load_state_dict(state["averaged"])
        if "optimizer" not in state:
            networks.load_state_dict(state["averaged"], strict=False)
            return 0.0, 0, 0
        networks.load_state_dict(state["networks"])
        optimizer.load_state_dict(state["optimizer"])
        return float(state["elapsed_s"]), int(state["steps"]), int(state["samples"])
    if options.start_from is not None:
        weights = load_averaged(options.start_from)
        networks.load_state_dict(weights, strict=False)
        averaged.load_state_dict(weights, strict=False)
    return 0.0, 0, 0


def _write_row(path: Path, row: Mapping[str, float]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow({name: f"{value:.5g}" for name, value in row.items()})
    print(" ".join(f"{name}={value:.4g}" for name, value in row.items()), flush=True)
