"""JSON bodies made fit to be stored: halves of surrogate pairs, which no UTF-8 can hold, become U+FFFD.

JSON can spell them ("\\ud800") and Python reads them; then the first file, database or answer that the text comes to
refuses it. One such setting would end every job from then on, so they do not get past the gate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_ESCAPES = re.compile(
    rb"\\(?:\\"  # a backslash
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair
    rb"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)
_RAW_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")  # as Python's JSON reader takes them; UTF-8 has no such bytes


def mended(body: bytes) -> bytes:
    """JSON text in UTF-8 that holds no half of a surrogate pair and otherwise says the same."""
    if b"\0" in body[:4] or body.startswith((b"\xff\xfe", b"\xfe\xff")):  # JSON may come as UTF-16 and UTF-32 too
        body = body.decode(json.detect_encoding(body), "replace").encode("utf-8", "replace")
    body = _RAW_HALF.sub(b"\xef\xbf\xbd", body)
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found["half"] else found[0], body)


def mending(receive: Receive) -> Receive:
    """`receive` of a request with a JSON body, whose body comes mended and in one piece."""
    is_read = False

    async def whole() -> MutableMapping[str, Any]:
        nonlocal is_read
        if is_read:
            return await receive()
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message  # the client went away, or sent too much
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                is_read = True
                return {**message, "body": mended(b"".join(parts)), "more_body": False}

    return whole
