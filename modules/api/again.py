"""Routes for doing a job once more: with other seeds, or after editing it on the page. Owners as in `jobs.py`.

POST /jobs/{id}/duplicate   queue the same with new seeds → Job, whatever state the old one is in
GET  /jobs/{id}/page        {"tab", "infotext", "leaves": {request path: value}, "source": bool, "mask": bool,
                            "script": name | null}: what fills the page's fields again
GET  /jobs/{id}/source, /jobs/{id}/mask   the picture that an img2img job starts from, and its mask;
                            `?under={image id}`: the source fitted to the size of that result of the job;
                            `?thumb=1`: a small WebP of it
"""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import Response

from modules.api import job_shapes
from modules.api.answers import picture_answers
from modules.api.bodies import ErrorAnswer
from modules.api.jobs import own_job, thumbnail
from modules.generation.plan import Plan
from modules.images.data import ImageData
from modules.jobs.again import page_of_plan, page_of_request, source_under
from modules.jobs.record import Job
from modules.jobs.runner import media_type

if TYPE_CHECKING:
    from modules.app import App

_PICTURE = {**picture_answers("The picture"), 410: {"description": "It was deleted", "model": ErrorAnswer}}


def routes(app: "App") -> APIRouter:
    """Everything in this module's docstring."""
    router = APIRouter(prefix="/jobs/{job_id}")
    OwnJob = Annotated[Job, Depends(own_job(app))]

    @router.post("/duplicate", response_model=job_shapes.Job)
    def duplicate(job: OwnJob) -> dict[str, Any]:
        return app.view(app.duplicate(job).job())

    @router.get("/page")
    def page(job: OwnJob) -> dict[str, Any]:
        asked = app.asked(job)
        return page_of_plan(asked) if isinstance(asked, Plan) else page_of_request(asked)

    def source_of(job: Job) -> Any:  # SourcePlan or SourcePart
        source = app.asked(job).source
        if source is None:
            raise HTTPException(404, "this job starts from no picture")
        return source

    @router.get("/source", responses=_PICTURE, response_class=Response)
    def source(job: OwnJob, under: str | None = None, thumb: bool = False) -> Response:
        source = source_of(job)
        if thumb:
            content = thumbnail(source.images[0].content)
            return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=86400"})
        if under is None:
            return _picture(source.images[0])
        result = next((one for one in app.queue.results(job.id) if one.id == under), None)
        if result is None:
            raise HTTPException(404, "this job has no such result")
        return _picture(source_under(source, result.index, result.width, result.height))

    @router.get("/mask", responses=_PICTURE, response_class=Response)
    def mask(job: OwnJob) -> Response:
        inpaint = source_of(job).inpaint
        if inpaint is None:
            raise HTTPException(404, "this job has no mask")
        return _picture(inpaint.mask)

    return router


def _picture(picture: ImageData) -> Response:
    return Response(picture.content, media_type=media_type(picture.content), headers={"cache-control": "no-store"})
