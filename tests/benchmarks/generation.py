"""What our loop costs beside the network, how long a picture takes, and what half precision gains on this machine."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.measure import MIB, in_fresh_process, median_s, resident_bytes, table
from tests.benchmarks.models import STARTER, plan_for, reference, sd15_size


def _run(path: Path, side: int, steps: int) -> tuple[float, float, float, int, int]:
    """(job s, job's sampling s, bare network s for as many calls, peak bytes, weight bytes), models loaded before."""
    import torch

    from modules.engine.engine import Engine
    from modules.generation.events import PassStarted, StepDone
    from modules.jobs.control import ControlBox
    from modules.models.loaded import Conditioning
    from modules.models.manager import ModelManager

    before, _ = resident_bytes()
    manager = ModelManager()
    engine = Engine(manager)
    plan = plan_for(path, side=side, steps=steps)
    list(engine.generate(plan_for(path, side=side, steps=1), ControlBox()))
    started = time.perf_counter()
    first = last = started
    for event in engine.generate(plan, ControlBox()):
        if isinstance(event, PassStarted):
            first = time.perf_counter()
        elif isinstance(event, StepDone):
            last = time.perf_counter()
    job_s = time.perf_counter() - started
    with manager.use(reference(path)) as model:
        x = torch.randn(2, model.latent_channels, side // 8, side // 8)
        text = Conditioning(torch.randn(2, 77, sum(tower.width for tower in model.towers)))
        times = torch.full((2,), 500.0)
        with torch.inference_mode():
            bare_s = median_s(lambda: model.predict(x, times, text), repeats=steps) * steps
        weights = model.weight_bytes()
    _, peak = resident_bytes()
    return job_s, last - first, bare_s, peak - before, weights


def pictures() -> str:
    """Time a picture, the loop's overhead, and peak memory, for the starter and a model of SD 1.5's size."""
    rows = []
    for name, path, side, steps in (("starter", STARTER, 128, 20), ("SD 1.5 size", sd15_size(), 512, 6)):
        job_s, sampling_s, bare_s, peak, weights = in_fresh_process(_run, path, side, steps)
        rows.append(
            (
                name,
                f"{side}×{side}, {steps} steps",
                f"{job_s:.2f} s",
                f"{sampling_s / steps * 1000:.0f} ms",
                f"{bare_s / steps * 1000:.0f} ms",
                f"{(sampling_s / bare_s - 1) * 100:+.1f} %",
                f"{peak / MIB:.0f} MiB",
                f"{peak / weights:.2f}×",
            )
        )
    header = ("model", "picture", "whole job", "a step", "bare network", "overhead", "peak memory", "over weights")
    return table("A picture", header, rows)


def _forward_s(path: Path, side: int, dtype_name: str) -> float:
    import torch

    from modules.models.device import DevicePolicy, choose
    from modules.models.loaded import Conditioning
    from modules.models.manager import ModelManager

    dtype = getattr(torch, dtype_name)
    choice = replace(choose(DevicePolicy()), unet_dtype=dtype, text_dtype=dtype)
    with ModelManager(choice=choice).use(reference(path)) as model, torch.inference_mode():
        x = torch.randn(2, 4, side // 8, side // 8)
        text = Conditioning(torch.randn(2, 77, sum(tower.width for tower in model.towers)))
        times = torch.full((2,), 500.0)
        model.predict(x, times, text)
        return median_s(lambda: model.predict(x, times, text), repeats=3)


def precision() -> str:
    """One guided network call in bfloat16 and float32 on this device."""
    rows = []
    for name, path, side in (("starter", STARTER, 128), ("SD 1.5 size", sd15_size(), 512)):
        half, full = (in_fresh_process(_forward_s, path, side, dtype) for dtype in ("bfloat16", "float32"))
        rows.append((name, f"{side}×{side}", f"{half * 1000:.0f} ms", f"{full * 1000:.0f} ms", f"{full / half:.2f}×"))
    return table("Half against full precision", ("model", "picture", "bfloat16", "float32", "gain"), rows)
