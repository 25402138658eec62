"""Nothing that was asked for is lost: worker killed, program killed, program ended, program started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.support.server import ROOT, free_port, small_checkpoints

LONG = {"prompt": "long", "sampling": {"sampler": "Euler", "steps": 400}, "size": {"width": 64, "height": 64}}
SHORT = {"prompt": "short", "sampling": {"sampler": "Euler", "steps": 2}, "size": {"width": 64, "height": 64}}


def submit(server, request):
    return server.post("/api/v1/jobs", request).json()["id"]


def job(server, job_id):
    return server.get(f"/api/v1/jobs/{job_id}").json()


def is_in_mid_job(server, job_id):
    return job(server, job_id)["step"] >= 2


def result(server, job_id):
    return server.get(f"/api/v1/jobs/{job_id}/result?wait=180").json()


def children_of(process):
    return psutil.Process(process.pid).children(recursive=True)


def test_kill_9_of_the_worker_in_mid_job_costs_that_job_only(start):
    server = start("--nowebui").wait_until_ready()
    lost, next_one = submit(server, LONG), submit(server, SHORT)
    server.wait_for(lambda: is_in_mid_job(server, lost))
    (worker,) = children_of(server.process)
    worker.kill()
    ended = result(server, lost)
    assert (ended["state"], ended["error"]["kind"]) == ("failed", "WorkerDied")
    assert "SIGKILL" in ended["error"]["message"]
    assert result(server, next_one)["state"] == "done"
    again = server.post(f"/jobs/{lost}/retry").json()
    assert again["retry_of"] == lost
    assert again["state"] in ("queued", "running")
    server.post(f"/jobs/{again['id']}/cancel")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_waiting_jobs_run_after_a_restart_and_the_running_one_can_be_run_again(start, how):
    server = start("--nowebui").wait_until_ready()
    running = submit(server, LONG)
    waiting = [submit(server, SHORT) for _ in range(3)]
    server.wait_for(lambda: is_in_mid_job(server, running))
    workers = children_of(server.process)
    started = time.monotonic()
    os.kill(server.process.pid, how)
    server.process.wait(10)
    _, left = psutil.wait_procs(workers, timeout=5)
    assert not left, "a worker stayed behind"
    assert time.monotonic() - started < 5
    server = start("--nowebui")
    interrupted = job(server, running)
    assert interrupted["state"] == "interrupted"
    assert "run it again" in interrupted["error"]["message"]
    assert [result(server, one)["state"] for one in waiting] == ["done"] * 3


def test_the_page_answers_while_the_worker_is_still_loading(start):
    server = start()
    page = server.get("/", Accept="text/html")
    assert page.status == 200
    assert b"gradio" in page.content
    assert server.get("/worker").json()["state"] in ("starting", "loading")


def test_a_submit_that_is_repeated_after_a_restart_gives_the_job_that_is_done(start):
    request = {"prompt": "p", "size": {"width": 64, "height": 64}, "sampling": {"sampler": "Euler", "steps": 1}}
    key = {"Idempotency-Key": "once"}
    server = start("--nowebui")
    job = server.post("/api/v1/jobs", request, **key).json()["id"]
    assert server.get(f"/api/v1/jobs/{job}/result?wait=120").json()["state"] == "done"
    server.stop()
    server = start("--nowebui")
    assert server.post("/api/v1/jobs", request, **key).json()["id"] == job
    began = time.monotonic()
    assert server.get(f"/api/v1/jobs/{job}/result?wait=60").json()["state"] == "done"
    with server.lines(f"/api/v1/jobs/{job}/events") as stream:
        assert b"event: done" in stream.read()
    assert time.monotonic() - began < 30  # an answer at once, not the end of a wait


def test_a_job_that_rests_when_the_program_is_killed_goes_on_afterwards(start):
    server = start("--nowebui").wait_until_ready()
    login = server.get("/login", Accept="text/html").headers["set-cookie"].split(";")[0]
    long = {**SHORT, "sampling": {"sampler": "Euler", "steps": 10}, "batch": {"count": 4}, "seed": {"value": 1}}
    resting = submit(server, long)
    server.wait_for(lambda: is_in_mid_job(server, resting))
    other = server.post("/api/v1/jobs", LONG, Cookie=login).json()["id"]
    server.wait_for(lambda: server.get(f"/jobs/{other}", Cookie=login).json()["step"] >= 2)
    made = len(job(server, resting)["images"])
    assert 1 <= made < 4
    server.process.kill()
    server.process.wait(10)
    server = start("--nowebui")
    again = job(server, resting)
    assert (again["state"], len(again["images"])) == ("running", made)
    ended = result(server, resting)
    assert ended["state"] == "done"
    assert [(image["role"], image["seed"]) for image in ended["images"]] == [
        ("grid", 1), ("sample", 1), ("sample", 2), ("sample", 3), ("sample", 4),
    ]  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_is_stopped_while_it_starts_ends_at_once_and_leaves_nothing(tmp_path, how):
    starting = subprocess.Popen(
        [sys.executable, str(ROOT / "webui.py"), "--data-dir", str(tmp_path), "--ckpt-dir", str(small_checkpoints()),
         "--port", str(free_port())],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (workers := children_of(starting)):  # it is about to build the page, which takes seconds
        assert starting.poll() is None
        time.sleep(0.01)
    starting.send_signal(how)
    told, _ = starting.communicate(timeout=60)
    assert "Stopping before the start was over" in told
    assert "Ready" not in told
    assert "Traceback" not in told
    assert starting.returncode == 0
    assert not psutil.wait_procs(workers, timeout=5)[1], "a worker stayed behind"


def test_damaged_databases_keep_nobody_from_starting_and_the_gallery_is_read_from_the_pictures(start, tmp_path):
    names = ("data/jobs.sqlite3", "data/history.sqlite3", "data/drafts.sqlite3", "cache/models.sqlite3")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"what a crash of the disk left" * 1000)
    for folder in ("outputs/txt2img-images/2026-01-01", "outputs/anna/img2img-images"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "00000-1.png")
    server = start("--ui-debug-mode")
    server.wait_for(lambda: server.get("/history").json()["total"] == 1)  # and anna's is hers
    told = server.log.read_text("utf-8")
    for name in names:
        assert f"{tmp_path / name}, which holds" in told
        (moved,) = (tmp_path / name).parent.glob(f"{Path(name).name}.broken-??????????????")
        assert moved.read_bytes().startswith(b"what a crash")
