from __future__ import annotations

import pytest

from tests.support.server import RunningServer


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    """The API with a ready worker, shared by the tests of this folder that leave it as it was."""
    running = RunningServer(tmp_path_factory.mktemp("server"), "--nowebui").wait_until_ready()
    yield running
    running.stop()


@pytest.fixture
def start(tmp_path):
    """Start servers over one data folder, for tests that end them."""
    started = []

    def start(*flags):
        started.append(RunningServer(tmp_path, *flags))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.stop()
