"""What holds for every test: the order of the kinds; property tests are judged by what they find, not by speed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("suite")

KINDS = ["unit", "integration", "parity", "browser"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What fails fastest comes first. The browser comes last: Playwright keeps an event loop in the main thread until
    the run ends, and `asyncio.run` refuses to work beside it."""

    def place(item: pytest.Item) -> int:
        kind = item.nodeid.split("/")[1]
        return KINDS.index(kind) if kind in KINDS else 0

    items.sort(key=place)
