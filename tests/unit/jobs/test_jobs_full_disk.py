"""A disk that is really full: a small file system in memory."""

from __future__ import annotations

import subprocess

import pytest

from modules.errors import SavingError
from modules.jobs.queue import JobQueue
from modules.jobs.record import JobState, NewJob, Result, new_result_id
from modules.jobs.reserve import SIZE_BYTES

JOB = NewJob(kind="generate", payload="{}", owner="anna")


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={4 * SIZE_BYTES}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a file system in memory cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def queue(disk):
    queue = JobQueue(disk / "jobs.sqlite3")
    yield queue
    queue.close()


def fill(disk):
    with pytest.raises(OSError, match="No space left"), open(disk / "filling", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def result_of(job):
    return Result(
        id=new_result_id(), job=job.id, role="sample", index=0, seed=1, subseed=1, prompt="p" * 2000,
        negative_prompt="", width=8, height=8, infotext="i" * 2000, shown=True, media_type="image/png", path="a.png",
    )  # fmt: skip


def test_what_a_running_job_made_is_written_although_the_disk_is_full(disk, queue):
    queue.put(JOB)
    job = queue.claim(("generate",))
    fill(disk)
    for _ in range(8):
        queue.add_result(result_of(job))
    queue.finish(job.id, JobState.DONE)
    assert len(queue.results(job.id)) == 8
    assert queue.find(job.id).state is JobState.DONE


def test_a_new_job_is_refused_in_words_and_taken_when_there_is_room_again(disk, queue):
    fill(disk)
    with pytest.raises(SavingError, match=r"queue of jobs cannot be written: .*disk is full; free some space"):
        for _ in range(100):  # the last file of the log may have room for a few
            queue.put(JOB)
    (disk / "filling").unlink()
    assert queue.put(JOB).state is JobState.QUEUED


def test_room_is_held_back_again_when_there_is_plenty(disk, queue):
    queue.put(JOB)
    job = queue.claim(("generate",))
    fill(disk)
    for _ in range(8):
        queue.add_result(result_of(job))
    assert not (disk / "jobs.reserve").exists()
    (disk / "filling").unlink()
    queue.put(JOB)
    assert (disk / "jobs.reserve").stat().st_size == SIZE_BYTES
