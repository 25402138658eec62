"""The native API through its own client and through the examples of docs/api.md."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.server import ROOT
from tools.client import ApiError, Client, JobFailed, request

SMALL = {"width": 64, "height": 64, "steps": 3, "sampler": "Euler"}
LONG = {**SMALL, "steps": 60, "count": 20}
DOCUMENT = ROOT / "docs" / "api.md"


@pytest.fixture(scope="module")
def client(server):
    return Client(server.url)


def opened(content):
    return Image.open(io.BytesIO(content))


def examples(language):
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


def test_a_request_becomes_a_picture_with_its_parameters(client):
    job = client.generate(request("a red apple", seed=5, **SMALL))
    picture = opened(client.picture(job.images[0]))
    assert picture.size == (64, 64)
    assert picture.info["parameters"] == job.images[0].infotext
    assert (job.state, job.progress, job.images[0].seed) == ("done", 1.0, 5)
    assert job.info["all_seeds"] == [5]


def test_the_same_key_gives_the_same_job_and_no_second_picture(client):
    asked = request("once", seed=1, **SMALL)
    first = client.submit(asked, idempotency_key="only once")
    done = client.wait(first.id)
    again = client.submit(asked, idempotency_key="only once")
    assert (again.id, again.state) == (first.id, "done")
    assert [image.id for image in again.images] == [image.id for image in done.images]
    assert client.submit(asked).id != first.id


def test_many_submits_with_one_key_at_once_are_one_job(client):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(client.submit(request("x", **SMALL), idempotency_key="race").id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and len(set(made)) == 1


def test_events_tell_a_job_from_its_beginning_to_its_end(client):
    job = client.submit(request("told", seed=2, **SMALL))
    kinds = [event.kind for event in client.events(job.id)]
    assert kinds[-1] == "done" and kinds.count("image") == 1
    later = [event.kind for event in client.events(job.id)]  # who comes late hears it too
    assert later[-1] == "done" and "image" in later


def test_events_go_on_where_the_connection_broke(client, server):
    job = client.generate(request("broken", seed=2, **SMALL))
    events = list(client.events(job.id))
    asked = urllib.request.Request(
        f"{server.url}/api/v1/jobs/{job.id}/events", headers={"Last-Event-ID": events[-2].id}
    )
    with urllib.request.urlopen(asked, timeout=30) as stream:
        text = stream.read().decode()
    assert text.count("event: ") == 1 and "event: done" in text


def test_img2img_and_inpainting_take_files(client):
    source = client.picture(client.generate(request("an apple", seed=4, **SMALL)).images[0])
    mask = io.BytesIO()
    half = Image.new("L", (64, 64), 0)
    half.paste(255, (32, 0, 64, 64))
    half.save(mask, "PNG")
    asked = request("a pear", seed=4, source=source, mask=mask.getvalue(), denoising_strength=1.0, **SMALL)
    asked["source"]["inpaint"]["blur_x"] = asked["source"]["inpaint"]["blur_y"] = 0
    painted = np.asarray(opened(client.picture(client.generate(asked).images[0])))
    before = np.asarray(opened(source))
    assert np.array_equal(painted[:, :32], before[:, :32])
    assert not np.array_equal(painted[:, 32:], before[:, 32:])


def test_a_running_job_shows_previews_and_ends_when_it_is_interrupted(client):
    job = client.submit(request("long", seed=1, overrides={"show_progress_every_n_steps": 1}, **LONG))
    try:
        deadline = time.monotonic() + 60
        while (preview := client.preview(job.id)) is None:
            assert time.monotonic() < deadline, client.job(job.id)
            time.sleep(0.05)
        assert opened(preview).width >= 8
        running = client.job(job.id)
        assert running.state == "running" and running.batches == 20
    finally:
        client.interrupt(job.id)
    with pytest.raises(JobFailed, match="interrupted"):
        ended = client.wait(job.id, timeout=60)
        raise JobFailed(ended)
    assert ended.state == "interrupted"


def test_a_waiting_job_is_cancelled_before_it_runs(client):
    running = client.submit(request("first", seed=1, **LONG))
    waiting = client.submit(request("second", seed=1, **SMALL))
    try:
        assert client.job(waiting.id).position == 1
        assert client.cancel(waiting.id).state == "cancelled"
        assert client.job(waiting.id).images == ()
    finally:
        client.interrupt(running.id)
        client.wait(running.id, timeout=60)


def test_batch_jobs_stand_back_behind_interactive_ones(client):
    running = client.submit(request("running", seed=1, **LONG))
    batch = client.submit(request("batch", seed=1, **SMALL), priority="batch")
    interactive = client.submit(request("interactive", seed=1, **SMALL))
    client.interrupt(running.id)
    first, second = client.wait(interactive.id, timeout=60), client.wait(batch.id, timeout=60)
    assert first.started < second.started


def test_an_ended_job_is_run_again_under_a_new_id(client):
    first = client.generate(request("again", seed=9, **SMALL))
    again = client.wait(client.retry(first.id).id, timeout=60)
    assert (again.retry_of, again.images[0].seed) == (first.id, 9)
    assert client.picture(again.images[0]) == client.picture(first.images[0])


def test_what_was_saved_is_found_by_its_words(client):
    job = client.generate(request("a zebra in the rain", seed=11, **SMALL))
    found = client.history("zebra rain")
    assert found.total == 1 and found.pictures[0].words == "a zebra in the rain"
    assert client.picture(found.pictures[0]) == client.picture(job.images[0])
    assert client.history("zebra", seed=12).total == 0


@pytest.mark.parametrize(
    "asked, words",
    [
        (request("x", width=64, height=64, sampler="Eulr"), 'no sampler named "Eulr"'),
        ({"prompt": "x", "sampling": {"steps": 0}}, "greater than or equal to 1"),
        ({"promt": "x"}, "promt"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words_and_nothing_is_queued(client, asked, words):
    before = len(client.jobs(limit=500))
    with pytest.raises(ApiError, match=re.escape(words)) as caught:
        client.submit(asked)
    assert caught.value.status == 422
    assert len(client.jobs(limit=500)) == before


def test_somebody_elses_job_is_not_there(client, server):
    job = client.generate(request("mine", seed=1, **SMALL))
    other = {"Cookie": "webui_identity=" + "o" * 32}
    for path in (f"/api/v1/jobs/{job.id}", f"/api/v1/jobs/{job.id}/result", job.images[0].url):
        assert server.get(path, **other).status == 404
    assert server.post(f"/api/v1/jobs/{job.id}/interrupt", **other).status == 404
    assert server.get("/api/v1/jobs?everybody=1", **other).status == 403


def test_a_full_queue_answers_429_with_a_time_to_come_again(server):
    crowd = {"Cookie": "webui_identity=" + "c" * 32}  # its jobs stay paused, so they are in nobody's way
    server.post("/api/v1/jobs/pause", **crowd)
    body = request("waits", **SMALL)
    statuses = []
    while not statuses or statuses[-1].status == 202:
        assert len(statuses) <= 501, "the queue of one owner has no bound"
        statuses.append(server.post("/api/v1/jobs", body, **crowd))
    assert len(statuses) == 501
    assert statuses[-1].status == 429 and int(statuses[-1].headers["retry-after"]) >= 1
    assert "limit" in statuses[-1].json()["detail"]


@pytest.mark.parametrize("number", range(2))
def test_the_documents_curl_examples_work(server, tmp_path, number):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    python = shlex.quote(sys.executable)
    script = examples("bash")[number].replace("http://127.0.0.1:7860", server.url).replace("python3 ", f"{python} ")
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True, timeout=120)
    made = list(tmp_path.glob("*.png"))
    assert [opened(Path(file).read_bytes()).size for file in made] == [(64, 64)]


def test_the_documents_python_example_works(server, tmp_path):
    (script,) = (one.replace("http://127.0.0.1:7860", server.url) for one in examples("python"))
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert opened((tmp_path / "apple.png").read_bytes()).size == (64, 64)
    assert "done" in ran.stdout.split()
