from __future__ import annotations

import time

import pytest

from modules.jobs.blobs import BlobStore, pack
from modules.jobs.feed import Feeds
from modules.jobs.queue import JobQueue
from modules.jobs.record import NewJob, Priority, Result, new_result_id
from modules.jobs.runner import JobRunner, media_type
from modules.jobs.view import image_view, job_view
from tests.support.plans import small_plan


@pytest.fixture
def queue(tmp_path):
    queue = JobQueue(tmp_path / "jobs.sqlite3")
    yield queue
    queue.close()


@pytest.fixture
def put(queue):
    def put(owner="anna", **fields):
        return queue.put(NewJob(**{"kind": "generate", "payload": "{}", "owner": owner, **fields}))

    return put


@pytest.fixture
def blobs(tmp_path):
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def feeds():
    return Feeds()


@pytest.fixture
def runner(queue, feeds, blobs):
    def keep(job, plan, image):
        return Result(
            id=new_result_id(), job=job.id, role=image.role, index=image.index, seed=image.seed, subseed=image.subseed,
            prompt=image.prompt, negative_prompt="", width=image.width, height=image.height, infotext=image.infotext,
            shown=True, media_type=media_type(image.image.content), blob=blobs.put(image.image.content),
        )  # fmt: skip

    def view(job):
        return job_view(job, queue.results(job.id), progress=feeds.progress(job.id), position=None)

    return JobRunner(queue, feeds, blobs, keep=keep, public_image=image_view, public_job=view)


@pytest.fixture
def submit(queue, blobs, feeds):
    """`submit("a prompt", owner, **fields of the plan)` puts a job into the queue as the application does; its id."""

    def submit(prompt, owner="anna", *, priority=Priority.INTERACTIVE, **plan):
        payload, used = pack(small_plan(prompt, **plan), blobs)
        with queue.held_still():
            job = queue.put(NewJob(kind="generate", payload=payload, owner=owner, blobs=used, priority=priority))
            feeds.open(job.id, job.owner)
        return job.id

    return submit


def ended(queue, job_id):
    """The job once it has ended."""
    wait_for(lambda: queue.find(job_id).state.is_end)
    return queue.find(job_id)


def wait_for(condition, timeout=20.0):
    """Fail unless `condition` becomes true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
