"""A real browser, and the page without a worker for tests that make no pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.server import RunningServer, free_port, start_server

playwright_api = pytest.importorskip("playwright.sync_api")

PATIENCE_MS = 90_000  # how long a page is waited for: a busy machine is no fault of the page's
ARGUMENTS = ["--no-sandbox", "--disable-quic", "--disable-background-networking"]


def chromium() -> str | None:
    """Debian's Chromium, or another one named by the environment; None for the one Playwright installed."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Debian's Chromium, or the one Playwright installed."""
    with playwright_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        opened = launched.new_context

        def patient_context(**options):
            context = opened(**options)
            context.set_default_timeout(PATIENCE_MS)
            return context

        launched.new_context = patient_context
        yield launched
        launched.close()


@pytest.fixture(scope="module", autouse=True)
def no_page_outlives_its_file(browser) -> Iterator[None]:
    """Pages left open go on drawing and listening, and slow every later test down."""
    yield
    for context in browser.contexts:
        context.close()


@pytest.fixture(autouse=True)
def no_page_outlives_its_test(browser, no_page_outlives_its_file) -> Iterator[None]:
    """Closes what the test opened; pages of the whole file stay."""
    before = set(browser.contexts)
    yield
    for context in set(browser.contexts) - before:
        context.close()


@pytest.fixture(scope="session")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, served without queue and worker; enough for everything that happens before a picture is made."""
    from modules.ui import assets, blocks
    from tests.browser.bare_app import BareApp

    app = BareApp(Path(tmp_path_factory.mktemp("data")))
    page = blocks.build(app)
    _, url, _ = page.launch(
        prevent_thread_lock=True, quiet=True, run_history=False, footer_links=[], head=assets.head()
    )
    yield url
    page.close(verbose=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The real server with a ready worker."""
    running = start_server(tmp_path_factory.mktemp("server"), free_port())
    running.wait_until_ready()
    yield running
    running.stop()
