"""The flow of a job: what it yields, how it is stopped, and that pictures depend on nothing but the plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import save_file

from modules.engine.engine import Engine
from modules.engine.stages import FinishedImage, Stage, StageContext
from modules.errors import NotANumber
from modules.generation.events import (
    Event,
    ImageDone,
    JobDone,
    JobPaused,
    JobStarted,
    Notice,
    PassStarted,
    SoFar,
    StepDone,
)
from modules.generation.plan import ModelRef, Plan
from modules.images.data import ImageData
from modules.jobs.control import ControlBox
from modules.jobs.worker import Control
from modules.models.catalog import Catalog
from modules.models.manager import ModelManager
from modules.models.places import ModelFolders
from modules.sampling.sampler import Denoiser
from tests.unit.engine.conftest import IN_FLOAT32, pictures

Planned = Callable[..., Plan]
Run = Callable[..., list[Event]]


def largest_difference(a: Image.Image, b: Image.Image) -> int:
    return max(high for _, high in ImageChops.difference(a, b).getextrema())


def test_a_job_tells_its_steps_and_ends_with_its_infotext(planned: Planned, run: Run) -> None:
    events = run(planned())
    assert isinstance(events[0], JobStarted) and (events[0].total_steps, events[0].total_images) == (3, 1)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(step.step, step.steps, step.done, step.total) for step in steps] == [
        (1, 3, 1, 3),
        (2, 3, 2, 3),
        (3, 3, 3, 3),
    ]
    done = events[-1]
    assert isinstance(done, JobDone) and not done.interrupted
    assert done.infotexts[0].startswith("a cat\nSteps: 3, Sampler: Euler a, Schedule type: Automatic")
    assert pictures(events)[0].info["parameters"] == done.infotexts[0]


def test_the_same_plan_gives_the_same_bytes(planned: Planned, run: Run) -> None:
    first, second = run(planned()), run(planned())
    assert [e.image for e in first if isinstance(e, ImageDone)] == [e.image for e in second if isinstance(e, ImageDone)]


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE", "DDIM"])
def test_a_picture_of_a_batch_is_the_picture_made_alone(planned: Planned, run: Run, sampler: str) -> None:
    together = pictures(run(planned(batch={"size": 3}, sampling={"sampler": sampler})))
    alone = pictures(run(planned(seed={"value": 2}, sampling={"sampler": sampler})))
    assert largest_difference(together[1], alone[0]) <= 1  # kernels may differ with batch size; noise may not
    assert largest_difference(together[1], together[0]) > 16


def test_batches_follow_each_other_with_their_own_seeds(planned: Planned, run: Run) -> None:
    events = run(planned(batch={"size": 1, "count": 2}))
    assert [event.seed for event in events if isinstance(event, ImageDone)] == [1, 2]
    assert [event.batch for event in events if isinstance(event, PassStarted)] == [0, 1]


class SaysAfterSteps(ControlBox):
    """A control that says something once so many steps have been asked about."""

    def __init__(self, wish: Control, after: int) -> None:
        super().__init__()
        self.wish, self.after, self.asked = wish, after, 0

    def take(self) -> Control:
        self.asked += 1
        if self.asked == self.after:
            self.put(self.wish)
        return super().take()


def test_an_interrupt_ends_the_job_at_once_with_what_there_is(planned: Planned, run: Run) -> None:
    control = SaysAfterSteps(Control.INTERRUPT, after=4)  # one question before the batch, then one a step
    events = run(planned(sampling={"steps": 20}, batch={"count": 3}), control)
    assert sum(isinstance(event, StepDone) for event in events) == 2
    images = [event for event in events if isinstance(event, ImageDone)]
    assert len(images) == 1 and not images[0].saved  # A1111 shows an unfinished picture and does not save it
    assert isinstance(events[-1], JobDone) and events[-1].interrupted


def test_a_job_interrupted_before_its_first_step_still_gives_a_picture(planned: Planned, run: Run) -> None:
    events = run(planned(), SaysAfterSteps(Control.INTERRUPT, after=2))
    assert len(pictures(events)) == 1
    assert not any(isinstance(event, StepDone) for event in events)


def test_skip_gives_up_one_batch_and_goes_on_with_the_next(planned: Planned, run: Run) -> None:
    events = run(planned(sampling={"steps": 5}, batch={"count": 2}, save=True), SaysAfterSteps(Control.SKIP, after=3))
    assert [event.saved for event in events if isinstance(event, ImageDone) and event.role == "sample"] == [False, True]
    assert isinstance(events[-1], JobDone) and not events[-1].interrupted


def test_stop_after_batch_finishes_the_batch_in_hand(planned: Planned, run: Run) -> None:
    events = run(planned(batch={"count": 3}), SaysAfterSteps(Control.STOP_AFTER_BATCH, after=2))
    assert len(pictures(events)) == 1
    assert sum(isinstance(event, StepDone) for event in events) == 3
    assert isinstance(events[-1], JobDone) and events[-1].interrupted


@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
def test_a_job_that_gives_way_after_every_batch_makes_what_it_makes_in_one_go(
    engine: Engine, planned: Planned, kind: str
) -> None:
    source = {"images": (ImageData.from_image(Image.effect_noise((64, 64), 80).convert("RGB")),)}
    fields = {"source": source, "settings": {"save_init_img": True}} if kind == "img2img" else {}
    fields["settings"] = {"return_grid": True, "samples_format": "jpg", **fields.get("settings", {})}
    plan = planned(prompt="a (red:1.2) [cat:dog:2]", batch={"size": 2, "count": 3}, save=True, **fields)
    whole = list(engine.generate(plan, ControlBox()))
    parts: list[Event] = []
    so_far: SoFar | None = None
    while not parts or isinstance(parts[-1], JobPaused):
        box = ControlBox()
        box.put(Control.GIVE_WAY)
        slice_ = list(engine.generate(plan, box, so_far))
        assert sum(isinstance(event, PassStarted) for event in slice_) == 1
        parts += slice_
        if isinstance(parts[-1], JobPaused):
            so_far = SoFar.model_validate_json(parts[-1].so_far.model_dump_json())
    told = [event for event in parts if not isinstance(event, JobPaused)]
    timeless = {"elapsed_s": 0.0, "preview": None}
    assert [event.model_copy(update=timeless) for event in told] == [
        event.model_copy(update=timeless) for event in whole
    ]
    assert any(event.role == "grid" for event in told if isinstance(event, ImageDone))


def test_previews_are_small_and_come_at_a_bounded_rate(planned: Planned, run: Run) -> None:
    started = time.monotonic()
    events = run(planned(sampling={"steps": 12}, settings={"live_previews_image_format": "jpeg"}))
    elapsed_s = time.monotonic() - started
    previews = [event.preview for event in events if isinstance(event, StepDone) and event.preview is not None]
    assert previews and previews[0].content[:2] == b"\xff\xd8"
    assert max(previews[0].size) <= 256
    assert len(previews) <= 5 * elapsed_s + 1  # at most five a second; these steps take milliseconds


def test_a_grid_is_made_of_a_saved_job_with_several_pictures(planned: Planned, run: Run) -> None:
    events = run(planned(batch={"size": 2, "count": 2}, save=True))
    assert pictures(events, "grid")[0].size == (128, 128)
    assert events[-1].infotexts[0] == next(e.infotext for e in events if getattr(e, "role", "") == "grid")
    assert not pictures(run(planned(batch={"size": 2})), "grid")  # nothing is saved, so A1111 makes none


def test_not_a_number_is_an_error_that_names_the_network(planned: Planned, tiny: ModelRef) -> None:
    manager = ModelManager(IN_FLOAT32)
    engine = Engine(manager)
    with manager.use(tiny) as model:
        model.unet.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(NotANumber, match="the network of tiny produced NaN"):
        list(engine.generate(planned(), ControlBox()))


def test_not_a_number_is_let_through_when_the_check_is_switched_off(planned: Planned, tiny: ModelRef) -> None:
    engine = Engine(ModelManager(replace(IN_FLOAT32, disable_nan_check=True)))
    with engine.manager.use(tiny) as model:
        model.unet.conv_out.bias.data.fill_(float("nan"))
    assert len(pictures(list(engine.generate(planned(), ControlBox())))) == 1


def test_texts_are_encoded_once_and_remembered_between_jobs(planned: Planned, run: Run, engine: Engine) -> None:
    wanted = planned(prompt="a text that was never seen before", negative_prompt="nor this one")
    run(wanted)
    with engine.manager.use(wanted.model) as model:
        network = model.towers[0].network
        calls: list[int] = []
        handle = network.register_forward_hook(lambda *_: calls.append(1))
        try:
            run(wanted)
        finally:
            handle.remove()
    assert calls == []


class Recorder(Stage):
    """Says which points it was called at, halves the colours, and counts the denoiser's calls."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.calls = 0

    def wrap_denoiser(self, denoiser: Denoiser, context: StageContext) -> Denoiser:
        def counted(x, sigma):  # type: ignore[no-untyped-def]
            self.calls += 1
            return denoiser(x, sigma)

        return counted

    def on_latents(self, latents, context):  # type: ignore[no-untyped-def]
        self.seen.append(f"latents {tuple(latents.shape)} {context.pass_name}")
        return latents

    def on_image(self, image: FinishedImage, context: StageContext) -> FinishedImage:
        self.seen.append(f"image {image.index}")
        context.facts["Recorder"] = "was here"
        return FinishedImage(image.raw.point(lambda value: value // 2), image.index)


@pytest.mark.parametrize("sampler", ["Euler a", "DDIM"])
def test_stages_take_part_at_their_points(planned: Planned, engine: Engine, run: Run, sampler: str) -> None:
    stage = Recorder()
    extended = Engine(engine.manager, stages_for=lambda plan: (stage,))
    wanted = planned(sampling={"sampler": sampler, "steps": 4})
    plain, changed = run(wanted), run(wanted, engine=extended)
    assert stage.seen == ["latents (1, 4, 8, 8) txt2img", "image 0"]
    assert stage.calls == (4 if sampler == "Euler a" else 3)  # DDIM makes one call fewer than its times
    half = np.asarray(pictures(plain)[0]).astype(int) // 2
    assert np.abs(np.asarray(pictures(changed)[0]).astype(int) - half).max() <= 1
    assert changed[-1].infotexts[0].endswith("Recorder: was here")


def test_a_lora_that_is_not_there_is_said_once(planned: Planned, run: Run) -> None:
    events = run(planned(prompt="a cat <lora:nowhere:1>", batch={"count": 2}))
    assert [event.message for event in events if isinstance(event, Notice)] == ["Lora not found: nowhere"]


@pytest.mark.parametrize("wants, lines", [(False, []), (True, ["Lora not found: nowhere"])])
def test_a_lora_that_is_not_there_is_told_the_console_once_if_asked(
    planned: Planned, run: Run, caplog: pytest.LogCaptureFixture, wants: bool, lines: list[str]
) -> None:
    settings = {"lora_not_found_warning_console": wants}
    run(planned(prompt="a cat <lora:nowhere:1>", batch={"count": 2}, settings=settings))
    assert [record.message for record in caplog.records if "Lora" in record.message] == lines


@pytest.mark.parametrize("settings, said", [({}, True), ({"lora_bundled_ti_to_infotext": False}, False)])
def test_an_embedding_from_a_lora_is_named_with_the_lora_unless_the_setting_says_otherwise(
    planned: Planned, checkpoints: Path, tmp_path: Path, settings: dict, said: bool
) -> None:
    (tmp_path / "lora").mkdir()
    save_file({"bundle_emb.spark.string_to_param.*": torch.randn(2, 32)}, tmp_path / "lora" / "glow.safetensors")
    catalog = Catalog(ModelFolders(checkpoints=(checkpoints,), loras=(tmp_path / "lora",)))
    engine = Engine(ModelManager(IN_FLOAT32), catalog=catalog)
    events = list(engine.generate(planned(prompt="a spark <lora:glow:1>", settings=settings), ControlBox()))
    assert ('TI hashes: "spark: glow"' in events[-1].infotexts[0]) is said
    engine.manager.unload()


def test_an_interrupted_picture_is_drawn_as_previews_are_if_asked(planned: Planned, run: Run) -> None:
    made = {}
    for rough in (False, True):
        settings = {"live_preview_fast_interrupt": rough, "show_progress_type": "Approx cheap"}
        plan = planned(sampling={"steps": 20}, settings=settings)
        made[rough] = pictures(run(plan, SaysAfterSteps(Control.INTERRUPT, after=4)))[0]
    assert made[True].size == made[False].size == (64, 64)
    assert largest_difference(made[True], made[False]) > 16
    levels = np.asarray(made[True]).astype(int)
    steepest = max(np.abs(np.diff(levels, axis=axis)).max() for axis in (0, 1))
    assert steepest <= 255 / 8 + 1  # between two latents, 8 pixels apart, colours change evenly


def test_a_finished_picture_is_never_drawn_roughly(planned: Planned, run: Run) -> None:
    plain = pictures(run(planned()))[0]
    assert pictures(run(planned(settings={"live_preview_fast_interrupt": True})))[0].tobytes() == plain.tobytes()


def test_a_refiner_takes_over_at_its_share_and_is_told_only_then(planned: Planned, run: Run) -> None:
    plain = run(planned(sampling={"steps": 5}))
    refined = run(planned(sampling={"steps": 5}, refiner={"checkpoint": "other", "switch_at": 0.5}))
    never = run(planned(sampling={"steps": 5}, refiner={"checkpoint": "other", "switch_at": 1.0}))
    assert largest_difference(pictures(plain)[0], pictures(refined)[0]) > 16
    assert "Refiner: other" in refined[-1].infotexts[0] and "Refiner switch at: 0.5" in refined[-1].infotexts[0]
    assert largest_difference(pictures(plain)[0], pictures(never)[0]) == 0
    assert "Refiner" not in never[-1].infotexts[0]  # the last level is at 0.999 of the range: never reached


@pytest.fixture(autouse=True)
def nothing_stays_in_use(engine: Engine) -> Iterator[None]:
    """Whatever a job does, it gives its models back."""
    yield
    assert not any(model.in_use for model in engine.manager.report())
