"""Long jobs take turns with other people's: picture by picture, and nothing of them is lost meanwhile."""

from __future__ import annotations

import os
import signal
import time

import pytest
from PIL import Image

from modules.generation.events import JobPaused, ModelLoading, PassStarted, SoFar
from modules.images.data import ImageData
from modules.jobs.blobs import pack
from modules.jobs.control import ControlBox, Turn
from modules.jobs.process import WorkerProcess
from modules.jobs.queue import JobQueue
from modules.jobs.record import JobState, NewJob, Priority
from modules.jobs.supervisor import Supervisor
from modules.jobs.worker import Control
from tests.unit.jobs.conftest import ended, wait_for

KINDS = ("generate",)
NOTHING = SoFar(batches=1).model_dump_json()


@pytest.fixture
def rest(queue):
    """Put a running job down, as a worker would after a batch."""

    def rest(job, so_far=NOTHING, blobs=frozenset(), notices=()):
        queue.rest(job.id, so_far, blobs=blobs, notices=notices)

    return rest


@pytest.fixture
def supervisor(queue, runner):
    supervisor = Supervisor(
        queue, runner, lambda hear: WorkerProcess({}, on_report=hear, module="tests.support.small_worker")
    )
    supervisor.start()
    yield supervisor
    supervisor.close()


def seeds(queue, job_id):
    return [result.seed for result in queue.results(job_id)]


def test_a_turn_is_over_once_somebody_else_is_next_and_what_was_said_counts_more():
    box, over, number = ControlBox(), [], [0]
    turn = Turn(box, is_over=lambda: bool(over), changes=lambda: number[0])
    assert turn.take() is Control.RUN
    over.append("bert")
    number[0] += 1
    assert turn.take() is Control.GIVE_WAY
    box.put(Control.SKIP)
    assert [turn.take(), turn.take()] == [Control.SKIP, Control.GIVE_WAY]
    box.put(Control.STOP_AFTER_BATCH)
    assert turn.take() is Control.STOP_AFTER_BATCH


def test_giving_way_never_takes_back_a_stop():
    box = ControlBox()
    for wish in (Control.STOP_AFTER_BATCH, Control.GIVE_WAY):
        box.put(wish)
    assert box.take() is Control.STOP_AFTER_BATCH


def test_a_job_is_outranked_by_another_owner_who_was_served_longer_ago_and_by_more_urgent_work(queue, put):
    put("anna", priority=Priority.BATCH)
    job = queue.claim(KINDS)
    put("anna", priority=Priority.BATCH)
    assert not queue.is_outranked(job)  # an owner's own jobs run one after another
    other = put("bert", priority=Priority.BATCH)
    assert queue.is_outranked(job)
    queue.hold(other.id, True)
    assert not queue.is_outranked(job)
    put("anna")
    assert queue.is_outranked(job)  # interactive before batch, for one owner too


def test_a_job_that_rests_runs_for_its_owner_and_goes_on_before_the_owners_other_jobs(queue, put, rest):
    put("anna")
    first = queue.claim(KINDS)
    put("anna")
    bert = put("bert")
    rest(first, notices=("no LoRA is called x",))
    assert queue.find(first.id).state is JobState.RUNNING
    assert queue.find(first.id).notices == ("no LoRA is called x",)
    assert queue.claim(KINDS).id == bert.id
    again = queue.claim(KINDS)
    assert (again.id, again.attempts, again.started) == (first.id, 1, first.started)
    assert queue.so_far(first.id) == NOTHING
    assert queue.finish(first.id, JobState.DONE).state is JobState.DONE
    assert queue.so_far(first.id) is None


def test_a_pause_of_its_owner_lets_a_begun_job_come_to_its_end(queue, put, rest):
    put()
    job = queue.claim(KINDS)
    rest(job)
    queue.pause("anna", True)
    assert queue.claim(KINDS).id == job.id


def test_a_job_that_rests_survives_the_end_of_the_program_with_its_pictures(tmp_path, blobs):
    path = tmp_path / "other.sqlite3"
    queue = JobQueue(path)
    job = queue.put(NewJob(kind="generate", payload="{}", owner="anna"))
    queue.claim(KINDS)
    sample = ImageData.from_image(Image.new("RGB", (8, 8)))
    kept, used = pack(SoFar(batches=1, samples=(sample,)), blobs)
    queue.rest(job.id, kept, blobs=used, notices=())
    queue.close()
    queue = JobQueue(path)
    assert queue.recover() == ()
    assert [one.id for one in queue.resting()] == [job.id]
    assert queue.blobs_in_use() == {sample.sha256}
    assert queue.claim(KINDS).id == job.id
    queue.finish(job.id, JobState.DONE)
    assert queue.blobs_in_use() == frozenset()
    queue.close()


def test_another_persons_picture_waits_for_one_of_a_long_job_and_not_for_all(queue, submit, supervisor, feeds):
    long = submit("slow", "anna", count=8)
    wait_for(lambda: feeds.progress(long).get("step", 0) >= 1)
    short = submit("a cat", "bert")
    assert ended(queue, short).state is JobState.DONE
    assert 1 <= len(seeds(queue, long)) <= 2
    assert ended(queue, long).state is JobState.DONE
    assert seeds(queue, long) == [1, 2, 3, 4, 5, 6, 7, 8]
    said = feeds.since(long, None)
    assert [one.kind for one in said].count("started") == 1
    assert said[-1].data["info"]["all_seeds"] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(queue.find(long).summary["infotexts"]) == 8


def test_two_long_jobs_of_two_people_go_picture_by_picture(queue, submit, supervisor, feeds):
    order = []
    feeds.listen(lambda job_id, owner: order.append(owner) if feeds.since(job_id, None)[-1].kind == "image" else None)
    anna = submit("slow", "anna", count=4)
    bert = submit("slow", "bert", count=4)
    ended(queue, anna), ended(queue, bert)
    wait_for(lambda: len(order) == 8)
    assert order == ["anna", "bert"] * 4


class OneBatch:
    """A worker that makes one batch and goes on with it until it is to give way; `lasted` is how long that took."""

    is_asked = False

    def __init__(self, loading_s):
        self.loading_s, self.asked, self.lasted = loading_s, 0, 0.0

    def run(self, plan, control, so_far=None):
        if self.loading_s:
            yield ModelLoading(title="large")
            time.sleep(self.loading_s)
        yield PassStarted(name="txt2img", batch=0, batches=2, steps=1)
        began = time.monotonic()
        while control.take() is not Control.GIVE_WAY:
            self.asked += 1
            time.sleep(0.01)
        self.lasted = time.monotonic() - began
        yield JobPaused(so_far=SoFar(batches=1))

    def close(self):
        pass


@pytest.mark.parametrize("loading_s", [0.0, 0.4])
def test_a_turn_lasts_as_long_as_the_loading_it_began_with(queue, runner, submit, loading_s):
    job, worker = submit("long", "anna", count=2), OneBatch(loading_s)
    submit("waits", "bert")
    runner.run(runner.claim(), worker)
    assert [one.id for one in queue.resting()] == [job]
    assert worker.lasted >= loading_s
    assert (worker.asked > 0) is (loading_s > 0)  # with nothing to pay off it gives way when first asked


def test_ones_own_next_job_waits_for_all_pictures_of_the_one_before(queue, submit, supervisor):
    long, short = submit("slow", "anna", count=3, steps=2), submit("a cat", "anna")
    ended(queue, short)
    assert queue.find(long).finished <= queue.find(short).started


def test_an_interrupt_ends_a_resting_job_at_once_with_its_pictures_and_their_grid(queue, runner, submit, supervisor):
    saving = {"samples": True, "grid": True, "options": {"return_grid": True, "grid_only_if_multiple": False}}
    long = submit("slow", "anna", count=6, saving=saving)
    other = submit("slow", "bert", steps=100)
    wait_for(lambda: [job.id for job in queue.resting()] == [long])
    runner.stop(long, Control.INTERRUPT)
    job = queue.find(long)
    assert (job.state, queue.find(other).state) == (JobState.INTERRUPTED, JobState.RUNNING)
    assert [(result.role, result.seed) for result in queue.results(long)] == [("sample", 1), ("grid", 1)]
    assert [text.splitlines()[0] for text in job.summary["infotexts"]] == ["slow", "slow"]
    assert job.summary["info"]["index_of_first_image"] == 1
    runner.stop(other, Control.INTERRUPT)
    assert ended(queue, other).state is JobState.INTERRUPTED


def test_a_worker_that_dies_with_somebody_elses_job_costs_a_resting_one_nothing(queue, submit, supervisor):
    long = submit("slow", "anna", count=4)
    deadly = submit("slow die", "bert")
    assert ended(queue, deadly).error_kind == "WorkerDied"
    assert ended(queue, long).state is JobState.DONE
    assert seeds(queue, long) == [1, 2, 3, 4]


def test_a_worker_that_dies_when_a_job_goes_on_costs_the_job_nothing(queue, submit, supervisor, feeds):
    long = submit("slow", "anna", count=2, steps=20)
    other = submit("a cat", "bert")
    ended(queue, other)
    wait_for(lambda: not queue.resting())  # it goes on
    os.kill(supervisor.process.pid, signal.SIGKILL)
    job = ended(queue, long)
    assert (job.state, job.attempts) == (JobState.DONE, 2)
    assert seeds(queue, long) == [1, 2]
    assert any("goes on where it was" in one.data.get("message", "") for one in feeds.since(long, None))


def test_a_question_to_the_worker_is_answered_between_two_pictures(queue, submit, supervisor, feeds):
    long = submit("slow", "anna", count=6)
    wait_for(lambda: feeds.progress(long).get("step", 0) >= 1)
    assert supervisor.call("add", timeout=20, a=1, b=2) == 3
    assert len(seeds(queue, long)) < 6
    assert ended(queue, long).state is JobState.DONE
    assert seeds(queue, long) == [1, 2, 3, 4, 5, 6]
