"""The real program in a process of its own, and a small HTTP client for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_S = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def small_checkpoints() -> Path:
    """A folder with a checkpoint that makes a picture in a second: the parity corpus' where it is, else the starter."""
    corpus = ROOT.parent / "shared" / "parity" / "checkpoints" / "Stable-diffusion"
    return corpus if (corpus / "tiny-sd15.safetensors").exists() else ROOT / "models" / "Stable-diffusion"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Client:
    """Asks one server, with its own cookies and headers; redirects are not followed and no status raises."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, *, timeout: float = 300, **headers: str) -> Answer:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        all_headers = {"Content-Type": "application/json", **self.headers, **headers}
        request = urllib.request.Request(f"{self.url}{path}", content, all_headers, method=method)
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout) as answer:
                return Answer(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, _lower(error.headers), error.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.ask("POST", path, {} if body is None else body, **headers)

    def lines(self, path: str, **headers: str) -> Any:
        """An open stream, to be read line by line."""
        request = urllib.request.Request(f"{self.url}{path}", headers={**self.headers, **headers})
        return urllib.request.urlopen(request, timeout=300)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class RunningServer(Client):
    """`webui.py` with an empty data folder (or one from before) and a small checkpoint, on a free port."""

    def __init__(self, data: Path, *flags: str) -> None:
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self.log = data / f"server-{port}.log"
        command = [
            sys.executable, str(ROOT / "webui.py"), "--data-dir", str(data), "--ckpt-dir", str(small_checkpoints()),
            "--port", str(port), *flags,
        ]  # fmt: skip
        with open(self.log, "w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        self.wait_for(self._is_up)

    def wait_until_ready(self) -> RunningServer:
        self.wait_for(lambda: self.get("/worker").json()["state"] in ("ready", "busy"))
        return self

    def wait_for(self, condition: Any, timeout: float = STARTS_WITHIN_S) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, self.log.read_text("utf-8")
            assert time.monotonic() < deadline, f"it did not happen in time\n{self.log.read_text('utf-8')}"
            time.sleep(0.05)

    def _is_up(self) -> bool:
        try:
            self.get("/healthz")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def stop(self) -> None:
        """End it as Ctrl-C or a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
