"""Which folders of the machine a person may have pictures read from, and written to."""

from __future__ import annotations

from pathlib import Path

from modules.errors import InvalidRequest, NotPermitted
from modules.settings.flags import Flags


def may_use(flags: Flags, folder: Path, *, owner: str, is_administrator: bool) -> bool:
    """Whether somebody may have pictures of a folder shown, or written there.

    Alone at the machine: any folder. Where others reach the page: the administrator any; others only what
    `--gradio-allowed-path` shows to everybody, since even the data folder holds the pictures of everybody.
    """
    allowed = [Path(path).expanduser().resolve() for path in flags.gradio_allowed_path]
    if is_administrator or any(folder.resolve().is_relative_to(path) for path in allowed):
        return True
    return not flags.is_reachable_by_others and not owner.startswith(("user:", "api:"))


def asked_folder(
    named: str, base: Path, flags: Flags, *, owner: str, is_administrator: bool, must_exist: bool = True
) -> Path:
    """The folder that somebody named, relative ones below `base`; raises NotPermitted, InvalidRequest."""
    if flags.hide_ui_dir_config:
        raise NotPermitted("folders cannot be chosen here: the server was started with --hide-ui-dir-config")
    folder = Path(named.strip()).expanduser()
    folder = (folder if folder.is_absolute() else base / folder).resolve()
    if not may_use(flags, folder, owner=owner, is_administrator=is_administrator):
        raise NotPermitted("only the administrator may name folders of the machine that this server runs on")
    if not named.strip() or (must_exist and not folder.is_dir()):
        raise InvalidRequest(f'there is no folder "{named.strip()}" on the machine this server runs on')
    return folder
