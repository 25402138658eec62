"""The composition root: everything is built here once, and every door goes through `App.submit`.

No torch here and in nothing this imports: the front must be up in seconds and survive whatever a GPU does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from modules import batches, errors
from modules.checkpoint_in_use import CheckpointInUse
from modules.databases import move_aside_if_damaged
from modules.errors import InvalidRequest, NotPermitted, UnknownName
from modules.extensions import dispatch
from modules.extensions.loader import Extensions
from modules.extras import ExtrasRunner
from modules.generation.plan import Plan
from modules.generation.request import GenerationRequest
from modules.images.crops import Box
from modules.images.data import ImageData
from modules.infotext.paste import Pasted, Tab, paste
from modules.jobs.again import with_new_seeds
from modules.jobs.blobs import BlobStore, pack, unpack
from modules.jobs.feed import Feeds
from modules.jobs.handle import JobHandle
from modules.jobs.process import WorkerProcess
from modules.jobs.queue import JobQueue
from modules.jobs.record import Job, JobState, NewJob, Priority, Result, login_of
from modules.jobs.runner import JobRunner
from modules.jobs.supervisor import Supervisor
from modules.jobs.tasks import TaskNames
from modules.jobs.view import asked_for, image_view, job_view
from modules.jobs.worker import Control
from modules.models import caption
from modules.models.catalog import Catalog
from modules.models.hashes import BackgroundHasher, FileFacts
from modules.models.places import ModelFolders
from modules.outputs.history import History
from modules.outputs.importing import import_folder, output_folders
from modules.outputs.naming import NameRules
from modules.outputs.store import OutputStore
from modules.pictures import Pictures
from modules.planning.planner import plan as make_plan
from modules.planning.seeds import draw_seed
from modules.prompts.styles import StyleBook
from modules.recipes import RecipeRunner, ScriptRun
from modules.settings.flags import Flags
from modules.settings.store import SettingsStore, is_place
from modules.upscaling.catalog import Upscalers, tiles_of

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]

VERSION = "v1.10.1"
"""What infotext says as `Version:`: the A1111 whose behaviour this is, so that its readers know the rules."""

_KEEP_JOBS = 2000
_KEEP_S = 30 * 24 * 3600.0
_TITLE_LENGTH = 120


class App:
    """Settings, models, queue, outputs and workers of one installation.

    `start` starts the worker process and everything that runs by itself; `close` ends it all within a few seconds.
    """

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self.data_dir = flags.data_path
        self.closing = threading.Event()
        self.restarts = False  # whether the program begins anew after its end, as the API may ask
        self.settings = SettingsStore(flags.settings_path, flags=flags)
        data, facts = flags.made_folder("data"), flags.made_folder("cache") / "models.sqlite3"
        move_aside_if_damaged(facts, holds="hashes of model files", then="they are computed again")
        self.facts = FileFacts(facts)
        self.hasher = None if flags.no_hashing else BackgroundHasher(self.facts)
        self.catalog = Catalog(ModelFolders.of(flags), self.facts, hasher=self.hasher)
        move_aside_if_damaged(
            data / "jobs.sqlite3", holds="the queue", then="jobs that waited are gone, all saved pictures are there"
        )
        self.queue = JobQueue(data / "jobs.sqlite3")
        # of a job that is queued nothing here changes any more
        self._asked_for = lru_cache(4096)(lambda job_id, kind: asked_for(kind, self.queue.payload(job_id)))
        self.blobs = BlobStore(data / "blobs")
        self.feeds = Feeds()
        self.tasks = TaskNames()
        self.styles = StyleBook.load(flags.styles_file or (self.data_dir / "styles.csv",))
        self.outputs = OutputStore(
            self.data_dir,
            rules=NameRules(max_length=flags.filenames_max_length, unix_only=flags.unix_filenames_sanitization),
        )
        self._history_is_lost = move_aside_if_damaged(
            data / "history.sqlite3",
            holds="the gallery's index",
            then="the pictures in the output folders are indexed anew; favourites and tags are in the old file only",
        )
        self.history = History(data / "history.sqlite3", self.data_dir)
        self.pictures = Pictures(
            self.data_dir,
            outputs=self.outputs,
            history=self.history,
            blobs=self.blobs,
            feeds=self.feeds,
            history_owner=self.history_owner,
            keeps_last_parameters=not flags.no_prompt_history,
            tells_console=lambda: self.settings.current.samples_log_stdout,
        )
        self.runner = JobRunner(
            self.queue, self.feeds, self.blobs, keep=self.pictures.keep, public_image=image_view, public_job=self.view
        )
        settings = self.settings.current
        self.extensions = Extensions(
            (ROOT / "extensions", self.data_dir / "extensions"),
            disabled=settings.disabled_extensions,
            only=_which_extensions(flags, settings.disable_all_extensions),
        )
        for section in self.extensions.collected.sections:
            self.settings.add_section(section)
        self.recipes = RecipeRunner(self, {"script": ScriptRun, batches.KIND: batches.BatchRun})
        self.extras = ExtrasRunner(self)
        self.checkpoint = CheckpointInUse(
            self.catalog,
            self.settings,
            lambda: self.supervisor.process,
            is_preloaded=not (flags.ui_debug_mode or flags.skip_load_model_at_start),
        )
        self.supervisor = Supervisor(self.queue, self.runner, self._spawn, on_ready=self.checkpoint.preload)

    def start(self) -> None:
        """Start the worker process, take up what an earlier run of the program left waiting, and tidy up."""
        for job in self.queue.recover():
            log.warning("job %s was running when the program ended; it is marked interrupted", job.id)
        for job in self.queue.jobs(owner=None, states=(JobState.QUEUED,), limit=self.queue.limit):
            self._open_feed(job)
        for job in self.queue.resting():
            self.revive(job)
            self.runner.take_up(job)
        self.supervisor.start()
        self.recipes.start()
        self.extras.start()
        self.settings.subscribe(self.checkpoint.settings_changed)
        threading.Thread(target=self._tidy, name="tidy", daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.supervisor.close()
        if self.hasher is not None:
            self.hasher.close()
        self.queue.close()
        self.history.close()
        self.facts.close()

    @property
    def upscalers(self) -> Upscalers:
        """The upscalers of this installation, built-in and found as files."""
        settings = self.settings.current
        tiles = tiles_of(settings.model_dump())
        return Upscalers.of(self.catalog, tile=settings.ESRGAN_tile, overlap=settings.ESRGAN_tile_overlap, tiles=tiles)

    # ── infotext ────────────────────────────────────────────────────────────────────────────────────────────────

    def paste(self, infotext: str, tab: Tab) -> Pasted:
        """What an infotext asks for on a tab, with this installation's settings, styles and LoRAs."""
        return paste(infotext, tab=tab, settings=self.settings.current, styles=self.styles, lora_named=self.lora_named)

    def lora_named(self, digits: str) -> str | None:
        """This installation's name of the LoRA that has these digits among an infotext's `Lora hashes`."""
        prefers_alias = self.settings.current.lora_preferred_name != "Filename"
        return self.catalog.lora_named(digits, prefers_alias=prefers_alias)

    # ── asking for pictures ─────────────────────────────────────────────────────────────────────────────────────

    def submit(
        self,
        request: GenerationRequest,
        *,
        owner: str,
        priority: int = Priority.INTERACTIVE,
        idempotency_key: str | None = None,
        parent: str | None = None,
        script_infotext: Mapping[str, str] | None = None,
        reuses: bool = False,
        saving: Mapping[str, Any] | None = None,
    ) -> JobHandle:
        """Plan a request and queue it: the only way to a picture, for every door.

        A request that names a selectable script becomes a job whose pictures come from other jobs, its children
        (`modules/recipes.py`); those have a `parent`, and `script_infotext` for their pictures, and a script that they
        name is there for its stage in the worker. `reuses` gives the job that carried out the very same plan before, if
        there is one whose pictures still exist. `saving` are settings of where the pictures go, from somebody who may
        say so (a batch's output folder).

        Raises InvalidRequest and its kinds for what cannot be done as asked, QueueFull. Nothing is queued then.
        """
        request = dispatch.on_request(self.extensions, request)
        plan = self.plan(request, owner)
        if self.settings.current.enable_console_prompts:
            log.info("Prompt: %s\nNegative prompt: %s", plan.main_prompt, plan.main_negative_prompt)
        is_script = parent is None and dispatch.selected(self.extensions, request) is not None
        if is_script:
            request = self.recipes.settle(request)
        if script_infotext:
            plan = plan.model_copy(update={"script_infotext": {**plan.script_infotext, **script_infotext}})
        if saving:
            options = {**plan.saving.options, **saving}
            plan = plan.model_copy(
                update={"saving": plan.saving.model_copy(update={"options": options, "owner": None})}
            )
        payload, blobs = pack(request if is_script else plan, self.blobs)
        kind = "script" if is_script else "generate"
        done = self.queue.find_done(owner, kind, payload) if reuses else None
        if done is not None and self.pictures.can_be_read(self.queue.results(done.id)):
            return self.handle(done.id)
        return self.put(
            NewJob(
                kind=kind,
                payload=payload,
                blobs=blobs,
                owner=owner,
                title=request.prompt.strip()[:_TITLE_LENGTH],
                priority=priority,
                idempotency_key=idempotency_key,
                parent=parent,
            )
        )

    def plan(self, request: GenerationRequest, owner: str) -> Plan:
        """What `submit` would carry out; raises InvalidRequest and its kinds, NotPermitted."""
        places = [key for key in request.overrides if is_place(key)]
        if places and (login_of(owner) is not None or self.flags.is_reachable_by_others):
            raise NotPermitted(
                f"{', '.join(places)}: where pictures are written is for the settings to say while several people use "
                "this server"
            )
        plan = make_plan(
            request,
            catalog=self.catalog,
            settings=self.settings.current,
            styles=self.styles,
            upscalers=self.upscalers.names(),
            faces=self.catalog.faces,
            version=VERSION,
            owner=login_of(owner),
        )
        return dispatch.on_plan(self.extensions, plan)

    def put(self, new: NewJob) -> JobHandle:
        """Queue a job that is planned already; raises QueueFull."""
        with self.queue.held_still():  # the feed must be open before a worker can take the job
            job = self.queue.put(new)
            if job.state.is_end:  # an idempotent submit, perhaps of a job of an earlier run: its feed has an end too
                self.revive(job)
            else:
                self._open_feed(job)
        return self.handle(job.id)

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────

    def handle(self, job_id: str) -> JobHandle:
        return JobHandle(job_id, self.queue, self.feeds, self.pictures.read)

    def find_job(self, job_id: str, owner: str | None) -> Job | None:
        """The job, if it is this owner's; `owner` None may see every job."""
        job = self.queue.find(job_id)
        return job if job is not None and owner in (None, job.owner) else None

    def view(self, job: Job, order: Sequence[str] | None = None) -> dict[str, Any]:
        """A job as `modules/api/jobs.py` describes it; `order` is the queue's, from who shows many jobs at once."""
        position = None
        if job.state is JobState.QUEUED:
            order = self.queue.waiting_order() if order is None else order
            position = order.index(job.id) + 1 if job.id in order else 1
        return job_view(
            job,
            self.queue.results(job.id),
            progress=self.feeds.progress(job.id),
            position=position,
            asked=self._asked_for(job.id, job.kind),
        )

    def interrupt(self, job_id: str, *, after_batch: bool = False) -> None:
        """End a running job with what there is, now or after the batch in hand; a waiting one is dropped."""
        if self.queue.cancel_waiting(job_id):
            job = self.queue.find(job_id)
            assert job is not None
            self.feeds.say(job_id, "cancelled", self.view(job))
            return
        self.feeds.note_progress(job_id, **{"stopping" if after_batch else "interrupted": True})
        self.runner.stop(job_id, Control.STOP_AFTER_BATCH if after_batch else Control.INTERRUPT)
        self.recipes.stop(job_id)
        self.extras.stop(job_id)
        for child in self.queue.children(job_id):
            self.interrupt(child.id, after_batch=after_batch)

    def skip(self, job_id: str) -> None:
        """Give up the batch in hand and go on with the next."""
        for job in (job_id, *(child.id for child in self.queue.children(job_id))):
            self.runner.control(job, Control.SKIP)
            self.feeds.note_progress(job, skipped=True)

    def retry(self, job: Job) -> JobHandle:
        """Queue an ended job's plan again; raises NotPermitted while it has not ended."""
        if not job.state.is_end:
            raise NotPermitted(f"the job is {job.state.value}; only one that has ended can be run again")
        return self.put(
            NewJob(
                kind=job.kind,
                payload=self.queue.payload(job.id),
                blobs=self.queue.blobs(job.id),
                owner=job.owner,
                title=job.title,
                priority=job.priority,
                retry_of=job.id,
            )
        )

    def duplicate(self, job: Job) -> JobHandle:
        """Queue a job once more with new seeds, whatever its state; raises as `asked` does."""
        asked, seed = self.asked(job), draw_seed()
        if isinstance(asked, Plan):
            asked = with_new_seeds(asked, seed)
        else:
            asked = asked.model_copy(update={"seed": asked.seed.model_copy(update={"value": seed})})
        payload, blobs = pack(asked, self.blobs)
        return self.put(
            NewJob(kind=job.kind, payload=payload, blobs=blobs, owner=job.owner, title=job.title, priority=job.priority)
        )

    def asked(self, job: Job) -> Plan | GenerationRequest:
        """What a job is to make: a plan, or a script's request; raises InvalidRequest when its pictures are gone."""
        if job.kind not in ("generate", "script"):
            raise InvalidRequest("only jobs that make pictures from a prompt can be done again with other seeds")
        try:
            content = unpack(self.queue.payload(job.id), self.blobs)
        except FileNotFoundError as error:
            raise InvalidRequest("the pictures that this job starts from are not kept any more") from error
        return (Plan if job.kind == "generate" else GenerationRequest).model_validate(content)

    def move(self, job: Job, before: str | None) -> None:
        """Let a waiting job run before another of its owner, or last; raises NotPermitted."""
        self.queue.move(job.id, before=before)
        self._tell_places()

    def revive(self, job: Job) -> None:
        """Give a job that ended long ago or in an earlier run a feed again, made from what the queue knows."""
        if self.feeds.knows(job.id):
            return
        self._open_feed(job)
        for result in self.queue.results(job.id):
            self.feeds.say(job.id, "image", image_view(result))
        for notice in job.notices:
            self.feeds.say(job.id, "notice", {"message": notice})
        if job.state.is_end:
            self.feeds.say(job.id, job.state.value, self.view(job))

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a worker's function when the jobs before it are done.

        Raises what the function raised, as its own class of `modules/errors.py` where it is one, and WorkerDied.
        """
        try:
            return self.supervisor.call(name, **arguments)
        except RuntimeError as error:
            kind, _, message = str(error).partition(": ")
            known = getattr(errors, kind, None)
            if isinstance(known, type) and issubclass(known, errors.WebuiError):
                raise known(message) from error
            raise

    def call_with_model(self, name: str, **arguments: Any) -> Any:
        """The same for a function that works with the configured checkpoint."""
        return self.call(name, **self.checkpoint.arguments(), **arguments)

    @property
    def caption_model(self) -> Path | None:
        """The folder of the model that describes pictures; None when there is none."""
        return caption.find(self.catalog.folders.captions)

    def describe(self, image: ImageData) -> str:
        """A picture in words, when the worker's jobs before it are done; raises UnknownName without a model for it."""
        folder, settings = self.caption_model, self.settings.current
        if folder is None:
            raise UnknownName(caption.MISSING)
        return self.call(
            "describe",
            image=image.to_base64(),
            folder=str(folder),
            beams=settings.interrogate_clip_num_beams,
            shortest=settings.interrogate_clip_min_length,
            longest=settings.interrogate_clip_max_length,
            keep=settings.interrogate_keep_models_in_memory,
        )

    def restore_faces(self, image: ImageData, name: str, weight: float) -> tuple[ImageData, int]:
        """A picture with its faces restored, and how many there were, when the worker's jobs before it are done.

        Raises UnknownName while a file for it is missing.
        """
        if (problem := self.catalog.faces.problem(name)) is not None:
            raise UnknownName(problem)
        keep = not self.settings.current.face_restoration_unload
        answer = self.call("restore_faces", image=image.to_base64(), restorer=name, weight=weight, keep=keep)
        return ImageData.from_base64(answer["image"]), answer["faces"]

    def find_faces(self, image: ImageData) -> list[Box]:
        """Where the faces of a picture are, when the worker's jobs before it are done; raises as `restore_faces`."""
        if (problem := self.catalog.faces.detector_problem) is not None:
            raise UnknownName(problem)
        keep = not self.settings.current.face_restoration_unload
        return [tuple(box) for box in self.call("find_faces", image=image.to_base64(), keep=keep)]

    def usual_size(self, checkpoint: str | None) -> tuple[int, int]:
        """The size that a checkpoint (None: the configured one) was made for; 512 by 512 when nothing says."""
        checkpoints = self.catalog.checkpoints
        name = (
            checkpoint or self.settings.current.sd_model_checkpoint or (checkpoints[0].title if checkpoints else None)
        )
        side = self.catalog.native_size(self.catalog.find_checkpoint_file(name)) if name else 512
        return side, side

    def history_owner(self, owner: str) -> str:
        """Whose pictures an owner sees in the history: the login's, or all made without one when alone here."""
        login = login_of(owner)
        if login is not None:
            return login
        return owner if self.flags.is_reachable_by_others else ""

    def add_result(self, job: Job, result: Result) -> None:
        """Give a job a picture and tell its watchers."""
        self.queue.add_result(result)
        self.feeds.say(job.id, "image", image_view(result))

    # ── what happens by itself ──────────────────────────────────────────────────────────────────────────────────

    def _open_feed(self, job: Job) -> None:
        if self.feeds.knows(job.id):  # an idempotent submit of a job that is there already
            return
        self.feeds.open(job.id, job.owner)
        if job.state is JobState.QUEUED:
            self.feeds.say(job.id, "queued", {"position": self.view(job)["position"]})

    def _tell_places(self) -> None:
        """Tell every waiting job its place in the queue."""
        for place, job_id in enumerate(self.queue.waiting_order(), start=1):
            self.feeds.say(job_id, "queued", {"position": place})

    def _spawn(self, on_report: Any) -> WorkerProcess:
        setup = {
            "flags": self.flags.model_dump(mode="json"),
            "extensions": {
                "folders": [str(ROOT / "extensions"), str(self.data_dir / "extensions")],
                "disabled": [extension.name for extension in self.extensions.all if not extension.is_active],
            },
            "facts": str(self.data_dir / "cache" / "models.sqlite3"),
            "folders": self.catalog.folders.to_json(),
        }
        return WorkerProcess(
            setup, on_report=on_report, patience_s=lambda: 60.0 * self.settings.current.worker_patience_minutes
        )

    def _tidy(self) -> None:
        """Forget old jobs and the blobs that nobody needs any more, now and every hour."""
        if self._history_is_lost:
            self._index_anew()
        while True:
            now = time.time()
            forgotten = self.queue.forget(ended_before=now - _KEEP_S, keep_newest=_KEEP_JOBS)
            swept = self.blobs.sweep(self.queue.blobs_in_use(), younger_than=now - 3600)
            if forgotten or swept:
                log.info("forgot %d old jobs, deleted %d files of theirs", forgotten, swept)
            if self.closing.wait(3600):
                return

    def _index_anew(self) -> None:
        """Read the pictures in the output folders into an index that begins anew; those of logins stay theirs."""
        added = 0
        for folder, owner in output_folders(self.data_dir, self.settings.current).items():
            here = 0
            for progress in import_folder(self.history, folder, owner=owner):
                if self.closing.is_set():
                    return
                here = progress.added
            added += here
        log.info("indexed %d pictures in the output folders", added)


def _which_extensions(flags: Flags, setting: str) -> str:
    """Which extensions to load: "all", "builtin" or "none"."""
    if flags.disable_all_extensions or setting == "all":
        return "none"
    return "builtin" if flags.disable_extra_extensions or setting == "extra" else "all"
