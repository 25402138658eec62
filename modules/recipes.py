"""Running selectable scripts: a job whose pictures come from other jobs, its children. Beside `app.py` in the map."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from modules.errors import UnknownName, WebuiError
from modules.extensions.api import Arguments, Ask, Asked, Made, NewPicture, Recipe, Script
from modules.extensions.dispatch import selected
from modules.extras import upscale as upscaled
from modules.generation.events import ImageDone, JobDone
from modules.generation.plan import Plan
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.jobs.blobs import unpack
from modules.jobs.handle import JobHandle, JobResult
from modules.jobs.local import failure
from modules.jobs.record import Job, JobState, Result, new_result_id
from modules.jobs.view import gallery
from modules.planning.planner import merged

if TYPE_CHECKING:
    from modules.app import App

log = logging.getLogger(__name__)

_AT_ONCE = 16
"""Script jobs that may run side by side; each mostly waits for its children."""


class RecipeRunner:
    """Takes jobs that have children from the queue; each runs in a thread of its own. `start` once; it ends when
    the app closes. `runs` says how a job of each kind is carried out.
    """

    def __init__(self, app: App, runs: Mapping[str, type[ScriptRun]]) -> None:
        self._app, self._runs = app, runs
        self._room = threading.Semaphore(_AT_ONCE)
        self._stopped: set[str] = set()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of jobs that have children."""
        return tuple(self._runs)

    def start(self) -> None:
        threading.Thread(target=self._take, name="recipes", daemon=True).start()

    def settle(self, request: GenerationRequest) -> GenerationRequest:
        """A request that names a selectable script as it is to be queued; raises InvalidRequest."""
        script, args, plain = _parted(self._app, request)
        settled = script.settle(plain, args, _AppTools(self._app, plain))
        return settled.model_copy(update={"scripts": request.scripts})

    def stop(self, job_id: str) -> None:
        """Let a script job make no further children; those that run are the caller's to interrupt."""
        self._stopped.add(job_id)

    def _take(self) -> None:
        queue = self._app.queue
        while not self._app.closing.is_set():
            seen = queue.changes
            self._room.acquire()
            job = queue.claim(self.kinds)
            if job is None:
                self._room.release()
                queue.wait(seen, 1.0)
                continue
            threading.Thread(target=self._run, args=(job,), name=f"script-{job.id[:8]}", daemon=True).start()

    def _run(self, job: Job) -> None:
        try:
            self._runs[job.kind](self._app, job, self._stopped).run()
        except Exception as error:  # the boundary: a failing script ends its job
            failed = failure(error)
            self._app.runner.end(job, JobState.FAILED, error=(failed.error, failed.message))
        finally:
            self._stopped.discard(job.id)
            self._room.release()


class ScriptRun:
    """One script job. Other kinds of jobs with children override `parse`, `recipe` and `saving`."""

    def __init__(self, app: App, job: Job, stopped: set[str]) -> None:
        self.app, self.job, self._stopped = app, job, stopped
        self.request = self.parse(unpack(app.queue.payload(job.id), app.blobs))
        self.results: list[JobResult] = []
        self.notices: list[str] = []
        self.expected: int | None = None
        self.done = 0
        self.current: str | None = None

    def parse(self, content: Any) -> GenerationRequest:
        """The request behind the job, from its payload."""
        return GenerationRequest.model_validate(content)

    def recipe(self) -> Recipe:
        """What the job asks for."""
        script, args, plain = _parted(self.app, self.request)
        return script.recipe(plain, args, _AppTools(self.app, plain))

    def saving(self) -> Mapping[str, Any] | None:
        """Saving settings of the child in hand that are not the request's to give; None for the usual ones."""
        return None

    def run(self) -> None:
        recipe = self.recipe()
        self.app.feeds.note_progress(self.job.id, started=True, progress=0.0)
        unlisten = self.app.feeds.listen(self._heard)
        try:
            shown = self._carry_out(recipe)
        finally:
            unlisten()
        self._finish(shown)

    @property
    def is_stopped(self) -> bool:
        return self.job.id in self._stopped or self.app.closing.is_set()

    def _carry_out(self, recipe: Recipe) -> Sequence[Made | NewPicture]:
        """Drive the recipe; once the job is stopped, every further request is answered with no pictures."""
        try:
            ask = next(recipe)
            while True:
                ask = recipe.send(self._make(ask))
        except StopIteration as end:
            return end.value or ()

    def _make(self, ask: Ask) -> tuple[tuple[Made, ...], ...]:
        self.expected = ask.expected or self.expected
        self.app.feeds.note_progress(self.job.id, **self._place(self.done))
        if self.is_stopped:
            return tuple(() for _ in ask.asked)
        handles = [self._submit(asked, ask) for asked in ask.asked]
        return tuple(self._wait(handle, ask) if handle is not None else () for handle in handles)

    def _place(self, done: int) -> dict[str, int]:
        """Which of the requests is in hand, and of how many as far as is known."""
        return {"batch": done, "batches": self.expected or done + 1}

    def _submit(self, asked: Asked, ask: Ask) -> JobHandle | None:
        try:
            return self.app.submit(
                asked.request,
                owner=self.job.owner,
                priority=self.job.priority,
                parent=self.job.id,
                script_infotext=asked.infotext,
                reuses=ask.reuses,
                saving=self.saving(),
            )
        except WebuiError as error:
            self._failed(error, ask)
            return None

    def _failed(self, error: WebuiError, ask: Ask) -> None:
        """One request of a script came to nothing: a notice, or the script's end."""
        if not ask.skips_failures or self.is_stopped:
            raise error
        self.done += 1
        self.note(str(error))

    def note(self, message: str) -> None:
        """Tell whoever watches, now and when the job has ended."""
        self.notices.append(message)
        self.app.feeds.say(self.job.id, "notice", {"message": message})

    def _wait(self, handle: JobHandle, ask: Ask) -> tuple[Made, ...]:
        self.current = handle.id
        try:
            ended = handle.result()
            self.current = None  # before it counts as done, or what it says last would count twice
            result = ended.raise_if_failed()
        except WebuiError as error:
            self._failed(error, ask)
            return ()
        self.results.append(result)
        self.done += 1
        rows = {picture.result.id: picture for picture in result.pictures}
        order = [row for row in gallery([picture.result for picture in result.pictures]) if row.role == "sample"]
        return tuple(_made(row, rows[row.id].read) for row in order)

    def _heard(self, job_id: str, owner: str) -> None:
        """Pass on what the child in hand says of its steps."""
        done = self.done  # read before `current`, which `_wait` changes first
        if job_id != self.current:
            return
        child = self.app.feeds.progress(job_id)
        share = done + child.get("progress", 0.0)
        place = self._place(done)
        progress = min(1.0, share / max(place["batches"], 1))
        values = {name: child.get(name) for name in ("step", "steps") if name in child}
        eta = child.get("eta_s")
        said = {"text": child.get("text", ""), "skipped": child.get("skipped", False)}
        if (passes := child.get("passes")) is not None:
            number, a_request = passes
            said.update(pass_name=child["pass_name"], passes=(done * a_request + number, place["batches"] * a_request))
        self.app.feeds.note_progress(self.job.id, **values, **said, **place, progress=progress)
        preview = self.app.feeds.preview(job_id)
        shown = self.app.feeds.preview(self.job.id)
        if preview is not None and (shown is None or shown.content != preview.content):
            self.app.feeds.show(self.job.id, preview.content, preview.media_type)
        number = now.number if (now := self.app.feeds.preview(self.job.id)) else None
        self.app.feeds.note_progress(self.job.id, preview=number)
        if "step" in values:
            says = {"done": 0, "total": 0, **values, "progress": progress, "eta_s": eta, "preview": number}
            self.app.feeds.say(self.job.id, "step", says)

    def _finish(self, shown: Sequence[Made | NewPicture]) -> None:
        plan = self._some_plan()
        for place, picture in enumerate(shown):
            row = (
                self._new(picture, plan, place) if isinstance(picture, NewPicture) else copied(picture, self.job, place)
            )
            self.app.add_result(self.job, row)
        said = (*self.notices, *(notice for result in self.results for notice in result.job.notices))
        notices = tuple(dict.fromkeys(said))
        is_cut = self.is_stopped or any(result.job.state is JobState.INTERRUPTED for result in self.results)
        if self.notices and not self.results and not is_cut:  # every request of it came to nothing
            error = ("GenerationError", self.notices[0])
            self.app.runner.end(self.job, JobState.FAILED, error=error, notices=notices)
            return
        state = JobState.INTERRUPTED if is_cut else JobState.DONE
        summary = self._summary(plan)
        self.app.runner.end(self.job, state, notices=notices, summary=summary)

    def _some_plan(self) -> Plan | None:
        """The plan of the first child: names and places of composed pictures follow it."""
        return self.app.runner.plan_of(self.results[0].job) if self.results else None

    def _new(self, picture: NewPicture, plan: Plan | None, place: int) -> Result:
        assert plan is not None  # a composed picture is `like` one that a child made
        like = picture.like
        infotext = like.infotext if picture.infotext is None else picture.infotext
        settings = merged(self.app.settings.current, self.request.overrides)
        allowed = self.request.save is not False
        saved = allowed and (settings.grid_save if picture.role == "grid" else settings.samples_save)
        done = ImageDone(
            role=picture.role,
            index=place,
            seed=like.seed,
            subseed=like.subseed,
            prompt=like.prompt,
            negative_prompt=like.negative_prompt,
            width=picture.image.width,
            height=picture.image.height,
            # A1111 writes the text of a composed picture into its saved file only
            image=ImageData.from_image(picture.image, **_with_text(infotext if saved else "")),
            infotext=infotext,
            basename=picture.basename,
            shown=picture.is_shown,
            saved=saved,
        )
        return self.app.pictures.keep(self.job, plan, done)

    def _summary(self, plan: Plan | None) -> dict[str, Any]:
        """The first child's `info`, with the lists of all."""
        if plan is None:
            return JobDone().model_dump(mode="json", exclude={"kind"})
        summary = dict(self.results[0].job.summary)
        rows = self.app.queue.results(self.job.id)
        children = [result.job.summary.get("info", {}) for result in self.results]
        info = {**children[0]}
        for name in ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"):
            info[name] = [value for child in children for value in child.get(name, ())]
        info["infotexts"] = [row.infotext for row in gallery(rows)]
        info["index_of_first_image"] = sum(row.role == "grid" for row in gallery(rows))
        return {
            **summary,
            "info": info,
            "elapsed_s": sum(result.job.summary.get("elapsed_s", 0) for result in self.results),
        }


class _AppTools:
    """`modules.extensions.api.Tools` over the application."""

    def __init__(self, app: App, request: GenerationRequest) -> None:
        self._app = app
        self._settings = merged(app.settings.current, request.overrides)

    def upscaler_name(self, asked: int | str) -> str:
        upscalers = self._app.upscalers
        if isinstance(asked, str):
            return upscalers.find(asked).name
        names = upscalers.names()
        if not 0 <= asked < len(names):
            raise UnknownName(f"there is no upscaler number {asked}; there are {len(names)}, from 0")
        return names[asked]

    def upscale(self, image: Image.Image, upscaler: str, scale: float) -> Image.Image:
        return upscaled(self._app, image, upscaler, scale)

    def check(self, request: GenerationRequest) -> None:
        self._app.plan(request, owner="")

    def setting(self, key: str) -> Any:
        if not hasattr(self._settings, key):
            return self._app.settings.get(key)
        return getattr(self._settings, key)


def _parted(app: App, request: GenerationRequest) -> tuple[Script, Arguments, GenerationRequest]:
    """The selectable script of a request, its arguments, and the request without them; raises UnknownName."""
    found = selected(app.extensions, request)
    if found is None:
        raise UnknownName("the script of this job is not installed any more")
    script, args = found
    others = {name: given for name, given in request.scripts.items() if name.casefold() != script.name.casefold()}
    return script, args, request.model_copy(update={"scripts": others})


def _made(row: Result, read: Any) -> Made:
    return Made(
        infotext=row.infotext,
        seed=row.seed,
        subseed=row.subseed,
        prompt=row.prompt,
        negative_prompt=row.negative_prompt,
        role=row.role,
        index=row.index,
        read=read,
        handle=row,
    )


def copied(made: Made, job: Job, place: int) -> Result:
    """A child's picture as one of the script's own, in its place: the same file."""
    row: Result = made.handle
    return row.replace(id=new_result_id(), job=job.id, index=place)


def _with_text(infotext: str) -> dict[str, Any]:
    from PIL.PngImagePlugin import PngInfo

    if not infotext:
        return {}
    text = PngInfo()
    text.add_text("parameters", infotext)
    return {"pnginfo": text}
