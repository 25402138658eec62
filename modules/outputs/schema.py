"""The tables of the history, and how the file of an earlier version gets them. Nothing in it is lost."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from modules.errors import SavingError

log = logging.getLogger(__name__)

_VERSION = 2
_FILE_NAME = "file_name TEXT GENERATED ALWAYS AS (replace(path, rtrim(path, replace(path, '/', '')), '')) VIRTUAL"
_TAG_WORDS = "tag_words TEXT NOT NULL DEFAULT ''"
_COPY_TAGS = (
    "UPDATE pictures SET tag_words = (SELECT coalesce(group_concat(name, char(10)), '') FROM labels "
    "WHERE labels.kind = 'tag' AND picture = pictures.id)"
)
_TABLES = f"""
CREATE TABLE pictures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE, owner TEXT NOT NULL DEFAULT '', created REAL NOT NULL, modified_ns INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
    kind TEXT NOT NULL, role TEXT NOT NULL, seed INTEGER, steps INTEGER, model TEXT NOT NULL, sampler TEXT NOT NULL,
    prompt TEXT NOT NULL, negative_prompt TEXT NOT NULL, infotext TEXT NOT NULL,
    favourite INTEGER NOT NULL DEFAULT 0, trashed REAL, trash_path TEXT,
    {_FILE_NAME}, {_TAG_WORDS}
);
CREATE INDEX pictures_newest ON pictures (owner, trashed, created DESC, id DESC);
CREATE INDEX pictures_all_newest ON pictures (trashed, created DESC, id DESC);
CREATE INDEX pictures_by_model ON pictures (owner, trashed, model, sampler, created DESC, id DESC);
CREATE INDEX pictures_by_sampler ON pictures (owner, trashed, sampler);
CREATE TABLE labels (
    picture INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE,
    kind TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, PRIMARY KEY (picture, kind, name)
) WITHOUT ROWID;
CREATE INDEX labels_by_name ON labels (kind, name, picture);
"""
WORDS = ("prompt", "negative_prompt", "model", "seed", "tag_words", "file_name")
"""The columns in which words are searched. Triggers keep `tag_words`, a copy of the tags, one a line."""

_FROM_1 = f"""
DROP TRIGGER pictures_added;
DROP TRIGGER pictures_removed;
DROP TRIGGER pictures_changed;
DROP TABLE texts;
ALTER TABLE pictures ADD COLUMN {_FILE_NAME};
ALTER TABLE pictures ADD COLUMN {_TAG_WORDS};
{_COPY_TAGS} WHERE id IN (SELECT picture FROM labels WHERE kind = 'tag');
"""

_LATER_INDEXES = (
    "CREATE INDEX IF NOT EXISTS pictures_by_shape ON pictures (owner, trashed, role, kind, width, height)",
)
"""Indexes that files of the same version may lack."""


def bring_up_to_date(database: sqlite3.Connection, file: Path) -> None:
    """Give a new or older file these tables, inside the transaction at hand.

    Raises SavingError for the file of a newer version.
    """
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise SavingError(f"{file} was made by a newer version ({version}); move it away to index anew")
    if version == 0:
        _run(database, _TABLES + _search_schema())
    elif version == 1:  # words were searched in prompts and the model's name alone
        log.info("%s: seeds, file names and tags are made searchable", file)
        _run(database, _FROM_1 + _search_schema())
        database.execute("INSERT INTO texts (texts) VALUES ('rebuild')")
    if version != _VERSION:
        database.execute(f"PRAGMA user_version = {_VERSION}")
    for statement in _LATER_INDEXES:
        database.execute(statement)


def _search_schema() -> str:
    """The word index over `WORDS`, and the triggers that keep it and `tag_words` true."""
    columns = ", ".join(WORDS)
    old, new = (", ".join(f"{row}.{column}" for column in WORDS) for row in ("old", "new"))
    add = f"INSERT INTO texts (rowid, {columns}) VALUES (new.id, {new});"
    remove = f"INSERT INTO texts (texts, rowid, {columns}) VALUES ('delete', old.id, {old});"
    changing = columns.replace("file_name", "path")  # the name is computed from it
    return f"""
CREATE VIRTUAL TABLE texts USING fts5 (
    {columns}, content='pictures', content_rowid='id', tokenize="unicode61 remove_diacritics 2"
);
CREATE TRIGGER pictures_added AFTER INSERT ON pictures BEGIN
    {add}
END;
CREATE TRIGGER pictures_removed AFTER DELETE ON pictures BEGIN
    {remove}
END;
CREATE TRIGGER pictures_changed AFTER UPDATE OF {changing} ON pictures BEGIN
    {remove}
    {add}
END;
CREATE TRIGGER tag_added AFTER INSERT ON labels WHEN new.kind = 'tag' BEGIN
    {_COPY_TAGS} WHERE id = new.picture;
END;
CREATE TRIGGER tag_removed AFTER DELETE ON labels WHEN old.kind = 'tag' BEGIN
    {_COPY_TAGS} WHERE id = old.picture;
END;
"""


def _run(database: sqlite3.Connection, script: str) -> None:
    """Run a script inside the transaction at hand, which `executescript` would end."""
    for statement in _statements(script):
        database.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
