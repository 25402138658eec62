"""From `./webui.sh` to the first page and to the first picture, as a person waits for them."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.benchmarks.measure import table

ROOT = Path(__file__).parents[2]


def _answer(url: str, body: dict[str, object] | None = None) -> bytes | None:
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read()
    except (urllib.error.URLError, ConnectionError):
        return None


def _launch() -> tuple[float, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        started = time.perf_counter()
        program = subprocess.Popen(
            [
                ROOT / "webui.sh",
                *("--port", str(port), "--data-dir", data, "--api"),
                *("--models-dir", str(ROOT / "models")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while _answer(f"http://127.0.0.1:{port}/") is None:
                time.sleep(0.02)
            page_s = time.perf_counter() - started
            body = {"prompt": "a red apple", "steps": 20, "width": 128, "height": 128, "sampler_name": "DPM++ 2M"}
            if _answer(f"http://127.0.0.1:{port}/sdapi/v1/txt2img", body) is None:
                raise RuntimeError("the server answered txt2img with an error; start it by hand to see why")
            return page_s, time.perf_counter() - started
        finally:
            program.terminate()
            program.wait(timeout=10)


def start_up() -> str:
    """The second start of an installed program (nothing to install), files in the page cache."""
    _launch()
    page_s, picture_s = _launch()
    rows = [("first page answered", f"{page_s:.1f} s"), ("first picture (starter, 20 steps)", f"{picture_s:.1f} s")]
    return table("From ./webui.sh", ("what", "after"), rows)
