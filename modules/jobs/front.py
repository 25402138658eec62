"""Which program works on a job, and whether it still lives: several may share the queue."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def name() -> str:
    """This process. Its id alone would not do: the system gives the id of one that is gone to another."""
    return f"{os.getpid()}:{_start(os.getpid())}"


def is_alive(front: str | None) -> bool:
    if front is None:
        return False
    pid, _, start = front.partition(":")
    try:
        return _start(int(pid)) == start
    except psutil.NoSuchProcess:
        return False


def _start(pid: int) -> str:
    """When a process began, as it is told for all of its life; raises psutil.NoSuchProcess.

    On Linux in ticks since this boot. The time of day would not do there: it is reckoned from the clock as it is now,
    and changes for a running process when somebody sets the clock.
    """
    boot, facts = Path("/proc/sys/kernel/random/boot_id"), Path(f"/proc/{pid}/stat")
    if not boot.exists():
        return f"{psutil.Process(pid).create_time():.2f}"
    try:
        after_name = facts.read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError as error:
        raise psutil.NoSuchProcess(pid) from error
    return f"{boot.read_text().strip()}:{after_name[19]}"  # field 22 of proc_pid_stat(5), counted from field 3
