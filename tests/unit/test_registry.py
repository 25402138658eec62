import time

import pytest

from modules.errors import UnknownName
from modules.registry import Registry


@pytest.fixture
def samplers() -> Registry[int]:
    registry: Registry[int] = Registry("sampler")
    for value, name in enumerate(("Euler a", "Euler", "DPM++ 2M")):
        registry.add(name, value, aliases=(f"k_{name.lower().replace(' ', '_')}",))
    return registry


def test_a_thing_is_found_by_name_by_alias_and_ignoring_case(samplers):
    assert [samplers.get(name) for name in ("Euler", "k_euler", "EULER")] == [1, 1, 1]


def test_an_unknown_name_is_an_error_that_suggests_the_nearest(samplers):
    with pytest.raises(UnknownName, match=r'no sampler named "Eulr a"; did you mean "Euler a", "Euler"\?'):
        samplers.get("Eulr a")


def test_an_unknown_name_with_nothing_near_is_told_what_there_is(samplers):
    with pytest.raises(UnknownName, match='there is "Euler a", "Euler", "DPM'):
        samplers.get("zzzzzzzz")


def test_names_keep_the_order_of_registration(samplers):
    assert samplers.names() == ("Euler a", "Euler", "DPM++ 2M")


def test_a_name_cannot_be_taken_twice_not_even_as_an_alias(samplers):
    with pytest.raises(ValueError, match='two samplers are named "k_euler"'):
        samplers.add("Other", 3, aliases=("k_euler",))


def test_removing_takes_the_aliases_along(samplers):
    samplers.remove("Euler")
    assert "Euler" not in samplers and "k_euler" not in samplers and len(samplers) == 2


def test_what_is_too_long_to_be_a_name_is_not_compared_for_minutes(samplers):
    started = time.monotonic()
    with pytest.raises(UnknownName):
        samplers.get("x" * 10_000_000)
    assert time.monotonic() - started < 5
