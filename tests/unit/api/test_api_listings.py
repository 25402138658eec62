"""What the listing routes are made of."""

from __future__ import annotations

import threading

from modules.api.listings import Shared


def test_those_who_ask_while_a_walk_waits_to_begin_share_it():
    shared, begun, go_on = Shared(), threading.Semaphore(0), threading.Semaphore(0)
    walks = []

    def walk():
        begun.release()
        go_on.acquire()
        walks.append("done")

    first = threading.Thread(target=shared.run, args=(walk,))
    first.start()
    begun.acquire()  # from now on the first walk may have passed what is new
    others = [threading.Thread(target=shared.run, args=(walk,)) for _ in range(20)]
    for other in others:
        other.start()
    go_on.release()
    begun.acquire()  # the others' walk
    go_on.release(20)
    for thread in (first, *others):
        thread.join(10)
        assert not thread.is_alive()
    assert 2 <= len(walks) < 21
    shared.run(lambda: walks.append("alone"))
    assert walks[-1] == "alone"
