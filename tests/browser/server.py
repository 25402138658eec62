"""The real program in a process of its own, with the shipped starter checkpoint and an empty data folder."""

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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = ROOT / "models" / "Stable-diffusion"
STARTS_WITHIN_S = 120


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class RunningServer:
    """A started server; `data` is its data folder."""

    process: subprocess.Popen
    url: str
    data: Path

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=20) as answer:
            return json.load(answer)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while self.get("worker")["state"] not in ("ready", "busy"):
            assert time.monotonic() < deadline, "the worker did not become ready"
            time.sleep(0.3)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def _desktop(data: Path) -> dict[str, str]:
    """Stands in for a file manager, so that none opens: each folder becomes a line in `opened` in the data folder."""
    program = data / "bin" / "xdg-open"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> "{data}/opened"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "DISPLAY": ":0"}


def start_server(data: Path, port: int, *flags: str) -> RunningServer:
    """Start `webui.py` and wait until it answers; raises AssertionError with its output when it does not."""
    log = data / "server.log"
    command = [sys.executable, str(ROOT / "webui.py"), "--data-dir", str(data), "--ckpt-dir", str(CHECKPOINTS)]
    with open(log, "w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **_desktop(data)},
        )
    server = RunningServer(process, f"http://127.0.0.1:{port}", data)
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            server.get("worker")
            return server
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
