"""Who may name folders of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.errors import InvalidRequest, NotPermitted
from modules.outputs.folders import asked_folder
from modules.settings.flags import Flags


def ask(folder: Path | str, base: Path, flags: Flags, owner: str = "browser:1", **more) -> Path:
    return asked_folder(str(folder), base, flags, owner=owner, **{"is_administrator": False, **more})


def test_alone_at_the_machine_any_folder_will_do_relative_ones_below_the_data_folder(tmp_path: Path):
    (tmp_path / "scans").mkdir()
    assert ask("scans", tmp_path, Flags()) == tmp_path / "scans"
    assert ask(tmp_path, Path("/"), Flags()) == tmp_path


@pytest.mark.parametrize(
    "owner, flags", [("browser:1", {"listen": True}), ("user:ann", {}), ("browser:1", {"share": True})]
)
def test_others_may_not_unless_the_folder_is_shown_to_everybody(tmp_path: Path, owner: str, flags: dict):
    with pytest.raises(NotPermitted, match="only the administrator"):
        ask(tmp_path, tmp_path, Flags(**flags), owner)
    assert ask(tmp_path, tmp_path, Flags(**flags), owner, is_administrator=True) == tmp_path
    shown = Flags(**flags, gradio_allowed_path=(str(tmp_path),))
    assert ask(tmp_path, tmp_path, shown, owner) == tmp_path
    with pytest.raises(NotPermitted):
        ask(tmp_path / "..", tmp_path, shown, owner)  # the way out of it is not shown


def test_a_folder_that_is_not_there_and_a_server_that_hides_folders_say_so(tmp_path: Path):
    with pytest.raises(InvalidRequest, match='there is no folder "nowhere"'):
        ask("nowhere", tmp_path, Flags())
    assert ask("nowhere", tmp_path, Flags(), must_exist=False) == tmp_path / "nowhere"
    with pytest.raises(NotPermitted, match="--hide-ui-dir-config"):
        ask(tmp_path, tmp_path, Flags(hide_ui_dir_config=True), is_administrator=True)
