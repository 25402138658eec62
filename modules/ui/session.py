"""Who is asking: the owner that the gate in front of the server decided on, and which of their browsers."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import gradio as gr

from modules.jobs.record import owner_in

OWNER_HEADER = "x-webui-owner"  # written by modules/api/gate.py; what a client sends under it is thrown away there
BROWSER_COOKIE = "webui_browser"  # drawn by assets/js/main.js; only tells one person's browsers apart


LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Session:
    """`owner` guards, `browser` only separates drafts."""

    owner: str
    browser: str


ADMIN_HEADER = "x-webui-admin"  # likewise


def session_of(request: gr.Request) -> Session:
    """The session of a Gradio request; "local" is the owner where no gate stands in front (tests, embedded use)."""
    return Session(
        owner=owner_in(request.headers.get(OWNER_HEADER) or "local"),
        browser=(request.cookies.get(BROWSER_COOKIE) or "")[:64],
    )


def is_administrator(request: gr.Request) -> bool:
    """Whether the asker may change what holds for everybody: the administrator, or anyone where there are no logins.

    A visitor through a public share link never may.
    """
    if request.headers.get(ADMIN_HEADER):
        return True
    return not session_of(request).owner.startswith("user:") and not is_public(request)


def is_at_this_machine(request: gr.Request) -> bool:
    """Whether the asker's browser runs on the machine that the server runs on, with nobody in between."""
    host = urlsplit(f"//{request.headers.get('host') or ''}").hostname
    is_forwarded = any(request.headers.get(name) for name in ("forwarded", "x-forwarded-for", "x-real-ip"))
    client = request.client.host if request.client else ""
    return host in LOOPBACK and client in LOOPBACK and not is_forwarded


def is_public(request: gr.Request) -> bool:
    """Whether the asker came through a public gradio link."""
    host = (request.headers.get("host") or "").rsplit(":", 1)[0]
    return host.endswith(".gradio.live")
