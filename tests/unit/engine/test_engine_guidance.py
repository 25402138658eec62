"""Guidance by itself: how answers are combined, and when the negative prompt is left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from modules.engine.engine import Engine
from modules.engine.guidance import combine
from modules.generation.events import Event
from modules.generation.plan import Plan

Planned = Callable[..., Plan]
Run = Callable[..., list[Event]]


def test_parts_pull_together_with_their_weights() -> None:
    cond = torch.tensor([3.0, 5.0, 10.0]).reshape(3, 1, 1, 1)
    uncond = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    guided = combine(cond, uncond, parts=(((0, 1.0), (1, 0.5)), ((2, 1.0),)), scale=2.0)
    # 1 + 2 * ((3 - 1) + 0.5 * (5 - 1)) and 2 + 2 * (10 - 2)
    assert guided.flatten().tolist() == [9.0, 18.0]


class CountsRows:
    """Counts the rows that the network is asked for, call by call."""

    def __init__(self, engine: Engine, plan: Plan) -> None:
        with engine.manager.use(plan.model) as model:
            self.unet = model.unet
        self.rows: list[int] = []

    def __enter__(self) -> list[int]:
        self.handle = self.unet.register_forward_pre_hook(
            lambda module, args: self.rows.append(len(args[0])), with_kwargs=False
        )
        return self.rows

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


@pytest.mark.parametrize(
    "overrides, fields, rows, told",
    [
        ({}, {}, [2, 2, 2, 2], ""),
        ({"batch_cond_uncond": False}, {}, [1] * 8, ""),
        ({}, {"prompt": "a cat AND a dog :0.5 AND a bird"}, [4, 4, 4, 4], ""),
        # the first half of the calls, and A1111's <= makes it one more: calls 0, 1 and 2 of 4
        ({"skip_early_cond": 0.5}, {}, [1, 1, 1, 2], "Skip Early CFG: 0.5"),
        ({"s_min_uncond": 15.0}, {}, [2, 1, 2, 1], "NGMS: 15.0"),  # every second call
        ({"s_min_uncond": 15.0, "s_min_uncond_all": True}, {}, [1, 1, 1, 1], "NGMS: 15.0, NGMS all steps: True"),
        ({"s_min_uncond": 0.0001}, {}, [2, 2, 2, 2], ""),
    ],
)
def test_the_network_is_asked_for_what_is_needed_and_no_more(
    planned: Planned,
    run: Run,
    engine: Engine,
    overrides: dict[str, object],
    fields: dict[str, object],
    rows: list[int],
    told: str,
) -> None:
    wanted = planned(sampling={"sampler": "Euler", "steps": 4}, overrides=overrides, **fields)
    run(wanted)
    with CountsRows(engine, wanted) as asked:
        events = run(wanted)
    assert asked == rows
    assert told in events[-1].infotexts[0]
    assert ("NGMS" in events[-1].infotexts[0]) == ("NGMS" in told)


def test_prompts_of_unlike_length_are_padded_only_when_asked(planned: Planned, run: Run, engine: Engine) -> None:
    long = {"prompt": "one BREAK two", "sampling": {"sampler": "Euler", "steps": 2}}
    run(planned(**long))
    with CountsRows(engine, planned(**long)) as asked:
        assert "Pad conds" not in run(planned(**long))[-1].infotexts[0]
    assert asked == [1, 1, 1, 1]
    with CountsRows(engine, planned(**long)) as asked:
        events = run(planned(**long, overrides={"pad_cond_uncond": True}))
    assert asked == [2, 2]
    assert "Pad conds: True" in events[-1].infotexts[0]


def test_at_guidance_one_the_negative_prompt_has_no_say(planned: Planned, run: Run) -> None:
    calm = {"sampling": {"cfg_scale": 1.0}}
    with_negative, without = run(planned(**calm, negative_prompt="anything")), run(planned(**calm))
    images = [next(event.image for event in events if event.kind == "image") for events in (with_negative, without)]
    pixels = [torch.tensor(list(image.open().tobytes()), dtype=torch.int) for image in images]
    assert int((pixels[0] - pixels[1]).abs().max()) <= 1  # u + 1 * (c - u) differs from c by rounding only
