"""Timing, memory and tables for the benchmarks. Ratios within one run are what counts; machines differ and drift."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


def median_s(work: Callable[[], Any], *, repeats: int) -> float:
    """The median wall time of `repeats` calls, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def resident_bytes() -> tuple[int, int]:
    """(now, peak so far) of this process's own pages: anonymous memory now, and the kernel's high-water mark of all."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    kib = {key: int(value.split()[0]) for key, value in status.items() if value.strip().endswith("kB")}
    return kib["RssAnon"] * 1024, kib["VmHWM"] * 1024


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns in a process of its own: memory peaks of one measure stay out of the next."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table under a heading."""
    lines = [f"\n### {title}\n", "| " + " | ".join(header) + " |"]
    lines.append("|" + "---|" * lines[-1].count(" | ") + "---|")
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
