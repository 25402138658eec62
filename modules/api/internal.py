"""What clients of A1111 ask besides /sdapi: /internal/* about the installation, and Gradio 3's queue status."""

# no `from __future__ import annotations`: FastAPI could not resolve annotations that name local dependencies

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil
from fastapi import APIRouter
from fastapi.responses import Response

from modules.api import shapes
from modules.api.sysinfo import report
from modules.jobs.record import JobState

if TYPE_CHECKING:
    from modules.app import App


def routes(app: "App") -> APIRouter:
    """GET /internal/quicksettings-hint, profile-startup, sysinfo, sysinfo-download; GET /queue/status."""
    router = APIRouter(tags=["internal"])
    start_took_s = time.time() - psutil.Process().create_time()

    @router.get("/internal/quicksettings-hint", response_model=list[shapes.QuickSetting])
    def quicksettings_hint() -> list[dict[str, str]]:
        return [
            {"name": key, "label": field.title or key}
            for section in app.settings.sections
            for key, field in section.model_fields.items()
        ]

    @router.get("/internal/profile-startup")
    def profile_startup() -> dict[str, Any]:
        """Seconds from the start of the program until its routes were there; the worker starts beside it."""
        return {"total": round(start_took_s, 3), "records": {"program": round(start_took_s, 3)}}

    @router.get("/internal/sysinfo")
    def sysinfo() -> dict[str, Any]:
        return report(app)

    @router.get("/internal/sysinfo-download")
    def sysinfo_download() -> Response:
        name = f"sysinfo-{datetime.now():%Y-%m-%d-%H-%M}.json"
        return Response(
            json.dumps(report(app), indent=2, ensure_ascii=False),
            media_type="application/json",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    @router.get("/queue/status", response_model=shapes.QueueStatus)
    def queue_status() -> dict[str, Any]:
        """How many jobs wait, everybody's together: clients ask only whether the server is busy."""
        waiting = len(app.queue.jobs(owner=None, states=(JobState.QUEUED,), limit=app.queue.limit))
        return {
            "msg": "estimation",
            "rank": None,
            "queue_size": waiting,
            "avg_event_process_time": None,
            "avg_event_concurrent_process_time": None,
            "rank_eta": None,
            "queue_eta": 0,
        }

    return router
