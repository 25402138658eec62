"""Where extensions were cloned from."""

from __future__ import annotations

import os
import subprocess

import pytest

from modules.extensions.origin import origin_of

WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


@pytest.fixture
def clone(tmp_path):
    """A repository with one commit, and git to run in it."""
    env = {**os.environ, **WHO, "GIT_COMMITTER_DATE": "1700000000 +0100", "GIT_CONFIG_GLOBAL": os.devnull}

    def git(*words):
        done = subprocess.run(["git", *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("remote", "add", "origin", "https://anna:token@example.org/an/extension.git")
    git("commit", "--quiet", "--allow-empty", "-m", "first")
    return git


def test_a_clone_tells_its_remote_branch_and_commit_and_no_token(tmp_path, clone):
    origin = origin_of(tmp_path)
    assert (origin.remote, origin.branch) == ("https://example.org/an/extension.git", "main")
    assert (origin.commit_hash, origin.commit_date) == (clone("rev-parse", "HEAD"), 1700000000)
    assert origin.version == origin.commit_hash[:8]


def test_what_git_has_packed_is_found_but_for_its_date(tmp_path, clone):
    clone("gc", "--quiet")
    clone("pack-refs", "--all")
    origin = origin_of(tmp_path)
    assert (origin.commit_hash, origin.commit_date) == (clone("rev-parse", "HEAD"), None)


def test_a_single_commit_that_is_checked_out_has_no_branch(tmp_path, clone):
    clone("checkout", "--quiet", "--detach")
    assert (origin_of(tmp_path).branch, origin_of(tmp_path).commit_hash) == ("", clone("rev-parse", "HEAD"))


def test_a_folder_that_is_no_clone_has_no_origin(tmp_path, clone):
    assert origin_of(tmp_path / "elsewhere") is None
    clone("remote", "remove", "origin")
    assert origin_of(tmp_path) is None
