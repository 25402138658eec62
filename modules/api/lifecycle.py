"""A1111's routes that end the program or begin it anew; only with --api-server-stop."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from fastapi import APIRouter

from modules.api.jobs import MayChange
from modules.errors import NotPermitted

if TYPE_CHECKING:
    from modules.app import App

_ANSWERED_WITHIN_S = 0.3


def routes(app: App) -> APIRouter:
    """POST /sdapi/v1/server-stop, server-kill, server-restart. Waiting jobs are kept and run in the next run."""
    router = APIRouter(prefix="/sdapi/v1", tags=["state"], dependencies=[MayChange])

    @router.post("/server-stop")
    def server_stop() -> str:
        _end(app)
        return "Stopping."

    @router.post("/server-kill")
    def server_kill() -> str:
        """The same as server-stop: there is nothing here that only a kill would end."""
        _end(app)
        return "Stopping."

    @router.post("/server-restart")
    def server_restart() -> str:
        """Begin anew with the same command line and settings."""
        _end(app, restart=True)
        return "Restarting."

    return router


def _end(app: App, *, restart: bool = False) -> None:
    """End the program as Ctrl-C does, once the answer is on its way; raises NotPermitted without the flag."""
    if not app.flags.api_server_stop:
        raise NotPermitted("stopping through the API is off; start with --api-server-stop")
    app.restarts = restart
    threading.Timer(_ANSWERED_WITHIN_S, os.kill, (os.getpid(), signal.SIGTERM)).start()
