"""How front and worker process talk: JSON messages with a length in front, over a pair of pipes."""

from __future__ import annotations

import json
import struct
import threading
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">Q")
_LIMIT = 2**31  # a longer message is a broken stream, not a message


class Closed(Exception):
    """The other side has closed its end."""


class Channel:
    """Messages both ways; `send` from any thread, `receive` from one."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._sending = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; raises Closed when nobody will read it."""
        content = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
        try:
            with self._sending:
                self._outgoing.write(_LENGTH.pack(len(content)) + content)
                self._outgoing.flush()
        except (OSError, ValueError) as error:  # ValueError: written to after close()
            raise Closed from error

    def receive(self) -> dict[str, Any]:
        """The next message; raises Closed at the end of the stream, also in the middle of a message."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _LIMIT:
            raise Closed(f"a message of {length} bytes was announced; the stream is broken")
        return json.loads(self._exactly(length).decode("utf-8", "surrogatepass"))

    def close(self) -> None:
        """Close our end for sending; the other side's `receive` raises Closed."""
        try:
            self._outgoing.close()
        except OSError:  # unsent bytes for a side that is gone
            return

    def _exactly(self, count: int) -> bytes:
        try:
            content = self._incoming.read(count)
        except (OSError, ValueError) as error:
            raise Closed from error
        if len(content) < count:
            raise Closed
        return content
