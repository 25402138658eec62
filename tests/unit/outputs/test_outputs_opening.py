"""Opening folders in the machine's file manager: which program, when not, and what its failures say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modules.errors import InvalidRequest, WebuiError
from modules.outputs import opening
from modules.settings.flags import parse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in for the file manager is xdg-open's")


@pytest.fixture
def desktop(tmp_path, monkeypatch):
    """Stands in for a file manager: writes down which folder it was given; `exit status` is what it ends with."""
    program = tmp_path / "bin" / "xdg-open"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{tmp_path}/opened"\nexit $(cat "{tmp_path}/status")\n')
    program.chmod(0o755)
    (tmp_path / "status").write_text("0")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":0")
    return tmp_path


def test_a_folder_is_opened_whatever_its_name(desktop):
    folder = desktop / "a folder; rm -rf $(x) 图片"
    folder.mkdir()
    opening.show(folder)
    assert (desktop / "opened").read_text() == str(folder)


def test_a_folder_that_is_not_there_yet_and_a_file_manager_that_fails_are_said(desktop):
    with pytest.raises(InvalidRequest, match="it is made with the first picture"):
        opening.show(desktop / "not yet")
    (desktop / "status").write_text("3")
    with pytest.raises(WebuiError, match=r"xdg-open could not open .* \(exit status 3\)"):
        opening.show(desktop)


@pytest.mark.parametrize("flags, word", [
    ([], ""), (["--listen"], "others can reach"), (["--share"], "others can reach"),
    (["--server-name", "192.168.1.2"], "others can reach"), (["--hide-ui-dir-config"], "--hide-ui-dir-config"),
])  # fmt: skip
def test_who_could_be_elsewhere_is_told_why_not(desktop, flags, word):
    why = opening.why_not(parse(flags, {}))
    assert word in why and bool(why) == bool(word)


def test_a_machine_without_a_desktop_says_so(desktop, monkeypatch):
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "no desktop" in opening.why_not(parse([], {}))
    with pytest.raises(WebuiError, match="no desktop"):
        opening.show(Path(desktop))
