"""The native API: jobs as `GenerationRequest`s, with everything that A1111's routes cannot say. All below /api/v1.

    POST /jobs                  a GenerationRequest → 202, Job. With the header Idempotency-Key a retried submit does
                                not run twice: the same key of the same owner gives the job that was made first.
                                `?priority=batch` lets everybody's interactive jobs go first
    GET  /jobs/{id}/result?wait=30   waits for the end, up to so many seconds, then answers the Job as it is

Watching, steering, pictures and the history are the routes of `modules/api/jobs.py` and `history.py`: they serve the
page at the root and programs here. Addresses in answers (`/files/…`) take the same login as these routes.
"""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query

from modules.api import again, cards, history, job_shapes, jobs
from modules.api.answers import PROBLEMS
from modules.api.jobs import Owner
from modules.generation.request import GenerationRequest
from modules.jobs.record import Job, Priority

if TYPE_CHECKING:
    from modules.app import App

PREFIX = "/api/v1"
_LONGEST_WAIT_S = 600.0


def routes(app: "App") -> APIRouter:
    """The routes for programs below /api/v1, and the page's at the root, which are the same functions."""
    both = APIRouter()
    both.include_router(jobs.routes(app), tags=["jobs"])
    both.include_router(again.routes(app), tags=["jobs"])
    both.include_router(history.routes(app), tags=["history"])
    router = APIRouter()
    router.include_router(both, include_in_schema=False)
    router.include_router(cards.routes(app), include_in_schema=False)  # for the page; programs ask /sdapi/v1
    router.include_router(_own(app), prefix=PREFIX, tags=["jobs"], responses=PROBLEMS)
    router.include_router(both, prefix=PREFIX, responses=PROBLEMS)
    return router


def _own(app: "App") -> APIRouter:
    router = APIRouter()
    OwnJob = Annotated[Job, Depends(jobs.own_job(app))]

    @router.post("/jobs", status_code=202, response_model=job_shapes.Job)
    def submit(
        request: GenerationRequest,
        owner: Owner,
        priority: Literal["interactive", "batch"] = "interactive",
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> dict[str, Any]:
        """Queue a request. The same Idempotency-Key gives the same job, whatever became of it."""
        place = Priority.BATCH if priority == "batch" else Priority.INTERACTIVE
        handle = app.submit(request, owner=owner, priority=place, idempotency_key=idempotency_key)
        return app.view(handle.job())

    @router.get("/jobs/{job_id}/result", response_model=job_shapes.Job)
    async def result(job: OwnJob, wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT_S)] = 30.0) -> dict[str, Any]:
        """The job at its end, or as it is after `wait` seconds: look at `state`."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(app.handle(job.id).finished(), wait)
        return await asyncio.to_thread(lambda: app.view(app.queue.find(job.id) or job))

    return router
