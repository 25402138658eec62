"""One job through one worker: from its plan to its last event, told to the feed and written to the queue."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from modules.engine.sheets import grid_done, makes_grid
from modules.errors import WorkerDied
from modules.generation.events import (
    Event,
    ImageDone,
    JobDone,
    JobFailed,
    JobPaused,
    JobStarted,
    ModelLoading,
    Notice,
    PassStarted,
    SoFar,
    StepDone,
)
from modules.generation.plan import Plan
from modules.infotext.write import grid_infotext
from modules.jobs.blobs import BlobStore, pack, unpack
from modules.jobs.control import ControlBox, Turn
from modules.jobs.feed import Feeds
from modules.jobs.queue import JobQueue
from modules.jobs.record import Job, JobState, Result
from modules.jobs.view import info_object
from modules.jobs.worker import Control, Worker

log = logging.getLogger(__name__)

_ATTEMPTS = 2  # a job whose worker died before it started, or went on, gets one more

_RESTING = "Waiting for its next turn"


class JobRunner:
    """Runs claimed jobs. `keep(job, plan, image)` saves a picture and returns its result row (never raises for a full
    disk: that is in the row); `public_image`, `public_job` give the JSON that watchers see."""

    def __init__(
        self,
        queue: JobQueue,
        feeds: Feeds,
        blobs: BlobStore,
        *,
        keep: Callable[[Job, Plan, ImageDone], Result],
        public_image: Callable[[Result], dict[str, Any]],
        public_job: Callable[[Job], dict[str, Any]],
        finished: Callable[[Job, Plan | None], None] = lambda job, plan: None,
    ) -> None:
        self._queue, self._feeds, self._blobs = queue, feeds, blobs
        self._keep, self._public_image, self._public_job = keep, public_image, public_job
        self._finished = finished
        self._controls: dict[str, ControlBox] = {}
        self._lock = threading.Lock()

    def claim(self) -> Job | None:
        """The job that is next in turn, from now on open to `stop` and `control`; None when nothing is ready."""
        with self._queue.held_still():
            job = self._queue.claim(("generate",))
            if job is not None:
                with self._lock:
                    self._controls[job.id] = ControlBox()
            return job

    def control(self, job_id: str, wish: Control) -> bool:
        """Say something to a job that a worker has in hand here; False when none has."""
        with self._lock:
            box = self._controls.get(job_id)
        if box is None:
            return False
        box.put(wish)
        return True

    def stop(self, job_id: str, wish: Control) -> None:
        """End a job that runs as `wish` says; one that rests ends here and now."""
        with self._queue.held_still():  # it neither goes on nor is put down meanwhile
            rests = self._queue.take_resting(job_id)
            if not rests:
                self.control(job_id, wish)
        if rests and (job := self._queue.find(job_id)) is not None:
            self._end_here(_Run(job, ControlBox()))

    def run(self, job: Job, worker: Worker) -> None:
        """Run a claimed job to its end, or until it gives way; raises WorkerDied when the worker does not survive it.

        A job of several batches gives way after the one in hand when another job is next, or when somebody waits for
        an answer of the worker. A turn that began with loading a model lasts at least as long again, or jobs of two
        checkpoints would have them loaded for every picture.
        """
        with self._lock:
            run = _Run(job, self._controls.setdefault(job.id, ControlBox()))
        try:
            plan, so_far = self.plan_of(job), self._so_far(job)
            for notice in plan.notices if so_far is None else ():
                self._hear(run, plan, Notice(message=notice))
            turn = Turn(
                run.control,
                is_over=lambda: worker.is_asked or (run.has_paid_off and self._queue.is_outranked(job)),
                changes=lambda: self._queue.changes,
            )
            said = turn if len(plan.batches) > 1 else run.control
            with contextlib.closing(worker.run(plan, said, so_far)) as events:
                for event in events:
                    self._hear(run, plan, event)
        except (FileNotFoundError, ValidationError) as error:
            message = f"the queued plan cannot be read any more ({type(error).__name__}); please ask again"
            self.end(job, JobState.FAILED, error=(type(error).__name__, message))
        finally:
            self._let_go(run)

    def plan_of(self, job: Job) -> Plan:
        """The plan as it was queued."""
        return Plan.model_validate(unpack(self._queue.payload(job.id), self._blobs))

    def take_up(self, job: Job) -> None:
        """Tell where a job is that rests since an earlier run of the program."""
        try:
            plan, so_far = self.plan_of(job), self._so_far(job)
        except (FileNotFoundError, ValidationError):
            return  # `run` says so in its turn
        batches = len(plan.batches)
        done = so_far.batches if so_far is not None else 0
        self._feeds.note_progress(
            job.id, started=True, rested=True, progress=done / batches, batch=done, batches=batches, text=_RESTING
        )

    def lost(self, job: Job, death: WorkerDied) -> None:
        """Decide what becomes of a job whose worker died: again if it had not started, or not gone on, else failed."""
        known = self._feeds.progress(job.id)
        if known.get("rested") and job.attempts < _ATTEMPTS:
            self._queue.give_back(job.id)
            self._feeds.note_progress(job.id, text=_RESTING)
            self._feeds.say(job.id, "notice", {"message": f"{death}; the job goes on where it was"})
            return
        if not known.get("started") and job.attempts < _ATTEMPTS:
            self._queue.give_back(job.id)
            self._feeds.say(job.id, "notice", {"message": f"{death}; the job had not started and is tried again"})
            self._feeds.say(job.id, "queued", {"position": 1})
            return
        self.end(job, JobState.FAILED, error=("WorkerDied", f"{death}; pictures made before are kept"))

    def end(
        self,
        job: Job,
        state: JobState,
        *,
        error: tuple[str, str] = ("", ""),
        notices: tuple[str, ...] = (),
        summary: dict[str, Any] | None = None,
        plan: Plan | None = None,
    ) -> None:
        """Write a job's end to the queue, then tell its watchers."""
        ended = self._queue.finish(job.id, state, error=error, notices=notices, summary=summary)
        self._finished(ended, plan)
        self._feeds.say(job.id, ended.state.value, self._public_job(ended))

    def _hear(self, run: _Run, plan: Plan, event: Event) -> None:
        job_id = run.job.id
        match event:
            case JobStarted():
                self._feeds.note_progress(job_id, started=True, progress=0.0, text="")
                self._feeds.say(job_id, "started", event.model_dump(exclude={"kind"}))
            case ModelLoading():
                run.loading_since = time.monotonic()
                self._feeds.note_progress(job_id, text=f"Loading {event.title}")
                self._feeds.say(job_id, "model_loading", event.model_dump(exclude={"kind"}))
            case PassStarted():
                run.batch = event.batch
                run.has_loaded()
                a_batch = 2 if plan.hires else 1
                passes = (a_batch * event.batch + (event.name == "hires"), a_batch * event.batches)
                self._feeds.note_progress(
                    job_id, batch=event.batch, batches=event.batches, step=0, steps=event.steps, text=event.name,
                    pass_name=event.name, passes=passes, skipped=False,
                )  # fmt: skip
                self._feeds.say(job_id, "pass", event.model_dump(exclude={"kind"}))
            case StepDone():
                self._step(run, event)
            case ImageDone():
                result = self._keep(run.job, plan, event)
                self._queue.add_result(result)
                self._feeds.note_progress(job_id, rested=False)
                self._feeds.say(job_id, "image", self._public_image(result))
            case Notice():
                run.notices.append(event.message)
                self._feeds.say(job_id, "notice", {"message": event.message})
            case JobPaused():
                self._rest(run, plan, event.so_far)
            case JobDone():
                state = JobState.INTERRUPTED if event.interrupted else JobState.DONE
                summary = event.model_dump(mode="json", exclude={"kind"})
                summary["info"] = info_object(plan, self._queue.results(job_id), event, started=run.job.started)
                self.end(run.job, state, notices=tuple(run.notices), summary=summary, plan=plan)
            case JobFailed():
                self.end(
                    run.job, JobState.FAILED, error=(event.error, event.message), notices=tuple(run.notices), plan=plan
                )

    def _so_far(self, job: Job) -> SoFar | None:
        text = self._queue.so_far(job.id)
        return None if text is None else SoFar.model_validate(unpack(text, self._blobs))

    def _rest(self, run: _Run, plan: Plan, so_far: SoFar) -> None:
        """Put a job down until its owner's next turn, unless it was stopped while its worker did so."""
        kept, blobs = pack(so_far, self._blobs)
        with self._queue.held_still():
            is_stopped = run.control.take() in (Control.INTERRUPT, Control.STOP_AFTER_BATCH)
            if not is_stopped:
                self._feeds.note_progress(
                    run.job.id, rested=True, batch=so_far.batches, step=0, eta_s=None, text=_RESTING
                )
                self._queue.rest(run.job.id, kept, blobs=blobs, notices=tuple(run.notices))
                self._let_go(run)
        if is_stopped:
            self._stop_at(run, plan, so_far)

    def _end_here(self, run: _Run) -> None:
        """End a job that rests, with what it made."""
        try:
            plan, so_far = self.plan_of(run.job), self._so_far(run.job)
        except (FileNotFoundError, ValidationError) as error:
            log.warning("job %s ends without its grid: %s", run.job.id, error)
            self.end(run.job, JobState.INTERRUPTED, notices=run.job.notices)
            return
        assert so_far is not None
        self._stop_at(run, plan, so_far)

    def _stop_at(self, run: _Run, plan: Plan, so_far: SoFar) -> None:
        """What a worker would do with a job that is stopped before its next batch."""
        if makes_grid(plan, len(so_far.samples)):
            sheet = grid_done(plan, [sample.open() for sample in so_far.samples], grid_infotext(plan, so_far.facts))
            self._hear(run, plan, sheet)
            if sheet.shown:
                so_far = so_far.model_copy(update={"infotexts": (sheet.infotext, *so_far.infotexts)})
        self._hear(run, plan, so_far.done())

    def _let_go(self, run: _Run) -> None:
        """Forget a job's control box, unless the job was claimed again meanwhile."""
        with self._lock:
            if self._controls.get(run.job.id) is run.control:
                del self._controls[run.job.id]

    def _step(self, run: _Run, event: StepDone) -> None:
        job_id = run.job.id
        preview = None
        if event.preview is not None:
            preview = self._feeds.show(job_id, event.preview.content, media_type(event.preview.content))
        progress = min(1.0, event.done / max(1, event.total))
        if run.first_step is None:
            run.first_step = (time.monotonic(), event.done)
        started, done_then = run.first_step
        done_since = event.done - done_then
        eta = (time.monotonic() - started) / done_since * (event.total - event.done) if done_since > 0 else None
        values = {"step": event.step, "steps": event.steps, "progress": progress, "eta_s": eta}
        if preview is not None:
            run.preview = preview
        self._feeds.note_progress(job_id, **values, preview=run.preview, at=time.time())
        self._feeds.say(job_id, "step", {**values, "done": event.done, "total": event.total, "preview": run.preview})


class _Run:
    """What is only of interest while a worker has a job in hand."""

    def __init__(self, job: Job, control: ControlBox) -> None:
        self.job = job
        self.control = control
        self.notices = list(job.notices)  # from before it rested
        self.first_step: tuple[float, int] | None = None
        self.batch = 0
        self.preview: int | None = None
        self.loading_since: float | None = None
        self._pays_off_at = 0.0

    def has_loaded(self) -> None:
        """Note that the worker samples again after whatever it had to load."""
        if self.loading_since is not None:
            now = time.monotonic()
            self._pays_off_at = now + (now - self.loading_since)
            self.loading_since = None

    @property
    def has_paid_off(self) -> bool:
        """Whether the turn has lasted as long as the loading that it began with."""
        return time.monotonic() >= self._pays_off_at


def media_type(content: bytes) -> str:
    """The MIME type of an image file by its first bytes; raises ValueError for what we never make."""
    if content.startswith(b"\x89PNG"):
        return "image/png"
    if content.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    raise ValueError(f"not an image of a kind we make; it begins with {content[:12]!r}")
