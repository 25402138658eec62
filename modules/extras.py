"""Running jobs of the Extras tab: pictures worked over one after another. Part of the application layer.

What is done to a picture is said in `postprocessing/`. Resampling is done here; a network runs in the worker, between
its jobs. The results are saved into A1111's folder for Extras and stay a job's pictures like any other: watched, kept
over a reload, interrupted between two pictures.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from pydantic import ValidationError

from modules import errors
from modules.errors import InvalidImage, InvalidRequest, SavingError, UnknownName, WebuiError
from modules.generation.events import ImageDone, JobDone
from modules.generation.extras import NO_UPSCALER, ExtrasPicture, ExtrasRequest
from modules.images import formats
from modules.images.data import ImageData
from modules.infotext.files import read_metadata
from modules.infotext.write import last_line, with_keys
from modules.jobs.blobs import pack, unpack
from modules.jobs.handle import JobHandle
from modules.jobs.local import failure
from modules.jobs.record import Job, JobState, NewJob, Priority, Result, login_of, new_result_id
from modules.jobs.runner import media_type
from modules.outputs.history import Entry
from modules.outputs.naming import Subject
from modules.outputs.store import SavedImage
from modules.postprocessing.operations import Tools, process, with_existing
from modules.settings.saving import SavingOptions
from modules.upscaling.catalog import tiles_of
from modules.upscaling.upscaler import UPSCALERS

if TYPE_CHECKING:
    from modules.app import App

log = logging.getLogger(__name__)

KIND = "extras"

CACHED_PIXELS_LIMIT = 64_000_000
"""Larger results are not kept for the next try."""


class ExtrasRunner:
    """Takes Extras jobs from the queue, one at a time. `start` once; it ends when the app closes."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._stopped: set[str] = set()
        self._enlarged: dict[tuple[object, ...], Image.Image] = {}  # what was made last stands last

    def start(self) -> None:
        threading.Thread(target=self._take, name="extras", daemon=True).start()

    def submit(self, request: ExtrasRequest, *, owner: str, priority: int = Priority.INTERACTIVE) -> JobHandle:
        """Queue pictures to work over; raises UnknownName, InvalidImage, QueueFull. Nothing is queued then.

        A restorer of faces whose file is missing is an unknown name.

        Files that the request names by path are the door's to allow (`outputs/folders.py`).
        """
        upscalers = self._app.upscalers
        chosen = {name: upscalers.find(getattr(request.upscale, name)).name for name in ("upscaler", "second")}
        faces = self._app.catalog.faces
        for name, part in (("GFPGAN", request.gfpgan), ("CodeFormer", request.codeformer)):
            if part is not None and part.visibility and (problem := faces.problem(name)) is not None:
                raise UnknownName(problem, field=name.lower())
        for picture in request.pictures:
            if picture.image is not None:
                picture.image.size  # noqa: B018 - reads the header: what is not a picture ends here
        request = request.model_copy(update={"upscale": request.upscale.model_copy(update=chosen)})
        payload, blobs = pack(request, self._app.blobs)
        title = ", ".join(picture.name for picture in request.pictures[:3] if picture.name) or "Extras"
        return self._app.put(
            NewJob(kind=KIND, payload=payload, blobs=blobs, owner=owner, title=title[:120], priority=priority)
        )

    def stop(self, job_id: str) -> None:
        """Let a job end before its next picture."""
        self._stopped.add(job_id)

    def _take(self) -> None:
        queue = self._app.queue
        while not self._app.closing.is_set():
            seen = queue.changes
            job = queue.claim((KIND,))
            if job is None:
                queue.wait(seen, 1.0)
                continue
            try:
                self._run(job)
            except Exception as error:  # the boundary: a failing job must not end the thread
                failed = failure(error)
                self._app.runner.end(job, JobState.FAILED, error=(failed.error, failed.message))
            finally:
                self._stopped.discard(job.id)

    def _run(self, job: Job) -> None:
        app, started = self._app, time.monotonic()
        try:
            request = ExtrasRequest.model_validate(unpack(app.queue.payload(job.id), app.blobs))
        except (FileNotFoundError, ValidationError) as error:
            raise InvalidRequest("the queued pictures cannot be read any more; please ask again") from error
        total = len(request.pictures)
        app.feeds.note_progress(job.id, started=True, progress=0.0)
        app.feeds.say(job.id, "started", {"total_steps": total, "total_images": total})
        notices: list[str] = []
        for place, picture in enumerate(request.pictures):
            if job.id in self._stopped or app.closing.is_set():
                break
            try:
                said = self._one(job, request, place)
            except WebuiError as error:
                if total == 1:
                    raise
                said = (str(error),)
            for text in said:
                notices.append(text if total == 1 else f"{picture.name or f'picture {place + 1}'}: {text}")
                app.feeds.say(job.id, "notice", {"message": notices[-1]})
            self._tell(job, place + 1, total, time.monotonic() - started)
        results = app.queue.results(job.id)
        done = JobDone(infotexts=tuple(result.infotext for result in results), elapsed_s=time.monotonic() - started)
        is_cut = job.id in self._stopped or app.closing.is_set()
        state = JobState.INTERRUPTED if is_cut else JobState.DONE if results else JobState.FAILED
        error = ("InvalidRequest", notices[0]) if state is JobState.FAILED else ("", "")
        summary = done.model_dump(mode="json", exclude={"kind"})
        app.runner.end(job, state, error=error, notices=tuple(notices), summary=summary)

    def _tell(self, job: Job, done: int, total: int, elapsed_s: float) -> None:
        values = {"step": done, "steps": total, "progress": done / total, "eta_s": elapsed_s / done * (total - done)}
        self._app.feeds.note_progress(job.id, **values)
        self._app.feeds.say(job.id, "step", {**values, "done": done, "total": total, "preview": None})

    def _one(self, job: Job, request: ExtrasRequest, place: int) -> tuple[str, ...]:
        """Work one picture over, save what becomes of it and add it to the job; returns what to tell the person."""
        app, picture = self._app, request.pictures[place]
        given = picture.image or _read(Path(picture.path))
        before = read_metadata(given.content).infotext or ""
        works = process(
            _plain(given.open()),
            request,
            self._tools(),
            order=app.settings.current.postprocessing_operation_order,
        )
        first = len(app.queue.results(job.id))
        for number, work in enumerate(works):
            line = last_line(work.facts)
            texts = {formats.PARAMETERS: before, "postprocessing": line, "extras": line}
            content = formats.encode(work.image, "png", texts={name: text for name, text in texts.items() if text})
            event = ImageDone(
                index=first + number,
                seed=-1,
                width=work.image.width,
                height=work.image.height,
                image=ImageData(content),
                infotext=with_keys(before, work.facts),
                saved=request.save,
                shown=request.shows,
            )
            result = self._kept(job, request, event, picture.name)
            app.add_result(job, result)
            if work.caption and result.path:
                self._write_caption(app.data_dir / result.path, work.caption, picture)
        return tuple(dict.fromkeys(notice for work in works for notice in work.notices))

    def _tools(self) -> Tools:
        """What operations may use of the worker."""
        app = self._app

        def data(image: Image.Image) -> ImageData:
            return ImageData.from_image(image.convert("RGB"))

        def restore_faces(image: Image.Image, name: str, weight: float) -> tuple[Image.Image, int]:
            restored, found = app.restore_faces(data(image), name, weight)
            return restored.open(), found

        can_find = app.catalog.faces.detector is not None
        return Tools(
            upscale=self._upscale,
            describe=lambda image: app.describe(data(image)),
            restore_faces=restore_faces,
            find_faces=(lambda image: app.find_faces(data(image))) if can_find else None,
        )

    def _write_caption(self, saved: Path, caption: str, picture: ExtrasPicture) -> None:
        """Put a description beside a saved picture, together with the one beside its source."""
        beside = Path(picture.path).with_suffix(".txt") if picture.path else None
        existing = beside.read_text("utf-8", "replace").strip() if beside is not None and beside.is_file() else ""
        action = self._app.settings.current.postprocessing_existing_caption_action
        saved.with_suffix(".txt").write_text(with_existing(caption, existing, action), "utf-8")

    def _upscale(self, image: Image.Image, name: str, scale: float) -> Image.Image:
        """As `upscale`; the last results are kept for the next try, as many as the settings say."""
        limit = self._app.settings.current.upscaling_max_images_in_cache
        key = (hashlib.sha256(image.tobytes()).hexdigest(), image.size, image.mode, name, scale)
        result = self._enlarged.pop(key, None) or upscale(self._app, image, name, scale)
        if result.width * result.height <= CACHED_PIXELS_LIMIT:
            self._enlarged[key] = result
        while len(self._enlarged) > limit:
            self._enlarged.pop(next(iter(self._enlarged)))
        return result

    def _kept(self, job: Job, request: ExtrasRequest, event: ImageDone, name: str) -> Result:
        app, problem = self._app, ""
        if event.saved:
            try:
                saved = self._save(job, request, event, name)
            except SavingError as error:
                problem = str(error)
                log.error("%s", problem)
            else:
                path = saved.path
                shown = path.relative_to(app.data_dir) if path.is_relative_to(app.data_dir) else path
                return _row(job, event, path=shown.as_posix())
        return _row(job, event, saving_error=problem, blob=app.blobs.put(event.image.content))

    def _save(self, job: Job, request: ExtrasRequest, event: ImageDone, name: str) -> SavedImage:
        """Write a result; a batch keeps its files' names, with a number where one is taken: nothing is overwritten."""
        app = self._app
        options = SavingOptions.of(app.settings.current.model_dump())
        folder = Path(request.output_folder or app.outputs.folder(KIND, options, owner=login_of(job.owner)))
        extension = "." + options.samples_format.lower().lstrip(".")
        stem = Path(name.replace("\\", "/")).stem if request.is_batch and options.use_original_name_batch else ""
        saved = app.outputs.write(
            event.image,
            event.infotext,
            folder=folder,
            extension=extension,
            options=options,
            subject=Subject(width=event.width, height=event.height, job_started=_started(job)),
            decorated=False,
            forced_name=_free_name(folder, stem, extension) if stem else None,
        )
        app.history.add_entries([Entry.of(saved, owner=app.history_owner(job.owner), kind=KIND)])
        return saved


def upscale(app: App, image: Image.Image, name: str, scale: float) -> Image.Image:
    """`image` by an upscaler of this installation: resampling here, a network in the worker. Raises WebuiError."""
    upscaler = app.upscalers.find(name)
    if upscaler.name in UPSCALERS:
        return upscaler.upscale(image, scale)
    settings = app.settings.current
    try:
        answer = app.supervisor.call(
            "upscale",
            image=ImageData.from_image(image).to_base64(),
            upscaler=upscaler.name,
            scale=scale,
            tile=settings.ESRGAN_tile,
            overlap=settings.ESRGAN_tile_overlap,
            tiles=tiles_of(settings.model_dump()),
            ldsr_steps=settings.ldsr_steps,
        )
    except RuntimeError as error:  # the worker's own words, with the class of the error in front
        kind, _, message = str(error).partition(": ")
        known = getattr(errors, kind, None)
        is_ours = isinstance(known, type) and issubclass(known, WebuiError)
        raise (known(message) if is_ours else errors.GenerationError(str(error))) from error
    return Image.open(io.BytesIO(base64.b64decode(answer))).convert("RGB")


def pictures_in(folder: Path) -> tuple[ExtrasPicture, ...]:
    """The picture files of a folder, not of those below it, by name."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in formats.EXTENSIONS and path.is_file()]
    return tuple(ExtrasPicture(path=str(path), name=path.name) for path in sorted(found) if path.name[0] != ".")


def _read(path: Path) -> ImageData:
    """A picture file as it is now; raises InvalidImage when it is gone or no picture."""
    try:
        image = ImageData(path.read_bytes())
    except OSError as error:
        raise InvalidImage(f"{path}: cannot be read ({error.strerror})") from error
    image.size  # noqa: B018 - reads the header: what is not a picture ends here
    return image


def _plain(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where something is transparent: what every operation can work on."""
    return image.convert("RGBA" if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA") else "RGB")


def _free_name(folder: Path, stem: str, extension: str) -> str:
    name, number = stem, 0
    while (folder / f"{name}{extension}").exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def _started(job: Job) -> datetime:
    return datetime.fromtimestamp(job.started or time.time())


def _row(job: Job, event: ImageDone, **where: str) -> Result:
    return Result(
        id=new_result_id(),
        job=job.id,
        role=event.role,
        index=event.index,
        seed=event.seed,
        subseed=event.subseed,
        prompt="",
        negative_prompt="",
        width=event.width,
        height=event.height,
        infotext=event.infotext,
        shown=event.shown,
        media_type=media_type(event.image.content),
        **where,
    )


__all__ = [
    "KIND",
    "NO_UPSCALER",
    "ExtrasRunner",
    "pictures_in",
    "upscale",
]
