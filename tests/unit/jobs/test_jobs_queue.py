from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from modules.errors import NotPermitted, QueueFull
from modules.jobs.queue import JobQueue
from modules.jobs.record import JobState, NewJob, Priority

ROOT = Path(__file__).parents[3]
KINDS = ("generate",)


def claimed(queue, count):
    """The ids of the next jobs, each finished at once."""
    ids = []
    for _ in range(count):
        job = queue.claim(KINDS)
        queue.finish(job.id, JobState.DONE)
        ids.append(job.id)
    return ids


def test_jobs_of_one_owner_run_as_they_came(queue, put):
    jobs = [put() for _ in range(3)]
    assert claimed(queue, 3) == [job.id for job in jobs]
    assert queue.claim(KINDS) is None


def test_owners_take_turns_however_many_jobs_one_of_them_has(queue, put):
    anna = [put("anna").id for _ in range(3)]
    bert = [put("bert").id for _ in range(2)]
    assert claimed(queue, 5) == [anna[0], bert[0], anna[1], bert[1], anna[2]]


def test_the_order_that_is_shown_is_the_order_in_which_jobs_run(queue, put):
    for owner in ("anna", "anna", "bert", "carl", "bert", "anna"):
        put(owner)
    put("bert", priority=Priority.BATCH)
    assert list(queue.waiting_order()) == claimed(queue, 7)


def test_an_interactive_job_of_anybody_goes_before_batch_jobs(queue, put):
    batch = put("anna", priority=Priority.BATCH)
    interactive = put("bert")
    assert claimed(queue, 2) == [interactive.id, batch.id]


def test_a_job_survives_the_end_of_the_program(tmp_path):
    first = JobQueue(tmp_path / "jobs.sqlite3")
    job = first.put(NewJob(kind="generate", payload='{"a": 1}', owner="anna", title="a cat"))
    first.close()
    again = JobQueue(tmp_path / "jobs.sqlite3")
    assert again.find(job.id) == job
    assert again.payload(job.id) == '{"a": 1}'
    again.close()


def test_a_job_that_ran_in_a_killed_program_is_interrupted_and_waiting_ones_still_run(tmp_path):
    program = textwrap.dedent(f"""
        import os, pathlib, signal
        from modules.jobs.queue import JobQueue
        from modules.jobs.record import NewJob
        queue = JobQueue(pathlib.Path({str(tmp_path)!r}) / "jobs.sqlite3")
        for _ in range(4):
            queue.put(NewJob(kind="generate", payload="{{}}", owner="anna"))
        queue.claim(("generate",))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60)
    queue = JobQueue(tmp_path / "jobs.sqlite3")
    (lost,) = queue.recover()
    assert lost.state is JobState.INTERRUPTED
    assert "run it again" in lost.error_message
    assert len(claimed(queue, 3)) == 3
    queue.close()


def test_a_job_that_runs_in_a_living_program_is_left_alone(queue, put):
    put()
    running = queue.claim(KINDS)
    assert queue.recover() == ()
    assert queue.find(running.id).state is JobState.RUNNING


def test_the_same_idempotency_key_gives_the_same_job(queue, put):
    first = put(idempotency_key="k")
    assert put(idempotency_key="k").id == first.id
    assert put("bert", idempotency_key="k").id != first.id  # keys are an owner's own
    assert len(queue.waiting_order()) == 2


def test_a_full_queue_refuses_with_words(tmp_path):
    queue = JobQueue(tmp_path / "jobs.sqlite3", limit=4, limit_per_owner=2)
    for owner in ("anna", "anna", "bert"):
        queue.put(NewJob(kind="generate", payload="{}", owner=owner))
    with pytest.raises(QueueFull, match="2 of your jobs"):
        queue.put(NewJob(kind="generate", payload="{}", owner="anna"))
    queue.put(NewJob(kind="generate", payload="{}", owner="bert"))
    with pytest.raises(QueueFull, match="4 jobs wait already"):
        queue.put(NewJob(kind="generate", payload="{}", owner="carl"))
    queue.close()


def test_a_waiting_job_can_be_moved_before_another(queue, put):
    a, b, c = (put().id for _ in range(3))
    queue.move(c, before=a)
    assert queue.waiting_order() == (c, a, b)
    queue.move(c, before=None)
    assert queue.waiting_order() == (a, b, c)


def test_a_job_cannot_jump_somebody_elses_queue(queue, put):
    theirs, mine = put("bert"), put("anna")
    with pytest.raises(NotPermitted, match="of its own owner"):
        queue.move(mine.id, before=theirs.id)


def test_held_and_paused_jobs_wait(queue, put):
    held, other = put("anna"), put("bert")
    queue.hold(held.id, True)
    queue.pause("bert", True)
    assert queue.claim(KINDS) is None
    queue.hold(held.id, False)
    queue.pause("bert", False)
    assert set(claimed(queue, 2)) == {held.id, other.id}


def test_a_waiting_job_can_be_cancelled_and_a_running_one_not(queue, put):
    put()
    waiting = put()
    running = queue.claim(KINDS)
    assert not queue.cancel_waiting(running.id)
    assert queue.cancel_waiting(waiting.id)
    assert queue.find(waiting.id).state is JobState.CANCELLED


def test_the_first_end_of_a_job_counts(queue, put):
    job = put()
    queue.claim(KINDS)
    queue.finish(job.id, JobState.FAILED, error=("NotANumber", "the VAE produced NaN"))
    assert queue.finish(job.id, JobState.DONE).state is JobState.FAILED


def test_children_run_before_their_owners_other_jobs_and_are_not_listed(queue, put):
    parent = put(kind="script")
    queue.claim(("script",))
    other = put()
    child = put(parent=parent.id)
    assert claimed(queue, 2) == [child.id, other.id]
    assert {job.id for job in queue.jobs(owner="anna")} == {parent.id, other.id}
    assert [job.id for job in queue.children(parent.id)] == [child.id]


def test_old_ended_jobs_are_forgotten_but_never_waiting_ones(queue, put):
    for _ in range(3):
        job = put()
        queue.claim(KINDS)
        queue.finish(job.id, JobState.DONE)
    waiting = put()
    assert queue.forget(ended_before=2e9 * 2, keep_newest=2) == 2  # the waiting one and the newest ended one stay
    assert queue.find(waiting.id) is not None
