"""Whether the program that works on a job still lives."""

from __future__ import annotations

import subprocess
import sys

from modules.jobs import front


def test_a_program_is_alive_until_it_ends_and_its_id_alone_proves_nothing():
    assert front.is_alive(front.name())
    assert not front.is_alive(None)
    other = subprocess.run(
        [sys.executable, "-c", "from modules.jobs import front; print(front.name())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert not front.is_alive(other)
    own, _, start = front.name().partition(":")
    assert not front.is_alive(f"{own}:{start}1")
    assert not front.is_alive(f"{other.partition(':')[0]}:{start}")


def test_a_front_is_known_by_something_that_setting_the_clock_does_not_change(monkeypatch):
    before = front.name()
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("psutil.boot_time", lambda: 0.0)
    assert front.name() == before
