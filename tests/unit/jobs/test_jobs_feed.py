from __future__ import annotations

import threading

from modules.jobs.feed import Feeds


def kinds(said):
    return [one.kind for one in said]


def test_a_watcher_that_comes_back_gets_what_it_missed(feeds):
    feeds.open("j", "anna")
    feeds.say("j", "started", {})
    (first,) = feeds.since("j", None)
    feeds.say("j", "image", {"id": "x"})
    feeds.say("j", "done", {})
    assert kinds(feeds.since("j", first.id)) == ["image", "done"]


def test_a_watcher_from_an_earlier_run_of_the_program_gets_everything(feeds):
    feeds.open("j", "anna")
    feeds.say("j", "started", {})
    assert kinds(feeds.since("j", "0123abcd-17")) == ["started"]


def test_only_the_newest_step_is_replayed(feeds):
    feeds.open("j", "anna")
    for step in range(100):
        feeds.say("j", "step", {"step": step})
    (said,) = feeds.since("j", None)
    assert said.data == {"job": "j", "step": 99}


def test_nothing_is_said_after_the_end(feeds):
    feeds.open("j", "anna")
    feeds.say("j", "done", {})
    feeds.say("j", "step", {"step": 1})
    assert kinds(feeds.since("j", None)) == ["done"]


def test_waiting_ends_as_soon_as_something_is_said(feeds):
    feeds.open("j", "anna")
    threading.Timer(0.05, feeds.say, ("j", "started", {})).start()
    assert kinds(feeds.wait("j", None, timeout=10)) == ["started"]
    assert feeds.wait("j", feeds.since("j", None)[0].id, timeout=0.01) == ()


def test_the_oldest_ended_feeds_are_forgotten_and_running_ones_never():
    feeds = Feeds(keep=2)
    feeds.open("running", "anna")
    for number in range(5):
        feeds.open(f"j{number}", "anna")
        feeds.say(f"j{number}", "done", {})
    assert [feeds.knows(job) for job in ("j0", "j1", "j2", "j3", "j4", "running")] == [False] * 3 + [True] * 3


def test_listeners_hear_whose_job_spoke(feeds):
    heard = []
    stop = feeds.listen(lambda job, owner: heard.append((job, owner)))
    feeds.open("j", "anna")
    feeds.say("j", "started", {})
    stop()
    feeds.say("j", "done", {})
    assert heard == [("j", "anna")]


def test_a_new_preview_has_a_new_number(feeds):
    feeds.open("j", "anna")
    assert [feeds.show("j", b"one", "image/png"), feeds.show("j", b"two", "image/png")] == [1, 2]
    assert feeds.preview("j").content == b"two"
    assert feeds.show("unknown", b"one", "image/png") is None
