"""The index of all pictures ever saved or imported: search, filters, favourites, tags, trash. One SQLite file.

The pictures themselves are files that people may move and delete as they like; the index says what was known of them.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.errors import InvalidRequest, SavingError
from modules.outputs.filters import EVERYONE, Filter, clean, conditions
from modules.outputs.schema import bring_up_to_date
from modules.outputs.trash import delete, move_back, move_to_trash

if TYPE_CHECKING:
    from modules.generation.events import ImageDone
    from modules.generation.plan import Plan
    from modules.outputs.store import SavedImage

CHOICES = ("model", "sampler", "size", "lora", "tag", "kind", "role")
"""What pictures can be filtered by, besides words and dates."""

_LORA = re.compile(r"<(?:lora|lyco):([^:>]+)")


@dataclass(frozen=True)
class Picture:
    """One row: `path` is relative to the data folder if it lies below; `kind` is "txt2img", "img2img", "extras" …"""

    id: int
    path: str
    owner: str
    created: float
    width: int
    height: int
    size_bytes: int
    kind: str
    role: str
    seed: int | None
    steps: int | None
    model: str
    sampler: str
    prompt: str
    negative_prompt: str
    infotext: str
    favourite: bool
    trashed: float | None
    tags: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """Some pictures in the order asked for, and how many there are in all."""

    pictures: tuple[Picture, ...]
    total: int


@dataclass(frozen=True)
class Moved:
    """Ids of the pictures that went where they should, and in words what became of the others: "" if there are none."""

    ids: tuple[int, ...]
    problem: str = ""


@dataclass(frozen=True)
class Entry:
    """What is put into the index for one file."""

    path: Path
    created: float
    modified_ns: int
    width: int
    height: int
    size_bytes: int
    owner: str = ""
    kind: str = "txt2img"
    role: str = "sample"
    seed: int | None = None
    steps: int | None = None
    model: str = ""
    sampler: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    infotext: str = ""

    @classmethod
    def of(cls, saved: SavedImage, **facts: Any) -> Entry:
        """A picture that was just saved, and what else is known of it."""
        return cls(
            path=saved.path,
            created=time.time(),
            modified_ns=saved.path.stat().st_mtime_ns,
            width=saved.width,
            height=saved.height,
            size_bytes=saved.size_bytes,
            infotext=saved.infotext,
            **facts,
        )


class History:
    """The index in `file`, for pictures of one data folder. May be used from any thread and by several processes.

    Everything is asked for an owner and answers as if others' pictures did not exist; "" owns what was made without
    logins, EVERYONE sees all.
    """

    def __init__(self, file: Path, data_path: Path) -> None:
        self.file = file
        self.data_path = data_path
        self._local = threading.local()
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._transaction() as database:
                bring_up_to_date(database, file)
        except sqlite3.OperationalError as error:
            raise SavingError(f"{file}: the gallery's index cannot be written: {error}; free some space") from error

    def add(self, saved: SavedImage, *, event: ImageDone, plan: Plan) -> int:
        """Index a picture that was just saved; returns its id."""
        return self.add_entries(
            [
                Entry.of(
                    saved,
                    owner=plan.saving.owner or "",
                    kind=plan.saving.kind,
                    role=event.role,
                    seed=event.seed,
                    steps=plan.sampling.steps,
                    model=plan.model.name,
                    sampler=plan.sampling.sampler,
                    prompt=event.prompt,
                    negative_prompt=event.negative_prompt,
                )
            ]
        )[0]

    def add_entries(self, entries: Iterable[Entry]) -> list[int]:
        """Index files; one that is known already gets the new facts and keeps its favourite, tags and owner."""
        ids = []
        with self._transaction() as database:
            for entry in entries:
                row = {**vars(entry), "path": self.relative(entry.path)}
                row = {key: clean(value) for key, value in row.items()}
                changes = ", ".join(f"{key} = excluded.{key}" for key in row if key not in ("path", "owner", "created"))
                found = database.execute(
                    f"INSERT INTO pictures ({', '.join(row)}) VALUES ({', '.join(f':{key}' for key in row)}) "
                    f"ON CONFLICT (path) DO UPDATE SET {changes}, trashed = NULL, trash_path = NULL RETURNING id",
                    row,
                ).fetchone()
                ids.append(found[0])
                database.execute("DELETE FROM labels WHERE picture = ? AND kind = 'lora'", (found[0],))
                database.executemany(
                    "INSERT OR IGNORE INTO labels VALUES (?, 'lora', ?)",
                    [(found[0], name) for name in _LORA.findall(str(row["prompt"]))],
                )
        return ids

    def search(
        self,
        wanted: Filter | None = None,
        *,
        owner: str,
        limit: int = 60,
        offset: int = 0,
        oldest_first: bool = False,
    ) -> Page:
        """The pictures that fit (default: all but those in the trash), newest first unless told otherwise."""
        where, values = conditions(wanted or Filter(), owner)
        database = self._database()
        total = database.execute(f"SELECT count(*) FROM pictures WHERE {where}", values).fetchone()[0]
        direction = "ASC" if oldest_first else "DESC"
        rows = database.execute(
            f"SELECT * FROM pictures WHERE {where} ORDER BY created {direction}, id {direction} "
            "LIMIT :limit OFFSET :offset",
            {**values, "limit": max(0, limit), "offset": max(0, offset)},
        ).fetchall()
        return Page(self._pictures(rows), total)

    def ids(
        self, wanted: Filter | None = None, *, owner: str, limit: int, offset: int = 0, oldest_first: bool = False
    ) -> list[int]:
        """The ids of what `search` gives, for choosing many at once."""
        where, values = conditions(wanted or Filter(), owner)
        direction = "ASC" if oldest_first else "DESC"
        rows = self._database().execute(
            f"SELECT id FROM pictures WHERE {where} ORDER BY created {direction}, id {direction} "
            "LIMIT :limit OFFSET :offset",
            {**values, "limit": max(0, limit), "offset": max(0, offset)},
        )
        return [row["id"] for row in rows]

    def get(self, picture: int, *, owner: str) -> Picture | None:
        """One picture, None when there is none or it is somebody else's."""
        found = self._pictures(self._owned([picture], owner))
        return found[0] if found else None

    def file_of(self, picture: int, *, owner: str) -> Path | None:
        """Where a picture's file is now, in its folder or in the trash; None as in `get`, or when the trash lost it."""
        rows = self._owned([picture], owner)
        if not rows:
            return None
        path = rows[0]["path"] if rows[0]["trashed"] is None else rows[0]["trash_path"]
        return self.absolute(path) if path is not None else None

    def find(self, path: Path) -> Picture | None:
        """The picture of a file, whoever owns it."""
        rows = self._database().execute("SELECT * FROM pictures WHERE path = ?", (self.relative(path),)).fetchall()
        return self._pictures(rows)[0] if rows else None

    def choices(self, what: str, *, owner: str) -> dict[str, int]:
        """What a filter can be set to, with the number of pictures, most first; `what` is one of CHOICES.

        A "size" is written "512x768".
        """
        if what not in CHOICES:
            raise InvalidRequest(f'pictures cannot be filtered by "{what}"; there is {", ".join(CHOICES)}')
        where, values = conditions(Filter(), owner)
        if what == "size":
            query = f"SELECT width || 'x' || height, count(*) AS n FROM pictures WHERE {where} GROUP BY width, height"
        elif what not in ("lora", "tag"):
            query = f"SELECT {what}, count(*) AS n FROM pictures WHERE {where} AND {what} != '' GROUP BY 1"
        else:
            query = (
                f"SELECT name, count(*) AS n FROM labels JOIN pictures ON id = picture WHERE {where} "
                "AND labels.kind = :what GROUP BY 1"
            )
        return dict(self._database().execute(f"{query} ORDER BY n DESC, 1", {**values, "what": what}).fetchall())

    def set_favourite(self, pictures: Sequence[int], favourite: bool, *, owner: str) -> None:
        """Mark or unmark pictures."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE pictures SET favourite = ? WHERE id = ?",
                [(favourite, row["id"]) for row in self._owned(pictures, owner)],
            )

    def tag(self, pictures: Sequence[int], *names: str, owner: str) -> None:
        """Give pictures tags; case does not matter, blank ones are passed over."""
        pairs = [(row["id"], name.strip()) for row in self._owned(pictures, owner) for name in names if name.strip()]
        with self._transaction() as database:
            database.executemany("INSERT OR IGNORE INTO labels VALUES (?, 'tag', ?)", pairs)

    def untag(self, pictures: Sequence[int], *names: str, owner: str) -> None:
        """Take tags off pictures."""
        pairs = [(row["id"], name.strip()) for row in self._owned(pictures, owner) for name in names]
        with self._transaction() as database:
            database.executemany("DELETE FROM labels WHERE picture = ? AND kind = 'tag' AND name = ?", pairs)

    def trash(self, pictures: Sequence[int], *, owner: str) -> Moved:
        """Move pictures' files to the trash. `restore` undoes it. What cannot be moved stays; the others go."""
        rows = [row for row in self._owned(pictures, owner) if row["trashed"] is None]
        return _each(rows, self._trash)

    def restore(self, pictures: Sequence[int], *, owner: str) -> Moved:
        """Bring pictures back from the trash, under another name if theirs is taken. What cannot be moved stays."""
        rows = [row for row in self._owned(pictures, owner) if row["trash_path"] is not None]
        return _each(rows, self._restore)

    def empty_trash(self, *, owner: str, older_than_s: float = 0.0) -> Moved:
        """Delete what has been in the trash longer than that, for good. What cannot be deleted stays there."""
        where, values = conditions(Filter(trashed=True), owner)
        rows = (
            self._database()
            .execute(
                f"SELECT * FROM pictures WHERE {where} AND trashed <= :until",
                {**values, "until": time.time() - older_than_s},
            )
            .fetchall()
        )
        return _each(rows, self._delete)

    def _trash(self, row: sqlite3.Row) -> bool:
        path = self.absolute(row["path"])
        trashed = move_to_trash(path)
        try:
            with self._transaction() as database:
                database.execute(
                    "UPDATE pictures SET trashed = ?, trash_path = ? WHERE id = ?",
                    (time.time(), self.relative(trashed) if trashed else None, row["id"]),
                )
        except sqlite3.Error as error:
            if trashed is not None:
                move_back(trashed, path)
            raise SavingError(f"{path} cannot be moved to the trash: {error}") from error
        return True

    def _restore(self, row: sqlite3.Row) -> bool:
        trashed = self.absolute(row["trash_path"])
        path = move_back(trashed, self.absolute(row["path"]))
        if path is None:
            return False
        try:
            with self._transaction() as database:
                database.execute(
                    "UPDATE pictures SET trashed = NULL, trash_path = NULL, path = ? WHERE id = ?",
                    (self.relative(path), row["id"]),
                )
        except sqlite3.Error as error:
            move_to_trash(path, trashed)
            raise SavingError(f"{path} cannot be brought back from the trash: {error}") from error
        return True

    def _delete(self, row: sqlite3.Row) -> bool:
        if row["trash_path"] is not None:
            delete(self.absolute(row["trash_path"]))
        try:
            self._forget([row["id"]])
        except sqlite3.Error as error:
            raise SavingError(f"{row['path']} is deleted, but cannot be taken off the list: {error}") from error
        return True

    def forget_missing(self, *, owner: str) -> int:
        """Drop pictures whose files are gone from the index; returns how many."""
        where, values = conditions(Filter(), owner)
        rows = self._database().execute(f"SELECT id, path FROM pictures WHERE {where}", values).fetchall()
        missing = [row["id"] for row in rows if not self.absolute(row["path"]).exists()]
        self._forget(missing)
        return len(missing)

    def known_files(self) -> dict[str, int]:
        """Modification time in ns of every indexed file, by path."""
        return dict(self._database().execute("SELECT path, modified_ns FROM pictures").fetchall())

    def relative(self, path: Path) -> str:
        """A path as the index holds it: relative to the data folder if it lies below, "/" between parts."""
        path = Path(path)
        return (path.relative_to(self.data_path) if path.is_relative_to(self.data_path) else path).as_posix()

    def absolute(self, path: str) -> Path:
        """Where the file of an indexed path is."""
        return self.data_path / path

    def close(self) -> None:
        """Close this thread's connection."""
        database = getattr(self._local, "database", None)
        if database is not None:
            database.close()
            self._local.database = None

    def _owned(self, pictures: Sequence[int], owner: str) -> list[sqlite3.Row]:
        marks = ", ".join("?" * len(pictures))
        rule, values = ("1", []) if owner == EVERYONE else ("owner = ?", [owner])
        query = f"SELECT * FROM pictures WHERE id IN ({marks}) AND {rule} ORDER BY id"
        return self._database().execute(query, [*pictures, *values]).fetchall()

    def _pictures(self, rows: Sequence[sqlite3.Row]) -> tuple[Picture, ...]:
        labels: dict[tuple[int, str], list[str]] = {}
        if rows:
            marks = ", ".join("?" * len(rows))
            query = f"SELECT * FROM labels WHERE picture IN ({marks}) ORDER BY name"
            for label in self._database().execute(query, [row["id"] for row in rows]):
                labels.setdefault((label["picture"], label["kind"]), []).append(label["name"])
        fields = [name for name in Picture.__dataclass_fields__ if name not in ("tags", "loras")]
        return tuple(
            Picture(
                **{**{name: row[name] for name in fields}, "favourite": bool(row["favourite"])},
                tags=tuple(labels.get((row["id"], "tag"), ())),
                loras=tuple(labels.get((row["id"], "lora"), ())),
            )
            for row in rows
        )

    def _forget(self, pictures: Iterable[int]) -> None:
        with self._transaction() as database:
            database.executemany("DELETE FROM pictures WHERE id = ?", [(picture,) for picture in pictures])

    def _database(self) -> sqlite3.Connection:
        """This thread's connection."""
        database: sqlite3.Connection | None = getattr(self._local, "database", None)
        if database is None:
            database = sqlite3.connect(self.file, timeout=10, isolation_level=None)
            database.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "cache_size = -16000"):
                database.execute(f"PRAGMA {pragma}")
            self._local.database = database
        return database

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; other writers wait."""
        database = self._database()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


def _each(rows: Iterable[sqlite3.Row], move: Callable[[sqlite3.Row], bool]) -> Moved:
    """Move one picture after another; `move` says whether there was one, or raises SavingError."""
    ids, problems = [], []
    for row in rows:
        try:
            if move(row):
                ids.append(row["id"])
        except SavingError as error:
            problems.append(str(error))
    more = f"; so it is with {len(problems) - 1} more" if len(problems) > 1 else ""
    return Moved(tuple(ids), problems[0] + more if problems else "")
