"""The real worker process, pipe and supervisor, around an engine without networks (tests/support/small_worker.py)."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from modules.errors import WorkerDied
from modules.jobs.control import ControlBox
from modules.jobs.process import WorkerProcess
from modules.jobs.record import JobState
from modules.jobs.supervisor import Supervisor
from modules.jobs.worker import Control
from tests.support.plans import small_plan
from tests.unit.jobs.conftest import ended, wait_for

MODULE = "tests.support.small_worker"


@pytest.fixture
def process():
    process = WorkerProcess({}, module=MODULE)
    wait_for(lambda: process.is_ready)
    yield process
    process.close()


@pytest.fixture
def supervisor(queue, runner):
    supervisor = Supervisor(queue, runner, lambda hear: WorkerProcess({}, on_report=hear, module=MODULE))
    supervisor.start()
    yield supervisor
    supervisor.close()


def test_a_plan_gives_its_events_in_order(process):
    events = list(process.run(small_plan(count=2), ControlBox()))
    assert [event.kind for event in events] == ["started", *(["pass", *["step"] * 4, "image"] * 2), "done"]
    assert [event.seed for event in events if event.kind == "image"] == [1, 2]


def test_interrupt_ends_the_job_with_what_there_is(process):
    control = ControlBox()
    kinds = []
    for event in process.run(small_plan("slow", count=3, steps=50), control):
        kinds.append(event.kind)
        if event.kind == "step":
            control.put(Control.INTERRUPT)
    assert kinds.count("image") == 1
    assert event.interrupted


def test_skip_gives_up_one_batch_only(process):
    control = ControlBox()
    steps = []
    for event in process.run(small_plan("slow", count=2, steps=20), control):
        if event.kind == "step":
            steps.append(event.done)
            if len(steps) == 1:
                control.put(Control.SKIP)
    assert 20 not in steps  # the first batch did not come to its last step
    assert 40 in steps  # the second one did
    assert not event.interrupted


def test_an_error_of_the_engine_ends_the_job_and_not_the_process(process):
    *_, failed = process.run(small_plan("fail"), ControlBox())
    assert (failed.error, failed.message) == (
        "NotEnoughMemory", "a picture needs 9 GB, 1 GB is free; choose a smaller size"
    )  # fmt: skip
    assert list(process.run(small_plan(), ControlBox()))[-1].kind == "done"


def test_a_death_is_said_with_its_reason(process):
    with pytest.raises(WorkerDied, match=r"killed \(SIGKILL\); that is what the system does when memory runs out"):
        list(process.run(small_plan("die"), ControlBox()))


def test_calls_are_answered_and_their_errors_too(process):
    assert process.call("add", a=1, b=2) == 3
    with pytest.raises(RuntimeError, match="ValueError: no such thing"):
        process.call("raise")


def test_closing_leaves_no_process_behind_even_in_mid_job(process):
    events = process.run(small_plan("slow", steps=200), ControlBox())
    next(events)
    started = time.monotonic()
    process.close()
    assert time.monotonic() - started < 5
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_process_group_leaves_the_worker_to_the_front(sent):
    process = WorkerProcess({}, module=MODULE)
    os.kill(process.pid, sent)  # while it starts: what it imports first takes seconds
    wait_for(lambda: process.is_ready)
    os.kill(process.pid, sent)
    assert process.call("add", a=1, b=2) == 3
    process.close()
    assert not psutil.pid_exists(process.pid)


def test_starting_a_worker_leaves_the_fronts_own_signals_alone(process):
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize(
    "given, expected", [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_threads_of_the_worker_do_not_spin_for_long_unless_somebody_wants_it(monkeypatch, given, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    process = WorkerProcess({}, module=MODULE)
    wait_for(lambda: process.is_ready)
    assert psutil.Process(process.pid).environ().get("GOMP_SPINCOUNT") == expected
    process.close()


def test_the_worker_ends_when_the_front_is_gone(process):
    process._channel.close()  # what the system does to the pipe of a front that was killed
    wait_for(lambda: process.is_gone, timeout=5)


def test_a_device_that_broke_costs_its_job_and_another_process_takes_the_next(queue, submit, supervisor, feeds):
    first = supervisor.process.pid
    broken, next_one = submit("break"), submit("a cat")
    job = ended(queue, broken)
    assert (job.state, job.error_message) == (
        JobState.FAILED, "ConnectionAbortedError: the device fell off the bus"
    )  # fmt: skip
    assert ended(queue, next_one).state is JobState.DONE
    assert supervisor.process.pid != first


def test_a_worker_killed_in_mid_job_costs_that_job_and_nothing_else(queue, submit, supervisor, feeds):
    lost, next_one = submit("slow", steps=100), submit("a cat")
    wait_for(lambda: feeds.progress(lost).get("step", 0) >= 2)
    killed = supervisor.process.pid
    os.kill(killed, signal.SIGKILL)
    job = ended(queue, lost)
    assert (job.state, job.error_kind) == (JobState.FAILED, "WorkerDied")
    assert "SIGKILL" in job.error_message
    assert ended(queue, next_one).state is JobState.DONE
    assert supervisor.process.pid != killed


def test_a_job_whose_worker_died_before_it_started_is_tried_once_more(queue, submit, supervisor):
    job = ended(queue, submit("die early"))
    assert job.state is JobState.FAILED
    assert job.attempts == 2
    assert ended(queue, submit("a cat")).state is JobState.DONE


def test_a_worker_killed_while_idle_is_replaced(queue, submit, supervisor):
    wait_for(lambda: supervisor.process.is_ready)
    os.kill(supervisor.process.pid, signal.SIGKILL)
    assert ended(queue, submit("a cat")).state is JobState.DONE


def test_a_worker_that_never_starts_fails_jobs_with_the_reason_instead_of_letting_them_wait(queue, runner, submit):
    supervisor = Supervisor(
        queue, runner, lambda hear: WorkerProcess({}, on_report=hear, module="tests.support.no_such_module")
    )
    job_id = submit("a cat")
    supervisor.start()
    try:
        job = ended(queue, job_id)
    finally:
        supervisor.close()
    assert job.state is JobState.FAILED
    assert "No module named tests.support.no_such_module" in job.error_message


def test_closing_the_program_marks_the_running_job_interrupted(queue, submit, supervisor, feeds):
    running, waiting = submit("slow", steps=200), submit("a cat")
    wait_for(lambda: feeds.progress(running).get("step", 0) >= 1)
    supervisor.close()
    assert queue.find(running).state is JobState.INTERRUPTED
    assert queue.find(waiting).state is JobState.QUEUED


def test_watchers_see_steps_previews_pictures_and_the_end(queue, submit, supervisor, feeds):
    job_id = submit("a cat", count=2)
    ended(queue, job_id)
    wait_for(lambda: feeds.since(job_id, None)[-1].kind == "done")
    said = feeds.since(job_id, None)
    assert [one.kind for one in said if one.kind in ("image", "done")] == ["image", "image", "done"]
    final = said[-1].data
    assert [image["seed"] for image in final["images"]] == [1, 2]
    assert final["info"]["all_seeds"] == [1, 2]
    assert final["info"]["sd_model_hash"] == "ababababab"


def test_an_error_around_a_job_ends_that_job_and_nothing_else(queue, runner, submit, supervisor, monkeypatch):
    def keep(job, plan, image):
        if "odd" in job.title or "odd" in plan.main_prompt:
            raise ValueError("a name pattern that nobody thought of")
        return kept(job, plan, image)

    kept = runner._keep
    monkeypatch.setattr(runner, "_keep", keep)
    odd, next_one = submit("odd, slow", count=100, steps=20), submit("a cat")
    job = ended(queue, odd)
    assert (job.state, job.error_kind) == (JobState.FAILED, "JobFailed")
    assert job.error_message.startswith("ValueError: a name pattern that nobody thought of")
    assert ended(queue, next_one).state is JobState.DONE  # at once: the worker was told to stop the odd job
    assert supervisor.process.is_ready


def test_a_worker_that_hangs_without_dying_costs_its_job_only(queue, runner, submit):
    def spawn(hear):
        return WorkerProcess({}, on_report=hear, module=MODULE, patience_s=lambda: 0.5)

    supervisor = Supervisor(queue, runner, spawn)
    supervisor.start()
    try:
        stuck, next_one = submit("hang"), submit("a cat")
        lost = ended(queue, stuck)
        assert lost.state is JobState.FAILED
        assert "made no progress" in lost.error_message and "Minutes without progress" in lost.error_message
        assert ended(queue, next_one).state is JobState.DONE
    finally:
        supervisor.close()
