"""A whole job on a device that is too small for it: the same picture, and the person is told how."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from modules.engine.engine import Engine
from modules.generation.events import Notice
from modules.models.catalog import Catalog
from modules.models.device import DevicePolicy
from modules.models.manager import ModelManager
from tests.unit.engine.conftest import IN_FLOAT32, pictures


def test_a_job_short_of_memory_makes_the_same_picture_and_says_what_it_took(
    catalog: Catalog, planned: Callable, run: Callable
) -> None:
    manager = ModelManager(IN_FLOAT32)
    engine, wanted = Engine(manager, catalog=catalog), planned(batch={"size": 2})
    expected = pictures(run(wanted, engine=engine))
    with manager.use(wanted.model) as model:
        unet = model.unet

    def too_much(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if len(given[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = unet.register_forward_pre_hook(too_much)
    events = run(wanted, engine=engine)
    hook.remove()
    told = [event.message for event in events if isinstance(event, Notice)]
    assert told == [
        "a step was done with attention in slices, with 2 of the batch's 4 prompts at a time, as memory was short"
    ]
    for picture, whole in zip(pictures(events), expected, strict=True):
        assert np.abs(np.asarray(picture, int) - np.asarray(whole, int)).max() <= 1  # of 255: rounding


def test_samplers_compute_in_float32_around_a_network_in_half_precision(
    catalog: Catalog, planned: Callable, run: Callable
) -> None:
    manager = ModelManager(DevicePolicy(use_cpu=("all",), precision="half"))
    engine, wanted = Engine(manager, catalog=catalog), planned()
    with manager.use(wanted.model) as model:
        unet, predict = model.unet, model.predict
    inside, outside = set(), set()
    hook = unet.register_forward_pre_hook(lambda module, given: inside.add(given[0].dtype))
    model.predict = lambda x, *others: (outside.add(x.dtype), predict(x, *others))[1]
    assert len(pictures(run(wanted, engine=engine))) == 1
    hook.remove()
    assert inside == {torch.bfloat16} and outside == {torch.float32}
