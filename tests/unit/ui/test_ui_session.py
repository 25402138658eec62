"""Who asks: whether somebody sits at the machine that the server runs on."""

from __future__ import annotations

import gradio as gr
import pytest
from starlette.requests import Request

from modules.ui.session import is_at_this_machine


def asked(client: str, **headers: str) -> gr.Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "client": (client, 5000)}
    return gr.Request(Request(scope))


@pytest.mark.parametrize(
    "request_, is_here",
    [
        (asked("127.0.0.1", host="127.0.0.1:7860"), True),
        (asked("127.0.0.1", host="localhost:7860"), True),
        (asked("::1", host="[::1]:7860"), True),
        (asked("192.168.1.7", host="localhost:7860"), False),
        (asked("127.0.0.1", host="abc.gradio.live"), False),  # the share link's tunnel ends here
        (asked("127.0.0.1", host="localhost", x_forwarded_for="203.0.113.9"), False),  # a proxy at this machine
        (asked("127.0.0.1", host="localhost", forwarded="for=203.0.113.9"), False),
        (asked("127.0.0.1"), False),
    ],
)
def test_only_a_browser_at_this_machine_with_nobody_in_between_is_here(request_, is_here):
    assert is_at_this_machine(request_) is is_here
