"""JSON bodies made fit to be stored: halves of surrogate pairs, which no UTF-8 can hold, become U+FFFD.

JSON can spell them ("\\ud800") and Python reads them; then the first file, database or answer that the text comes to
refuses it. One such setting would end every job from then on, so they do not get past the gate. Nor does what is nested
so deeply that it could be read but not written again, when its job is done already.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

DEEPEST = 200
"""Levels of nesting: more than anybody means, and fewer than make what reads, stores or writes JSON give up."""

_ESCAPES = re.compile(
    rb"\\(?:\\"  # a backslash
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair
    rb"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)
_MAYBE_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_LONG = 2**20  # bytes that are looked at in a thread of their own, so that others are answered meanwhile
_STRING = re.compile(rb'"[^"]*"?')
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_RAW_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")  # as Python's JSON reader takes them; UTF-8 has no such bytes


class NestedTooDeeply(Exception):
    """A body whose lists and objects lie in one another deeper than DEEPEST."""


def is_nested_too_deeply(body: bytes) -> bool:
    """Whether JSON text has more than DEEPEST levels; what is no JSON may be either."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    without_escapes = body.replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = _STRING.sub(b"", without_escapes).translate(_ALIKE, _NO_BRACKET)
    for _ in range(DEEPEST):  # take away the innermost ones, level by level
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def mended(body: bytes) -> bytes:
    """JSON text in UTF-8 that holds no half of a surrogate pair and otherwise says the same."""
    if b"\0" in body[:4] or body.startswith((b"\xff\xfe", b"\xfe\xff")):  # JSON may come as UTF-16 and UTF-32 too
        body = body.decode(json.detect_encoding(body), "replace").encode("utf-8", "replace")
    body = _RAW_HALF.sub(b"\xef\xbf\xbd", body)
    if _MAYBE_HALF.search(body) is None:
        return body
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found["half"] else found[0], body)


def checked(body: bytes) -> bytes:
    """`mended` of what may be read; raises NestedTooDeeply."""
    body = mended(body)
    if is_nested_too_deeply(body):
        raise NestedTooDeeply(f"the JSON text is nested deeper than {DEEPEST} levels")
    return body


def mending(receive: Receive) -> Receive:
    """`receive` of a request with a JSON body, whose body comes mended and in one piece; raises NestedTooDeeply."""
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
                body = b"".join(parts)
                looked_at = asyncio.to_thread(checked, body) if len(body) > _LONG else None
                return {**message, "body": await looked_at if looked_at else checked(body), "more_body": False}

    return whole
