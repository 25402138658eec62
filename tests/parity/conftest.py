"""One server for all cases of a corpus, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.corpus import OWN_DATA, corpus_folder, unpack_checkpoints
from tests.parity.server import ParityServer
from tests.parity.table import Table

TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fast: one of the twenty parity cases for every day")
    config.stash[TABLE] = Table()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash[TABLE]
    if table.rows:
        terminalreporter.section("parity with A1111")
        terminalreporter.write(table.text())


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    return pytestconfig.stash[TABLE]


@pytest.fixture(scope="session")
def corpus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParityServer]:
    """The server over the whole corpus."""
    yield from _serving(corpus_folder(), tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="session")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParityServer]:
    """The server over the part of the corpus that lies in this repository."""
    yield from _serving(OWN_DATA, tmp_path_factory.mktemp("parity-own"))


def _serving(root: Path, folder: Path) -> Iterator[ParityServer]:
    checkpoints = unpack_checkpoints(root, folder / "checkpoints")
    data = folder / "data"
    data.mkdir()
    server = ParityServer(checkpoints, root / "styles.csv", data)
    try:
        yield server
    finally:
        server.close()
