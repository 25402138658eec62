"""Installing extensions from git, folders and zip files; updates, removal and saved states. No network takes part."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from modules.errors import InvalidRequest, NotPermitted, WebuiError
from modules.extensions import states
from modules.extensions.install import check_may_install, install, uninstall, update, updates
from modules.extensions.loader import Extension, Extensions
from modules.extensions.origin import origin_of
from modules.settings.flags import Flags

CODE = '"""Does nothing, in version 1."""\n\n\ndef register(to):\n    pass\n'
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **who}, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An extension as somebody wrote it."""
    made = tmp_path / "somebody" / "sparkle"
    made.mkdir(parents=True)
    (made / "extension.py").write_text(CODE)
    return made


@pytest.fixture
def repository(folder: Path) -> Path:
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    return folder


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "extensions"


def found(into: Path, name: str = "sparkle") -> Extension:
    return next(one for one in Extensions((into,)).all if one.name == name)


def newer(repository: Path) -> str:
    (repository / "extension.py").write_text(CODE.replace("version 1", "version 2"))
    git(repository, "commit", "--quiet", "-am", "two")
    return git(repository, "rev-parse", "HEAD")


@needs_git
def test_a_clone_runs_is_told_of_updates_takes_them_and_goes_back(repository: Path, into: Path, tmp_path: Path):
    made = install(repository.as_uri(), into)
    assert made == into / "sparkle" and found(into).is_active
    assert updates(found(into)) == 0
    saved = states.save(tmp_path / "config_states", "before", Extensions((into,)).all)
    commit = newer(repository)
    assert updates(found(into)) == 1
    assert "version 1" in (made / "extension.py").read_text(), "looking changes nothing"
    assert update(found(into)) == commit[:8] and "version 2" in (made / "extension.py").read_text()
    off, problems = states.restore(tmp_path / "config_states", saved.file, Extensions((into,)).all)
    assert (off, problems) == ([], []) and "version 1" in (made / "extension.py").read_text()
    assert updates(found(into)) == 1 and origin_of(made).branch == "main", "it can be updated again"


@needs_git
def test_changes_that_somebody_made_are_not_overwritten_by_an_update(repository: Path, into: Path):
    made = install(repository.as_uri(), into)
    (made / "extension.py").write_text(CODE + "# mine\n")
    newer(repository)
    with pytest.raises(WebuiError, match=r"git merge failed: .*extension\.py"):
        update(found(into))
    assert "# mine" in (made / "extension.py").read_text()


@needs_git
def test_what_git_cannot_fetch_is_said_in_its_words_and_leaves_nothing_behind(into: Path, tmp_path: Path):
    with pytest.raises(WebuiError, match=r"git clone failed: .*does not"):
        install((tmp_path / "nothing").as_uri(), into)
    with pytest.raises(WebuiError, match=r"git clone failed: .*'ext' not allowed"):
        install("ext::sh -c touch% " + str(tmp_path / "hit"), into)
    assert not (tmp_path / "hit").exists()
    assert list(into.iterdir()) == []


def test_a_machine_without_git_says_what_to_do(into: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WebuiError, match="git is not installed on this machine; install it, or install from a folder"):
        install("https://example.org/sparkle.git", into)


def test_a_folder_and_a_zip_file_of_one_are_installed(folder: Path, into: Path, tmp_path: Path):
    assert install(str(folder), into, name="mine") == into / "mine"
    archive = Path(shutil.make_archive(str(tmp_path / "glow"), "zip", folder.parent))
    assert install(str(archive), into) == into / "glow" and found(into, "glow").is_active
    assert updates(found(into, "glow")) is None
    with pytest.raises(InvalidRequest, match='there is an extension "mine" already'):
        install(str(folder), into, name="mine")


@pytest.mark.parametrize("name", ["../outside.py", "/outside.py"])
def test_a_zip_file_cannot_write_outside_its_folder(into: Path, tmp_path: Path, name: str):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("extension.py", CODE)
        archive.writestr(name, "x")
    with pytest.raises(InvalidRequest, match="outside its folder"):
        install(str(tmp_path / "evil.zip"), into)
    assert list(into.iterdir()) == [] and not (tmp_path / "outside.py").exists()


def test_what_is_no_extension_of_this_program_is_refused(into: Path, tmp_path: Path):
    (tmp_path / "theirs" / "scripts").mkdir(parents=True)
    with pytest.raises(InvalidRequest, match="made for A1111's own program"):
        install(str(tmp_path / "theirs"), into)
    with pytest.raises(InvalidRequest, match="no git address, no folder and no zip file"):
        install(str(tmp_path / "nothing"), into)
    (tmp_path / "plain").mkdir()
    with pytest.raises(InvalidRequest, match=r"it has no extension\.py"):
        install(str(tmp_path / "plain"), into)


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "xyz_plot", "con. "])
def test_names_that_are_ours_or_no_folder_are_refused(folder: Path, into: Path, name: str):
    with pytest.raises(InvalidRequest):
        install(str(folder), into, name=name)


def test_what_is_removed_is_kept_out_of_sight_and_ours_stays(folder: Path, into: Path):
    install(str(folder), into)
    kept = uninstall(found(into), into)
    assert (kept / "extension.py").is_file() and Extensions((into,)).all == []
    with pytest.raises(InvalidRequest, match="part of the program"):
        uninstall(Extension("loopback", into / "loopback", is_builtin=True), into)


def test_a_state_remembers_what_was_off_and_says_what_is_gone(folder: Path, into: Path, tmp_path: Path):
    install(str(folder), into)
    install(str(folder), into, name="gone")
    both = Extensions((into,), disabled=["sparkle"]).all
    saved = states.save(tmp_path, "Äpfel / x", both)
    uninstall(found(into, "gone"), into)
    assert [one.name for one in states.states(tmp_path)] == ["Äpfel / x"]
    off, problems = states.restore(tmp_path, saved.file, Extensions((into,)).all)
    assert off == ["sparkle"] and problems == ["gone is not installed any more (it was not cloned from anywhere)"]
    with pytest.raises(InvalidRequest, match="no saved state"):
        states.restore(tmp_path, "../config.json", [])


@pytest.mark.parametrize(
    "flags, who, allowed",
    [
        ({}, {"is_administrator": True}, True),
        ({}, {"is_administrator": False}, False),
        ({"listen": True}, {"is_administrator": True}, False),
        ({"listen": True, "enable_insecure_extension_access": True}, {"is_administrator": True}, True),
        ({"share": True, "enable_insecure_extension_access": True}, {"is_administrator": True}, False),
        ({}, {"is_administrator": True, "is_public": True}, False),
    ],
)
def test_only_the_administrator_at_the_machine_may_bring_code(flags: dict, who: dict, allowed: bool):
    def check() -> None:
        check_may_install(Flags(**flags), **{"is_public": False, **who})

    if allowed:
        check()
    else:
        with pytest.raises(NotPermitted):
            check()
