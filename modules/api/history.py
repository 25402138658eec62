"""Routes of the gallery: every picture ever saved or imported, searched, marked, thrown away and brought back.

Every route acts for the asker alone, as `modules/api/jobs.py` says; somebody else's picture is answered with 404.

    GET  /history?text=&model=&sampler=&size=512x768&lora=&tag=&kind=&role=&seed=&since=&until=&favourite=&trashed=
                 &order=newest|oldest&limit=100&offset=0
                                        {"total", "pictures": [Tile…]}; empty fields do not restrict,
                                        `since` and `until` are seconds since 1970
    GET  /history/ids?…&limit=&offset=  {"ids": [id…]} of the same pictures, for selecting many
    GET  /history/choices               {"model": {name: count, …}, "sampler", "size", "lora", "tag", "kind", "role"}
    GET  /history/{id}                  Picture
    GET  /history/{id}/file             the file as it is on disk, metadata included; `?download=1` as attachment
    GET  /history/{id}/thumb            a WebP of at most 384 px
    POST /history/favourite             {"ids", "favourite": bool}
    POST /history/tags                  {"ids", "add": [text…], "remove": [text…]}
    POST /history/trash                 {"ids"} → {"ids": those that went}
    POST /history/restore               {"ids"} → {"ids": those that came back}
    POST /history/empty-trash           {"count"}: deleted for good. These three answer 409 when no file could be moved
                                        or deleted; when only some could, "problem" says in words what of the others
    POST /history/forget-missing        {"count"}: rows dropped whose files are gone
    POST /history/import                {"folder"}: index a folder of the server; one at a time. For the
                                        administrator, or whoever is alone at the machine: its pictures are served from
                                        then on
    GET  /history/import                {"folder", "running": bool, "seen", "added", "unreadable": count, "error": text}
    POST /history/import/stop           give up; what was indexed stays

Tile = {"id", "name", "width", "height", "favourite", "tags", "created", "words": the prompt's beginning,
        "thumb", "file": addresses relative to the page}
Picture = Tile and {"path", "kind", "role", "seed", "steps", "model", "sampler", "prompt", "negative_prompt",
          "infotext", "loras", "size_bytes", "trashed": seconds since 1970 or null}
"""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import mimetypes
import re
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import FileResponse, Response
from pydantic import Field

from modules.api.answers import picture_answers
from modules.api.bodies import Body, ErrorAnswer
from modules.api.gate import ADMIN_HEADER
from modules.api.job_shapes import Tiles
from modules.api.jobs import owner_of
from modules.errors import InvalidImage, InvalidRequest, NotPermitted, WebuiError
from modules.outputs.filters import Filter
from modules.outputs.folders import may_use
from modules.outputs.history import CHOICES, History, Moved, Picture
from modules.outputs.importing import import_folder
from modules.outputs.thumbnails import Thumbnails

if TYPE_CHECKING:
    from modules.app import App

_PAGE = 500
_MANY = 20_000
_WORDS = 160
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_PICTURE = {
    **picture_answers("The picture"),
    410: {"description": "The file was moved, deleted or damaged", "model": ErrorAnswer},
}
_STAYED: dict[int | str, dict[str, Any]] = {
    409: {"description": "No file could be moved or deleted; the words say why", "model": ErrorAnswer}
}
_KEPT_BY_BROWSERS = {"cache-control": "private, max-age=604800"}


Tag = Annotated[str, Field(max_length=100)]
PictureId = Annotated[int, Field(ge=0, le=2**63 - 1)]  # what SQLite can hold


class Chosen(Body):
    """Pictures to do something with."""

    ids: Annotated[list[PictureId], Field(max_length=_MANY)]


class Favourite(Chosen):
    favourite: bool


class Tags(Chosen):
    add: tuple[Tag, ...] = ()
    remove: tuple[Tag, ...] = ()


class ImportOrder(Body):
    folder: str


@dataclass
class _Import:
    """An import under way or ended, as its owner sees it."""

    folder: str
    running: bool = True
    seen: int = 0
    added: int = 0
    unreadable: int = 0
    error: str = ""


class Imports:
    """Imports of folders, one at a time for the whole program, each in a thread of its own."""

    def __init__(self, history: History, closing: threading.Event) -> None:
        self._history, self._closing = history, closing
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._latest: dict[str, _Import] = {}

    def of(self, owner: str) -> dict[str, Any]:
        """The owner's newest import; an empty one when there was none."""
        return asdict(self._latest.get(owner) or _Import("", running=False))

    def start(self, folder: Path, owner: str) -> None:
        """Begin; raises NotPermitted while another import runs."""
        with self._lock:
            if any(one.running for one in self._latest.values()):
                raise NotPermitted("another folder is being imported; wait for its end, or stop it first")
            self._stop.clear()
            self._latest[owner] = state = _Import(str(folder))
        threading.Thread(target=self._run, args=(folder, owner, state), name="import", daemon=True).start()

    def stop(self, owner: str) -> None:
        """End the owner's own import after the batch in hand."""
        if (state := self._latest.get(owner)) is not None and state.running:
            self._stop.set()

    def _run(self, folder: Path, owner: str, state: _Import) -> None:
        try:
            for progress in import_folder(self._history, folder, owner=owner):
                state.seen, state.added, state.unreadable = progress.seen, progress.added, len(progress.unreadable)
                if self._stop.is_set() or self._closing.is_set():
                    break
        except (OSError, WebuiError) as error:
            state.error = str(error)
        finally:
            state.running = False
            self._history.close()  # this thread's connection


def routes(app: "App") -> APIRouter:
    """Everything in this module's docstring."""
    router = APIRouter(prefix="/history")
    history = app.history
    thumbnails = Thumbnails(app.data_dir / "cache" / "thumbnails")
    imports = Imports(history, app.closing)

    def owner_in_history(request: Request) -> str:
        return app.history_owner(owner_of(request))

    Owner = Annotated[str, Depends(owner_in_history)]
    Wanted = Annotated[Filter, Depends(wanted_pictures)]

    def own_file(picture: PictureId, owner: Owner) -> Path:
        path = history.file_of(picture, owner=owner)
        if path is None:
            raise HTTPException(404, "there is no such picture")
        if not path.is_file():
            raise HTTPException(410, "the file of this picture was moved or deleted")
        return path

    OwnFile = Annotated[Path, Depends(own_file)]

    @router.get("", response_model=Tiles)
    def search(
        wanted: Wanted,
        owner: Owner,
        order: Literal["newest", "oldest"] = "newest",
        limit: Annotated[int, Field(ge=0)] = 100,
        offset: PictureId = 0,
    ) -> dict[str, Any]:
        page = history.search(
            wanted, owner=owner, limit=min(limit, _PAGE), offset=offset, oldest_first=order == "oldest"
        )
        return {"total": page.total, "pictures": [tile(picture) for picture in page.pictures]}

    @router.get("/ids")
    def ids(
        wanted: Wanted,
        owner: Owner,
        order: Literal["newest", "oldest"] = "newest",
        limit: Annotated[int, Field(ge=0)] = _PAGE,
        offset: PictureId = 0,
    ) -> dict[str, list[int]]:
        return {
            "ids": history.ids(
                wanted, owner=owner, limit=min(limit, _MANY), offset=offset, oldest_first=order == "oldest"
            )
        }

    @router.get("/choices")
    def choices(owner: Owner) -> dict[str, dict[str, int]]:
        return {what: history.choices(what, owner=owner) for what in CHOICES}

    @router.post("/favourite")
    def favourite(chosen: Favourite, owner: Owner) -> dict[str, Any]:
        history.set_favourite(chosen.ids, chosen.favourite, owner=owner)
        return {}

    @router.post("/tags")
    def tags(chosen: Tags, owner: Owner) -> dict[str, Any]:
        history.untag(chosen.ids, *chosen.remove, owner=owner)
        history.tag(chosen.ids, *chosen.add, owner=owner)
        return {}

    @router.post("/trash", responses=_STAYED)
    def trash(chosen: Chosen, owner: Owner) -> dict[str, Any]:
        moved = history.trash(chosen.ids, owner=owner)
        return {"ids": list(moved.ids), **problem_of(moved)}

    @router.post("/restore", responses=_STAYED)
    def restore(chosen: Chosen, owner: Owner) -> dict[str, Any]:
        moved = history.restore(chosen.ids, owner=owner)
        return {"ids": list(moved.ids), **problem_of(moved)}

    @router.post("/empty-trash", responses=_STAYED)
    def empty_trash(owner: Owner) -> dict[str, Any]:
        deleted = history.empty_trash(owner=owner)
        return {"count": len(deleted.ids), **problem_of(deleted)}

    @router.post("/forget-missing")
    def forget_missing(owner: Owner) -> dict[str, int]:
        return {"count": history.forget_missing(owner=owner)}

    @router.get("/import")
    def import_state(owner: Owner) -> dict[str, Any]:
        return imports.of(owner)

    @router.post("/import")
    def start_import(order: ImportOrder, owner: Owner, request: Request) -> dict[str, Any]:
        folder = Path(order.folder.strip()).expanduser()
        folder = (folder if folder.is_absolute() else app.data_dir / folder).resolve()
        is_administrator = ADMIN_HEADER in request.headers
        if not may_use(app.flags, folder, owner=owner_of(request), is_administrator=is_administrator):
            raise NotPermitted(
                "only the administrator may import folders: whoever imports one can look at the pictures in it"
            )
        if not order.folder.strip() or not folder.is_dir():
            raise InvalidRequest(f'there is no folder "{order.folder.strip()}" on the machine this server runs on')
        imports.start(folder, owner)
        return imports.of(owner)

    @router.post("/import/stop")
    def stop_import(owner: Owner) -> dict[str, Any]:
        imports.stop(owner)
        return imports.of(owner)

    @router.get("/{picture}")
    def show(picture: PictureId, owner: Owner) -> dict[str, Any]:
        found = history.get(picture, owner=owner)
        if found is None:
            raise HTTPException(404, "there is no such picture")
        return {**asdict(found), **tile(found)}

    @router.get("/{picture}/file", responses=_PICTURE, response_class=FileResponse)
    def file(path: OwnFile, download: bool = False) -> FileResponse:
        return FileResponse(
            path,
            headers=_KEPT_BY_BROWSERS,
            media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream",
            filename=path.name,
            content_disposition_type="attachment" if download else "inline",
        )

    @router.get("/{picture}/thumb", responses=_PICTURE, response_class=Response)
    def thumb(path: OwnFile) -> Response:
        try:
            return Response(thumbnails.of_file(path), media_type="image/webp", headers=_KEPT_BY_BROWSERS)
        except (InvalidImage, OSError) as error:
            raise HTTPException(410, f"{path.name} cannot be read as a picture: {error}") from error

    return router


def problem_of(moved: Moved) -> dict[str, str]:
    """`{"problem": words}` when some files stayed where they were; raises 409 when all did."""
    if moved.problem and not moved.ids:
        raise HTTPException(409, moved.problem)
    return {"problem": moved.problem} if moved.problem else {}


def wanted_pictures(
    text: str = "",
    model: str = "",
    sampler: str = "",
    size: str = "",
    lora: str = "",
    tag: str = "",
    kind: str = "",
    role: str = "",
    seed: str = "",
    since: str = "",
    until: str = "",
    favourite: bool = False,
    trashed: bool = False,
) -> Filter:
    """The filter of a query; raises InvalidRequest for sizes, seeds and times that are none."""
    sides = _SIZE.fullmatch(size)
    if size and not sides:
        raise InvalidRequest(f'"{size}" is no size; write it as 512x768')
    return Filter(
        text=text,
        model=model,
        sampler=sampler,
        lora=lora,
        tag=tag,
        kind=kind,
        role=role,
        width=int(sides[1]) if sides else 0,
        height=int(sides[2]) if sides else 0,
        seed=_number(seed, int, "seed"),
        created_from=_number(since, float, "since"),
        created_to=_number(until, float, "until"),
        favourite=favourite,
        trashed=trashed,
    )


def _number(text: str, kind: type[int] | type[float], name: str) -> Any:  # int or float, as `kind` says
    try:
        return kind(text) if text else None
    except ValueError as error:
        raise InvalidRequest(f'{name}: "{text}" is no number') from error


def tile(picture: Picture) -> dict[str, Any]:
    """What a thumbnail in the grid needs; the addresses change when the file does."""
    return {
        "id": picture.id,
        "name": picture.path.rsplit("/", 1)[-1],
        "width": picture.width,
        "height": picture.height,
        "favourite": picture.favourite,
        "tags": list(picture.tags),
        "created": picture.created,
        "words": picture.prompt[:_WORDS],
        "thumb": f"history/{picture.id}/thumb?v={picture.size_bytes}",
        "file": f"history/{picture.id}/file?v={picture.size_bytes}",
    }
