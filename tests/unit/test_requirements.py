"""What an installation consists of is written down."""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTORCH = "torch"


def pinned(name: str) -> dict[str, Requirement]:
    """The lines of a file that hold for this Python, by package."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines()]
    wanted = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(one.name): one for one in wanted if one.marker is None or one.marker.evaluate()}


def needed_by(package: str) -> set[str]:
    """What an installed package needs here, its extras left out."""
    needs = [Requirement(line) for line in requires(package) or ()]
    return {canonicalize_name(one.name) for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="constraints.txt speaks of Python 3.11 and later")
def test_every_package_that_is_installed_has_its_version_written_down():
    known = pinned("requirements.txt") | pinned("constraints.txt")
    seen, todo = set[str](), set(pinned("requirements.txt"))
    while todo:
        seen |= todo
        todo = {need for package in todo for need in needed_by(package)} - seen - {PYTORCH}
    assert len(seen) > 50
    assert not seen - set(known), "add to constraints.txt"
    other = {name: version(name) for name in seen if version(name) not in known[name].specifier}
    assert not other, "installed in another version than written down"


def test_versions_are_exact():
    for name in ("requirements.txt", "constraints.txt", "requirements-test.txt"):
        for one in pinned(name).values():
            assert re.fullmatch(r"==[\w.]+", str(one.specifier)), f"{name}: {one}"
