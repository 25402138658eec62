"""Many clients at once against the real server with a small checkpoint, and a long run with its memory curve.

`LOAD_CLIENTS` (100), `LOAD_JOBS` a client (2) and `SOAK_JOBS` (300; 2,000 for the full run) set the size. What must not
happen at all (a lost, doubled or crossed result, an answer of 500) ends the benchmark with an error.
"""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from PIL import Image

from tests.benchmarks.measure import MIB, table
from tests.support.server import Client, RunningServer
from tools import client as native

CLIENTS = int(os.environ.get("LOAD_CLIENTS", "100"))
JOBS_EACH = int(os.environ.get("LOAD_JOBS", "2"))
SOAK_JOBS = int(os.environ.get("SOAK_JOBS", "300"))
_AT_ONCE = 8  # jobs of the soak in flight
_SAMPLES = 12
_PROMPTS = 50  # so that the bounded cache of encoded prompts is full early and hides no growth
_SMALL = {"width": 64, "height": 64, "steps": 4, "sampler_name": "Euler", "cfg_scale": 5}
_PROBED = ("/sdapi/v1/progress", "/jobs", "/worker", "/")


def load() -> str:
    """The table of a burst of clients and of the latencies that somebody else sees meanwhile."""
    with _server() as server:
        probes = _Probes(server.url)
        quiet = probes.during(lambda: time.sleep(5))
        burst = _Burst(server)
        busy = probes.during(burst.run)
        bound = _queue_bound(server)
    rows = [
        ("clients at once, pictures each", f"{CLIENTS}, {JOBS_EACH}"),
        ("pictures made and checked", str(len(burst.seen))),
        ("lost, doubled, crossed", "none"),
        ("answers by status", ", ".join(f"{count} x {status}" for status, count in sorted(burst.statuses.items()))),
        ("pictures a second", f"{len(burst.seen) / burst.took_s:.1f}"),
        (
            "first and last picture of a client that waited longest",
            f"{min(burst.waits):.1f} s, {max(burst.waits):.1f} s",
        ),
        *((f"p95 of {path}, worker busy (idle)", f"{_p95(busy[path])} ({_p95(quiet[path])})") for path in _PROBED),
        ("queue full", bound),
    ]
    return table(f"{CLIENTS} clients at once", ("what", "figure"), rows)


def soak() -> str:
    """The memory of front and worker over many jobs."""
    with _server() as server:
        curve = _soak(server, SOAK_JOBS)
    rows = [(str(jobs), f"{front / MIB:.0f} MiB", f"{worker / MIB:.0f} MiB") for jobs, front, worker in curve]
    half = curve[len(curve) // 2 :]
    grown = [(half[-1][column] - half[0][column]) / (half[-1][0] - half[0][0]) for column in (1, 2)]
    slope = (
        f"growth over the second half: front {grown[0] / 1024:.1f} KiB a job, worker {grown[1] / 1024:.1f} KiB a job"
    )
    return table(f"Memory over {SOAK_JOBS} jobs", ("jobs done", "front", "worker"), rows) + f"\n\n{slope}"


@contextmanager
def _server() -> Iterator[RunningServer]:
    with tempfile.TemporaryDirectory() as data:
        server = RunningServer(Path(data), "--use-cpu", "all", "--no-half").wait_until_ready()
        try:
            yield server
        finally:
            server.stop()


@dataclass
class _Burst:
    """Every client asks for its pictures one after another, each with a seed and a prompt that nobody else has."""

    server: RunningServer
    statuses: Counter[int] = field(default_factory=Counter)
    seen: dict[int, bytes] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    took_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        started = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(self._client, range(CLIENTS)))
        self.took_s = time.perf_counter() - started
        wanted = CLIENTS * JOBS_EACH
        if len(self.seen) != wanted or len(set(self.seen.values())) != wanted:
            raise AssertionError(
                f"{len(self.seen)} pictures, {len(set(self.seen.values()))} of them different; {wanted} asked"
            )
        if any(status >= 500 for status in self.statuses):
            raise AssertionError(f"answers by status: {dict(self.statuses)}")

    def _client(self, number: int) -> None:
        identity = {"Cookie": f"webui_identity={secrets.token_urlsafe(24)}"}
        client = Client(self.server.url, identity)
        for turn in range(JOBS_EACH):
            seed = 1000 * (number + 1) + turn
            began = time.perf_counter()
            answer = client.ask(
                "POST", "/sdapi/v1/txt2img", {**_SMALL, "prompt": f"picture {seed}", "seed": seed}, timeout=900
            )
            with self.lock:
                self.statuses[answer.status] += 1
                self.waits.append(time.perf_counter() - began)
            if answer.status == 200:
                self._check(seed, answer.json())
        mine = client.get("/jobs?limit=500").json()["jobs"]
        if [job["state"] for job in mine] != ["done"] * JOBS_EACH:
            raise AssertionError(f"client {number} has the jobs {[job['state'] for job in mine]}")

    def _check(self, seed: int, said: dict) -> None:
        """The picture is the one asked for: its info and the text in the file name this seed and this prompt."""
        (text,) = said["images"]
        info = json.loads(said["info"])
        content = base64.b64decode(text)
        infotext = Image.open(io.BytesIO(content)).info["parameters"]
        if info["seed"] != seed or not infotext.startswith(f"picture {seed}\n") or f"Seed: {seed}," not in infotext:
            raise AssertionError(f"asked for seed {seed}, answered with {info['seed']}: {infotext}")
        with self.lock:
            if seed in self.seen:
                raise AssertionError(f"the picture of seed {seed} came twice")
            self.seen[seed] = content


@dataclass
class _Probes:
    """Somebody who looks at the page and at the progress while others work; each route about ten times a second."""

    url: str
    problems: list[str] = field(default_factory=list)

    def during(self, work) -> dict[str, list[float]]:  # work: () -> object
        """Seconds each probe took, by path, while `work` ran; raises what `work` raised."""
        times: dict[str, list[float]] = {path: [] for path in _PROBED}
        stop = threading.Event()
        threads = [threading.Thread(target=self._probe, args=(path, times[path], stop)) for path in _PROBED]
        for thread in threads:
            thread.start()
        try:
            work()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        if self.problems:
            raise AssertionError("; ".join(self.problems))
        return times

    def _probe(self, path: str, times: list[float], stop: threading.Event) -> None:
        client = Client(self.url, {"Accept": "text/html" if path == "/" else "application/json"})
        while not stop.wait(0.1):
            began = time.perf_counter()
            status = client.get(path).status
            times.append(time.perf_counter() - began)
            if status != 200:
                self.problems.append(f"{path} answered {status}")
                return


def _queue_bound(server: RunningServer) -> str:
    """Fill an owner's queue while it is paused; what is over the bound gets 429 with Retry-After."""
    client = Client(server.url, {"Cookie": f"webui_identity={secrets.token_urlsafe(24)}"})
    client.post("/jobs/pause")
    body = {"prompt": "waits", "size": {"width": 64, "height": 64}, "sampling": {"sampler": "Euler", "steps": 1}}
    accepted = 0
    while (answer := client.post("/api/v1/jobs", body)).status == 202:
        accepted += 1
    if answer.status != 429 or int(answer.headers["retry-after"]) < 1:
        raise AssertionError(f"after {accepted} jobs the answer is {answer.status} {answer.content[:200]!r}")
    for job in client.get("/jobs?state=queued&limit=500").json()["jobs"]:
        client.post(f"/jobs/{job['id']}/cancel")
    return f"429 after {accepted} waiting jobs of one owner, Retry-After {answer.headers['retry-after']} s"


def _soak(server: RunningServer, jobs: int) -> list[tuple[int, int, int]]:
    """(jobs done, bytes of the front, bytes of the worker) at some points of the run."""
    client = native.Client(server.url)
    front = psutil.Process(server.process.pid)
    worker = next(child for child in front.children(recursive=True) if "worker" in " ".join(child.cmdline()))
    curve: list[tuple[int, int, int]] = []

    def one(number: int) -> None:
        asked = native.request(
            f"soak {number % _PROMPTS}",
            width=64,
            height=64,
            steps=2,
            sampler="Euler",
            seed=number,
            save=number % 2 == 0,
        )
        job = client.generate(asked)
        if job.images[0].seed != number or len(client.picture(job.images[0])) < 1000:
            raise AssertionError(f"job {job.id} answered with seed {job.images[0].seed} instead of {number}")

    done = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for chunk in _chunks(jobs):
            list(pool.map(one, range(done, done + chunk)))
            done += chunk
            curve.append((done, front.memory_info().rss, worker.memory_info().rss))
    return curve


def _chunks(jobs: int) -> list[int]:
    size = max(1, jobs // _SAMPLES)
    return [size] * (jobs // size) + ([jobs % size] if jobs % size else [])


def _p95(times: list[float]) -> str:
    if len(times) < 2:
        return "not measured"
    return f"{1000 * statistics.quantiles(times, n=20)[-1]:.0f} ms"
