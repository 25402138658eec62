"""Routes for watching and steering jobs, and for the pictures they made: what the page and its scripts talk to.

Every route acts for one *owner*. The gate in front of the server (`modules/api/gate.py`) decides who that is: the
login, or without logins a browser identity kept in an HttpOnly cookie; it writes it into the request header
`x-webui-owner` (whatever a client sends there is thrown away). A Gradio handler reads the same header with
`owner_in(request.headers["x-webui-owner"])`, and hands it to `App.submit(request, owner=…)`. Somebody else's job or
picture is answered like one that does not exist: 404.

    GET  /jobs?state=&limit=50          {"jobs": [Job…], "paused": bool}; newest first; `state` is "active" or a state;
                                        `?everybody=1` for an administrator
    GET  /jobs/events                   server-sent events of *all* own jobs (for one connection per page); see below
    GET  /jobs/{id}                     Job
    GET  /jobs/{id}/events              server-sent events of one job, from the first; ends after the last. A client
                                        that reconnects with Last-Event-ID (EventSource does) gets what it missed
    GET  /jobs/{id}/preview             the newest preview (image/jpeg or image/png); 204 when there is none yet. `?n=`
                                        only busts caches
    POST /jobs/{id}/interrupt           end the running job now and keep what there is (waiting: cancels it)
    POST /jobs/{id}/interrupt?after=batch   end it when the batch in hand is done (A1111's first click)
    POST /jobs/{id}/skip                give up the batch in hand, go on with the next
    POST /jobs/{id}/cancel              a waiting job is dropped, a running one interrupted
    POST /jobs/{id}/retry               queue the same plan again → Job (a new id, `retry_of` names the old one)
    POST /jobs/{id}/move?before={id2}   move a waiting job before another own waiting one; without `before`, to the end
    POST /jobs/{id}/hold, /release      keep a waiting job from starting, and let it go again
    POST /jobs/pause, /jobs/resume      the same for all own jobs, those to come included
    GET  /jobs/{id}/infotext            text/plain, one infotext a paragraph
    GET  /jobs/{id}/zip                 all pictures of the job that are shown, as their files, in one ZIP archive
    GET  /files/{image id}              the picture's file as saved, inline; `?download=1` as attachment; `?thumb=1` a
                                        WebP of at most 384 px. Immutable, so the browser may cache it (private)
    GET  /worker                        {"state": "starting"|"loading"|"ready"|"busy"|"dead", "model": title|null,
                                        "device": text, "dtype": text, "attention": text, "message": text,
                                        "memory": {"ram_used": bytes, "vram_used", "vram_total": bytes|null}}

POST routes answer the Job as it is afterwards; they want the page's own origin (or a client that sends none).

Job = {"id", "state": "queued"|"running"|"done"|"failed"|"interrupted"|"cancelled", "kind": "generate"|"script",
       "title": the prompt's beginning, "asked": {"tab", "width", "height", "hires", "sampler", "steps", "pictures",
       "model", "script"} | null (jobs of the Extras tab),
       "created", "started", "finished": seconds since 1970 or null,
       "position": place in the queue from 1 | null, "held": bool, "retry_of": id | null,
       "progress": 0…1, "eta_s": seconds | null, "step", "steps", "batch", "batches", "text": such as "Loading model …",
       "preview": n | null (fetch /jobs/{id}/preview?n=), "images": [Image…] (in gallery order, grid first as in A1111),
       "notices": [text…], "networks": [{"name", "model", "applied", "total", "for_t5"}…] (LoRAs and hypernetworks: how
       many of their modules the model has; `for_t5` of the others are for a T5 that is not loaded; once done),
       "error": {"kind", "message"} | null, "info": A1111's `info` object | null (once done)}

Image = {"id", "url": "/files/{id}", "thumb": "/files/{id}?thumb=1", "role": "sample"|"grid"|"mask"|…, "index", "seed",
         "subseed", "width", "height", "infotext", "shown": bool, "saved": path relative to the data folder | null,
         "saving_error": text | null (could not be written; it is still downloadable here), "name": a file name}

Events: `id:` grows (opaque), `event:` is the kind, `data:` is JSON and always has "job": id.

    queued         {"position"}                              again whenever the place changes
    started        {"total_steps", "total_images"}
    model_loading  {"title"}
    pass           {"name", "batch", "batches", "steps"}
    step           {"step", "steps", "done", "total", "progress", "eta_s", "preview": n | null}; the newest is replayed
    image          Image
    notice         {"message"}
    done           Job        failed   Job        interrupted   Job        cancelled   Job     (a job's last event)
"""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import asyncio
import io
import json
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from PIL import Image

from modules.api import job_shapes
from modules.api.answers import picture_answers
from modules.api.bodies import ErrorAnswer
from modules.api.gate import ADMIN_HEADER, OWNER_HEADER, host_name
from modules.errors import NotPermitted
from modules.jobs.feed import Said
from modules.jobs.record import Job, JobState, owner_in
from modules.jobs.view import file_name, gallery

if TYPE_CHECKING:
    from modules.app import App

_THUMB_PX = 384
_LIMIT = 500
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "One infotext a paragraph", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
_PREVIEW = {**picture_answers("The newest preview"), 204: {"description": "There is none yet"}}
_FILE = {**picture_answers("The picture's file"), 410: {"description": "The file was deleted", "model": ErrorAnswer}}
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "A ZIP archive", "content": {"application/zip": {"schema": {"type": "string"}}}},
    410: {"description": "None of the pictures is there any more", "model": ErrorAnswer},
}
_ZIP_IN_MEMORY = 32 << 20  # bytes
_STREAM = {"cache-control": "no-store", "x-accel-buffering": "no"}  # a proxy must not wait for the stream's end


def owner_of(request: Request) -> str:
    """Who asks, as the gate wrote it."""
    return owner_in(request.headers[OWNER_HEADER])


def sees(request: Request) -> str | None:
    """Whose jobs may be seen and steered: the asker's, or everybody's (None) for an administrator."""
    return None if ADMIN_HEADER in request.headers else owner_of(request)


def may_change(request: Request) -> bool:
    """Whether the asker may change what is everybody's: the administrator, or anyone where there are no logins.

    A visitor through a public share link never may.
    """
    if ADMIN_HEADER in request.headers:
        return True
    host = host_name(request.headers.get("host") or "")
    return not owner_of(request).startswith(("user:", "api:")) and not host.endswith(".gradio.live")


def _only_who_may_change(request: Request) -> None:
    if not may_change(request):
        raise NotPermitted("this changes what is everybody's; only the administrator may do it")


Owner = Annotated[str, Depends(owner_of)]
Sees = Annotated[str | None, Depends(sees)]
MaySet = Annotated[bool, Depends(may_change)]
MayChange = Depends(_only_who_may_change)
"""A dependency of routes that change what is everybody's: answers 403 to everybody else."""


def own_job(app: "App") -> Callable[[str, str | None], Job]:
    """A dependency: the job that a route's path names, when the asker may see it; else the answer is 404."""

    def find(job_id: str, sees: Sees) -> Job:
        job = app.find_job(job_id, sees)
        if job is None:
            raise HTTPException(404, f'there is no job "{job_id}"')
        return job

    return find


def routes(app: "App") -> APIRouter:
    """Everything in this module's docstring."""
    router = APIRouter()
    OwnJob = Annotated[Job, Depends(own_job(app))]

    @router.get("/jobs", response_model=job_shapes.Jobs)
    def list_jobs(
        owner: Owner,
        sees: Sees,
        state: Literal["", "active"] | job_shapes.State = "",
        limit: int = 50,
        everybody: bool = False,
    ) -> dict[str, Any]:
        if everybody and sees is not None:
            raise NotPermitted("only the administrator sees everybody's jobs")
        states = (JobState.QUEUED, JobState.RUNNING) if state == "active" else (JobState(state),) if state else ()
        whose = None if everybody else owner
        jobs = app.queue.jobs(owner=whose, states=states, limit=max(1, min(limit, _LIMIT)))
        order = app.queue.waiting_order()
        return {"jobs": [app.view(job, order) for job in jobs], "paused": app.queue.is_paused(owner)}

    @router.post("/jobs/pause", response_model=job_shapes.Paused)
    def pause(owner: Owner) -> dict[str, bool]:
        app.queue.pause(owner, True)
        return {"paused": True}

    @router.post("/jobs/resume", response_model=job_shapes.Paused)
    def resume(owner: Owner) -> dict[str, bool]:
        app.queue.pause(owner, False)
        return {"paused": False}

    @router.get("/jobs/events", responses=_EVENTS, response_class=StreamingResponse)
    async def all_events(owner: Owner) -> StreamingResponse:
        return StreamingResponse(_all_of(app, owner), media_type="text/event-stream", headers=_STREAM)

    @router.get("/jobs/{job_id}", response_model=job_shapes.Job)
    def show(job: OwnJob) -> dict[str, Any]:
        return app.view(job)

    @router.get("/jobs/{job_id}/events", responses=_EVENTS, response_class=StreamingResponse)
    async def events(job: OwnJob, last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
        stream = _one(app, job, last_event_id)
        return StreamingResponse(stream, media_type="text/event-stream", headers=_STREAM)

    @router.get("/jobs/{job_id}/preview", responses=_PREVIEW, response_class=Response)
    def preview(job: OwnJob) -> Response:
        shown = app.feeds.preview(job.id)
        if shown is None:
            return Response(status_code=204)
        return Response(shown.content, media_type=shown.media_type, headers={"cache-control": "no-store"})

    @router.get("/jobs/{job_id}/infotext", responses=_TEXT, response_class=Response)
    def infotext(job: OwnJob) -> PlainTextResponse:
        return PlainTextResponse("\n\n".join(result.infotext for result in gallery(app.queue.results(job.id))))

    @router.get("/jobs/{job_id}/zip", responses=_ZIP, response_class=Response)
    def archive(job: OwnJob) -> StreamingResponse:
        packed = _packed(app, job)
        name = quote(f"{job.title[:60].strip() or 'pictures'}.zip", safe="")
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}", "cache-control": "no-store"}
        return StreamingResponse(iter(lambda: packed.read(1 << 20), b""), media_type="application/zip", headers=headers)

    @router.post("/jobs/{job_id}/interrupt", response_model=job_shapes.Job)
    def interrupt(job: OwnJob, after: Literal["", "batch"] = "") -> dict[str, Any]:
        app.interrupt(job.id, after_batch=after == "batch")
        return _now(app, job)

    @router.post("/jobs/{job_id}/skip", response_model=job_shapes.Job)
    def skip(job: OwnJob) -> dict[str, Any]:
        app.skip(job.id)
        return _now(app, job)

    @router.post("/jobs/{job_id}/cancel", response_model=job_shapes.Job)
    def cancel(job: OwnJob) -> dict[str, Any]:
        app.interrupt(job.id)
        return _now(app, job)

    @router.post("/jobs/{job_id}/retry", response_model=job_shapes.Job)
    def retry(job: OwnJob) -> dict[str, Any]:
        return app.view(app.retry(job).job())

    @router.post("/jobs/{job_id}/move", response_model=job_shapes.Job)
    def move(job: OwnJob, before: str | None = None) -> dict[str, Any]:
        app.move(job, before)
        return _now(app, job)

    @router.post("/jobs/{job_id}/hold", response_model=job_shapes.Job)
    def hold(job: OwnJob) -> dict[str, Any]:
        app.queue.hold(job.id, True)
        return _now(app, job)

    @router.post("/jobs/{job_id}/release", response_model=job_shapes.Job)
    def release(job: OwnJob) -> dict[str, Any]:
        app.queue.hold(job.id, False)
        return _now(app, job)

    @router.get("/files/{result_id}", responses=_FILE, response_class=Response)
    def file(result_id: str, sees: Sees, thumb: bool = False, download: bool = False) -> Response:
        found = app.queue.find_result(result_id)
        if found is None or sees not in (None, found[1]):
            raise HTTPException(404, "there is no such picture")
        result, _ = found
        try:
            content = app.pictures.read(result)
        except FileNotFoundError as error:
            raise HTTPException(410, f"the file of this picture was deleted: {result.path or result.id}") from error
        headers = {"cache-control": "private, max-age=31536000, immutable"}
        if thumb:
            return Response(thumbnail(content), media_type="image/webp", headers=headers)
        disposition = "attachment" if download else "inline"
        headers["content-disposition"] = f"{disposition}; filename*=UTF-8''{quote(file_name(result), safe='')}"
        return Response(content, media_type=result.media_type, headers=headers)

    @router.get("/worker", response_model=job_shapes.Worker)
    def worker() -> dict[str, Any]:
        return app.supervisor.report

    return router


def _now(app: "App", job: Job) -> dict[str, Any]:
    return app.view(app.queue.find(job.id) or job)


async def _one(app: "App", job: Job, last_id: str | None) -> AsyncIterator[str]:
    """The events of one job as text of the stream, until its end; a comment every second or so keeps it open."""
    handle = app.handle(job.id)
    await asyncio.to_thread(app.revive, job)
    async for said in handle.watch(last_id):
        yield _text(said) if said is not None else ":\n\n"
        if app.closing.is_set():
            return


async def _all_of(app: "App", owner: str) -> AsyncIterator[str]:
    """Everything that an owner's jobs say from now on; begins with what those that are not at their end said before."""
    loop = asyncio.get_running_loop()
    news: asyncio.Queue[str] = asyncio.Queue()

    def heard(job_id: str, whose: str) -> None:
        if whose == owner:
            loop.call_soon_threadsafe(news.put_nowait, job_id)

    stop = app.feeds.listen(heard)
    seen: dict[str, str] = {}
    try:
        active = (JobState.QUEUED, JobState.RUNNING)
        for job in reversed(await asyncio.to_thread(app.queue.jobs, owner=owner, states=active, limit=_LIMIT)):
            news.put_nowait(job.id)
        yield ":\n\n"
        while not app.closing.is_set():
            try:
                job_id = await asyncio.wait_for(news.get(), 1.0)
            except asyncio.TimeoutError:
                yield ":\n\n"
                continue
            for said in app.feeds.since(job_id, seen.get(job_id)) or ():
                seen[job_id] = said.id
                yield _text(said)
    finally:
        stop()


def _text(said: Said) -> str:
    return f"id: {said.id}\nevent: {said.kind}\ndata: {json.dumps(said.data, ensure_ascii=False)}\n\n"


def _packed(app: "App", job: Job) -> IO[bytes]:
    """The files of a job's pictures in an archive, which stays in memory only while it is small.

    Raises HTTPException when none of them is there any more.
    """
    names: set[str] = set()
    packed = tempfile.SpooledTemporaryFile(_ZIP_IN_MEMORY)  # noqa: SIM115  (closed with the answer that it becomes)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
        for result in gallery(app.queue.results(job.id)):
            try:
                content = app.pictures.read(result)
            except FileNotFoundError:
                continue
            name = file_name(result)
            archive.writestr(f"{result.id}-{name}" if name in names else name, content)
            names.add(name)
    if not names:
        raise HTTPException(410, "this job has no pictures any more")
    packed.seek(0)
    return packed


def thumbnail(content: bytes) -> bytes:
    """A picture as a small WebP."""
    image = Image.open(io.BytesIO(content))  # our own file: its size was bounded when it was made
    image.draft("RGB", (_THUMB_PX, _THUMB_PX))
    image.thumbnail((_THUMB_PX, _THUMB_PX))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
