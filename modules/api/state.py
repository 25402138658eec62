"""A1111's routes about the server's state: progress, interrupt, options, memory, flags."""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import base64
import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from modules.api import shapes
from modules.api.bodies import Body
from modules.api.fields import unrestricted
from modules.api.jobs import MayChange, Owner, Sees
from modules.api.listings import configured_checkpoint
from modules.api.sysinfo import HIDDEN, SECRET_FLAGS
from modules.api.waiting import Apart
from modules.errors import WorkerDied
from modules.jobs.record import Job, JobState
from modules.jobs.view import timestamp

if TYPE_CHECKING:
    from modules.app import App


class ProgressQuestion(Body):
    """POST /internal/progress"""

    id_task: str | None = None
    id_live_preview: int | None = -1
    live_preview: bool | None = True


def routes(app: "App") -> APIRouter:
    """GET progress, options, cmd-flags, memory; POST interrupt, skip, options, (un|re)load-checkpoint."""
    router = APIRouter(prefix="/sdapi/v1", tags=["state"])
    between_jobs, beside_jobs = Apart(), Apart()

    @router.get("/progress", response_model=shapes.Progress)
    def progress(sees: Sees, skip_current_image: bool = False) -> dict[str, Any]:
        job = _running(app, sees)
        return progress_of(app, job, with_image=not skip_current_image)

    @router.post("/interrupt", response_model=shapes.Nothing)
    def interrupt(sees: Sees) -> dict[str, Any]:
        for job in _all_running(app, sees):
            app.interrupt(job.id)
        return {}

    @router.post("/skip")
    def skip(sees: Sees) -> None:
        for job in _all_running(app, sees):
            app.skip(job.id)

    @router.get("/options")
    def get_options() -> dict[str, Any]:
        """The settings; the checkpoint under the title by which /sd-models lists it now, also where none was chosen."""
        file = configured_checkpoint(app)
        in_use = {"sd_model_checkpoint": file.title, "sd_checkpoint_hash": file.sha256 or ""} if file else {}
        return {**app.settings.all(), **in_use}

    @router.post("/options", dependencies=[MayChange])
    def set_options(changes: dict[str, Any]) -> None:
        changes = unrestricted(changes)
        if changes.get("sd_model_checkpoint"):
            changes["sd_model_checkpoint"] = app.catalog.find_checkpoint(str(changes["sd_model_checkpoint"])).title
        app.settings.set_many(changes)

    @router.get("/cmd-flags")
    def cmd_flags() -> dict[str, Any]:
        shown = app.flags.model_dump(mode="json")
        return {name: (HIDDEN if value and name in SECRET_FLAGS else value) for name, value in shown.items()}

    @router.get("/memory", response_model=shapes.Memory)
    async def memory() -> dict[str, Any]:
        try:
            return await beside_jobs.run(lambda: app.supervisor.call("memory", timeout=10))
        except (WorkerDied, TimeoutError) as error:
            return {"ram": {"error": str(error)}, "cuda": {"error": str(error)}}

    @router.post("/unload-checkpoint", response_model=shapes.Nothing, dependencies=[MayChange])
    async def unload_checkpoint() -> dict[str, Any]:
        await between_jobs.run(lambda: app.supervisor.call("unload"))
        return {}

    @router.post("/reload-checkpoint", response_model=shapes.Nothing, dependencies=[MayChange])
    async def reload_checkpoint() -> dict[str, Any]:
        await between_jobs.run(app.checkpoint.load)
        return {}

    return router


def internal_routes(app: "App") -> APIRouter:
    """A1111's /internal/* that clients use."""
    router = APIRouter(prefix="/internal", tags=["internal"])

    @router.get("/ping", response_model=shapes.Nothing)
    def ping() -> dict[str, Any]:
        return {}

    @router.get("/pending-tasks", response_model=shapes.PendingTasks)
    def pending_tasks(owner: Owner) -> dict[str, Any]:
        waiting = app.queue.jobs(owner=owner, states=(JobState.QUEUED,), limit=500)
        names = [app.tasks.name_of(job.id) or job.id for job in reversed(waiting)]
        return {"size": len(names), "tasks": names}

    @router.post("/progress", response_model=shapes.TaskProgress)
    def progress(question: ProgressQuestion, owner: Owner, sees: Sees) -> dict[str, Any]:
        job = app.find_job(app.tasks.job(owner, question.id_task or "") or question.id_task or "", sees)
        nothing = {"progress": None, "eta": None, "live_preview": None, "id_live_preview": -1}
        if job is None or job.state is not JobState.RUNNING:
            is_queued = job is not None and job.state is JobState.QUEUED
            text = "Waiting..."
            if job is not None and is_queued:
                order = app.queue.waiting_order()
                text = f"In queue: {order.index(job.id) + 1 if job.id in order else 1}/{len(order)}"
            completed = job is not None and job.state.is_end
            return {"active": False, "queued": is_queued, "completed": completed, "textinfo": text, **nothing}
        known = app.feeds.progress(job.id)
        answer = {"active": True, "queued": False, "completed": False, "textinfo": _textinfo(known), **nothing}
        share = known.get("progress", 0.0)
        answer.update(progress=share, eta=_eta_s(job, known, share) if share > 0 else None)
        preview = app.feeds.preview(job.id) if question.live_preview else None
        if preview is not None and preview.number != question.id_live_preview:
            encoded = base64.b64encode(preview.content).decode("ascii")
            answer.update(live_preview=f"data:{preview.media_type};base64,{encoded}", id_live_preview=preview.number)
        return answer

    return router


def progress_of(app: "App", job: Job | None, *, with_image: bool) -> dict[str, Any]:
    """A1111's progress object; zeros while nothing runs (reference section 9.2)."""
    state = {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": "",
        "job_count": 0,
        "job_timestamp": "0",
        "job_no": 0,
        "sampling_step": 0,
        "sampling_steps": 0,
    }
    if job is None:
        return {"progress": 0.0, "eta_relative": 0.0, "state": state, "current_image": None, "textinfo": None}
    known = app.feeds.progress(job.id)
    number, count = known.get("passes") or (known.get("batch", 0), known.get("batches", 1))
    state.update(
        job=app.tasks.name_of(job.id) or job.id,
        job_count=max(1, count),
        job_no=number,
        job_timestamp=timestamp(job.started),
        skipped=known.get("skipped", False),
        interrupted=known.get("interrupted", False),
        stopping_generation=known.get("stopping", False),
        sampling_step=known.get("step", 0),
        sampling_steps=known.get("steps", 0),
    )
    progress = min(1.0, max(0.01, known.get("progress", 0.0)))  # A1111: a job that has begun is at 1 %
    preview = app.feeds.preview(job.id) if with_image else None
    return {
        "progress": progress,
        "eta_relative": _eta_s(job, known, progress),
        "state": state,
        "current_image": base64.b64encode(preview.content).decode("ascii") if preview else None,
        "textinfo": _textinfo(known),
    }


def _textinfo(known: dict[str, Any]) -> str | None:
    """What a job says beside its numbers; as in A1111 nothing while it samples."""
    text = known.get("text")
    return None if text == known.get("pass_name") else text or None


def _eta_s(job: Job, known: dict[str, Any], progress: float) -> float:
    """What the job says itself, or A1111's estimate: as fast as it was so far."""
    if (eta := known.get("eta_s")) is not None:
        return eta
    elapsed = time.time() - (job.started or time.time())
    return elapsed / progress - elapsed


def _all_running(app: "App", owner: str | None) -> list[Job]:
    return [job for job in app.queue.running() if owner in (None, job.owner)]


def _running(app: "App", owner: str | None) -> Job | None:
    """The job that pictures are made for: the script or batch rather than its child that a worker has in hand."""
    running = _all_running(app, owner)
    known = {job.id: job for job in running}
    made = [known.get(job.parent or "", job) for job in running if job.kind == "generate"]
    between = [job for job in running if job.kind in app.recipes.kinds]  # none of its children has begun yet
    return next(iter((*made, *between)), None)
