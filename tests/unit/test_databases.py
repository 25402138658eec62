"""SQLite files that a crash, a full disk or another program has spoilt."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing

import pytest

from modules import databases
from modules.databases import move_aside_if_damaged
from modules.errors import SettingsError


def look_at(path):
    return move_aside_if_damaged(path, holds="the queue", then="it begins anew")


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "jobs.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE rows (text)")
        made.executemany("INSERT INTO rows VALUES (?)", [("x" * 500,)] * 1000)
        made.commit()
    return path


def test_a_sound_file_and_one_that_is_not_there_are_left_alone(database, tmp_path):
    before = database.read_bytes()
    assert not look_at(database)
    assert not look_at(tmp_path / "nothing.sqlite3")
    assert database.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.sqlite3"]


def test_a_file_that_another_program_has_open_is_left_alone(database):
    with closing(sqlite3.connect(database)) as other:
        other.execute("INSERT INTO rows VALUES ('y')")
        other.commit()
        assert not look_at(database)
        assert other.execute("SELECT COUNT(*) FROM rows").fetchone() == (1001,)


@pytest.mark.parametrize("how", ["text", "pages"])
def test_a_damaged_file_is_moved_aside_with_what_lies_beside_it(database, how, caplog):
    content = bytearray(database.read_bytes())
    if how == "text":
        content[:100] = b"?" * 100
    else:
        content[8192:200_000] = os.urandom(200_000 - 8192)
    database.write_bytes(content)
    database.with_name("jobs.sqlite3-wal").write_bytes(b"")
    with caplog.at_level(logging.ERROR):
        assert look_at(database)
    moved = min(database.parent.iterdir())  # the others have its name and "-wal", "-shm" behind it
    assert moved.name.startswith("jobs.sqlite3.broken-")
    assert moved.read_bytes() == content
    assert all(path.name.startswith(moved.name) for path in database.parent.iterdir())
    assert "which holds the queue, was damaged" in caplog.text
    assert caplog.text.rstrip().endswith("it begins anew")


def test_a_file_that_another_program_keeps_locked_is_said_to_be_so(database, monkeypatch):
    monkeypatch.setattr(databases, "_WAIT_S", 0.1)
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SettingsError, match="database is locked; another program has it open for writing"):
            look_at(database)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "jobs.sqlite3").mkdir()
    with pytest.raises(SettingsError, match="unable to open database file; the data folder must be writable"):
        look_at(tmp_path / "jobs.sqlite3")
