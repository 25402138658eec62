"""Showing a folder of this machine in its file manager, for the person who sits at it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from modules.errors import InvalidRequest, WebuiError
from modules.settings.flags import Flags

_FAILS_WITHIN_S = 3.0
"""A file manager that still runs then has started well."""


def why_not(flags: Flags) -> str:
    """Why folders cannot be opened from the page, whoever asks; "" when they can be."""
    if flags.hide_ui_dir_config:
        return "the server was started with --hide-ui-dir-config"
    if flags.is_reachable_by_others:
        return "others can reach this server, and folders open on the machine that it runs on"
    return "" if _command() else "there is no desktop with a file manager on this machine"


def show(folder: Path) -> None:
    """Open a folder; raises InvalidRequest when there is none yet, WebuiError when the file manager fails."""
    if not folder.is_dir():
        raise InvalidRequest(f"there is no folder {folder} yet; it is made with the first picture")
    command = _command()
    if command is None:
        raise WebuiError("there is no desktop with a file manager on this machine")
    try:
        if command == ["explorer.exe"]:  # from Linux inside Windows, whose paths are others
            named = subprocess.run(["wslpath", "-w", str(folder)], capture_output=True, text=True, check=True)
            _run([*command, named.stdout.strip()], tells_failure=False)
        elif command:
            _run([*command, str(folder)], tells_failure=True)
        else:
            os.startfile(folder)  # type: ignore[attr-defined]  # Windows only
    except (OSError, subprocess.SubprocessError) as error:
        raise WebuiError(f"{folder} cannot be opened: {error}") from error


def _command() -> list[str] | None:
    """What opens a folder that is named behind it; [] on Windows, which has a call for it, None without a desktop."""
    if sys.platform == "win32":
        return []
    if sys.platform == "darwin":
        return ["open"]
    if "microsoft" in platform.uname().release.lower() and shutil.which("explorer.exe"):
        return ["explorer.exe"]
    has_desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return ["xdg-open"] if has_desktop and shutil.which("xdg-open") else None


def _run(command: list[str], *, tells_failure: bool) -> None:
    """Start a program and look whether it fails at once; explorer.exe exits with 1 even when all is well."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = process.wait(_FAILS_WITHIN_S)
    except subprocess.TimeoutExpired:  # a file manager that stays in front; somebody must take its exit status
        threading.Thread(target=process.wait, name="file manager", daemon=True).start()
        return
    if status and tells_failure:
        raise WebuiError(f"{command[0]} could not open {command[-1]} (exit status {status})")
