"""A worker process without networks: the real process, pipe and protocol around pictures of one colour a seed.

`python -m tests.support.small_worker` is what `WorkerProcess(module="tests.support.small_worker")` starts. Words in a
plan's prompt steer it: "slow" takes 50 ms a step, "hang" sleeps in the first, "die" kills the process in the second
step, "die early" before the first event, "fail" raises an error of ours, "break" one that the process does not outlive.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from PIL import Image

from modules.errors import NotEnoughMemory
from modules.generation.events import Event, ImageDone, JobDone, JobPaused, JobStarted, PassStarted, SoFar, StepDone
from modules.generation.plan import Plan
from modules.images.data import ImageData
from modules.jobs.local import LocalWorker
from modules.jobs.worker import Control, ControlSource
from modules.jobs.worker_main import main


class SmallEngine:
    """Follows the engine's contract: events, and what interrupt, skip, giving way and stopping after a batch mean."""

    def generate(self, plan: Plan, control: ControlSource, so_far: SoFar | None = None) -> Iterator[Event]:
        words = plan.main_prompt
        if "die early" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        steps, batches = plan.sampling.steps, plan.batches
        total = steps * len(batches)
        if so_far is None:
            yield JobStarted(total_steps=total, total_images=len(plan.images))
        first = so_far.batches if so_far is not None else 0
        infotexts, stopped = list(so_far.infotexts) if so_far is not None else [], False
        for number, batch in enumerate(batches[first:], start=first):
            wish = control.take()
            if stopped or (wish is Control.STOP_AFTER_BATCH and number):
                stopped = True
                break
            if wish is Control.GIVE_WAY and number > first:
                samples = tuple(_picture(plan, image.seed) for images in batches[:number] for image in images)
                yield JobPaused(so_far=SoFar(batches=number, infotexts=tuple(infotexts), samples=samples))
                return
            yield PassStarted(name="txt2img", batch=number, batches=len(batches), steps=steps)
            for step in range(steps):
                if "hang" in words:
                    time.sleep(600)
                if "slow" in words:
                    time.sleep(0.05)
                if "die" in words and step == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                if "break" in words:
                    raise ConnectionAbortedError("the device fell off the bus")
                if "fail" in words:
                    raise NotEnoughMemory("a picture needs 9 GB, 1 GB is free; choose a smaller size")
                wish = control.take()
                done = number * steps + step + 1
                yield StepDone(step=step + 1, steps=steps, done=done, total=total, preview=_picture(plan, 100 + step))
                if wish in (Control.INTERRUPT, Control.SKIP):
                    stopped = wish is Control.INTERRUPT
                    break
            for image in batch:
                infotext = f"{image.prompt}\nSteps: {steps}, Seed: {image.seed}"
                infotexts.append(infotext)
                yield ImageDone(
                    index=image.index, seed=image.seed, prompt=image.prompt, width=plan.size.width,
                    height=plan.size.height, image=_picture(plan, image.seed), infotext=infotext,
                    saved=plan.saving.samples,
                )  # fmt: skip
        yield JobDone(interrupted=stopped, infotexts=tuple(infotexts))


def _picture(plan: Plan, shade: int) -> ImageData:
    return ImageData.from_image(Image.new("RGB", (plan.size.width, plan.size.height), (shade % 256, 0, 0)))


class SmallMachine:
    """The engine above with the calls that the front makes."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.is_broken = False
        self.worker = LocalWorker(SmallEngine(), on_failure=self.note_failure)
        self.calls = {"add": lambda a, b: a + b, "load": lambda **ref: None, "raise": self._raise}

    def report(self) -> dict[str, Any]:
        return {"model": "small", "device": "cpu"}

    def note_failure(self, error: BaseException) -> None:
        self.is_broken = isinstance(error, ConnectionAbortedError)

    def _raise(self) -> None:
        raise ValueError("no such thing")


if __name__ == "__main__":
    main(SmallMachine)
