"""The real server over a corpus's folders, asked through HTTP as any client would."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.parity.corpus import Case

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN_S = 180
ANSWERS_WITHIN_S = 900


class ParityServer:
    """`webui.py --nowebui` with everything in fp32 on the CPU, as the cases were recorded."""

    def __init__(self, checkpoints: Path, styles: Path, data: Path) -> None:
        self.checkpoints = checkpoints
        self.port = _free_port()
        self.log = data / "server.log"
        flags = [
            "--nowebui", "--port", self.port, "--data-dir", data,
            "--ckpt-dir", checkpoints / "Stable-diffusion", "--vae-dir", checkpoints / "VAE",
            "--embeddings-dir", checkpoints / "embeddings", "--lora-dir", checkpoints / "Lora",
            "--styles-file", styles, "--use-cpu", "all", "--no-half", "--precision", "full",
        ]  # fmt: skip
        with open(self.log, "w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "webui.py"), *map(str, flags)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            )
        self._wait_until_up()

    def generate(self, case: Case) -> list[str]:
        """The pictures (base64) that the server answers with; raises RuntimeError with its words when it refuses."""
        if case.options:
            before = self._ask("GET", "/sdapi/v1/options")
            self._ask("POST", "/sdapi/v1/options", case.options)
        try:
            return self._ask("POST", f"/sdapi/v1/{case.endpoint}", case.body)["images"]
        finally:
            if case.options:
                self._ask("POST", "/sdapi/v1/options", {key: before[key] for key in case.options})

    def checkpoint_hash(self, name: str) -> str:
        """The ten digits by which infotext names a checkpoint."""
        file = self.checkpoints / "Stable-diffusion" / f"{name}.safetensors"
        return hashlib.sha256(file.read_bytes()).hexdigest()[:10]

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # whatever JSON is answered
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{error.code} from {path}: {error.read().decode(errors='replace')[:2000]}") from error

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                self._ask("GET", "/sdapi/v1/sd-models")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError, RuntimeError) as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the server did not come up: {error}\n{self.log.read_text()}") from error
                time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
