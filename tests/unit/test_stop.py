"""Ctrl-C and SIGTERM while the program starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from modules.server import Stop

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@pytest.fixture
def stop() -> Iterator[Stop]:
    before = {name: signal.getsignal(getattr(signal, name)) for name in NAMES}
    yield Stop()
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


def test_a_signal_ends_what_is_being_built(stop):
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name, dumps", [("SIGINT", True), ("SIGINT", False), ("SIGTERM", True)])
def test_ctrl_c_prints_what_every_thread_does_if_asked(stop, capfd, name, dumps):
    stop.dumps_stacks = lambda: dumps
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), getattr(signal, name))
    assert ("test_ctrl_c_prints" in capfd.readouterr().err) is (dumps and name == "SIGINT")


def test_what_is_held_back_is_done_whole_before_a_signal_ends_the_start(stop):
    done = []
    with pytest.raises(KeyboardInterrupt), stop.held_back():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("a process is started and known")
    assert done


def test_what_is_held_back_fails_as_it_would_without(stop):
    with pytest.raises(OSError, match="no room"), stop.held_back():
        raise OSError("no room")
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
