from __future__ import annotations

import pytest

import modules.sampling  # noqa: F401 - registers the samplers
from modules.generation.plan import SamplingPlan
from modules.planning.distillations import Suggestion, advice, distillation, suggestion
from modules.sampling.sampler import SAMPLERS
from modules.sampling.schedules import SCHEDULES


@pytest.mark.parametrize(
    "name, title",
    [
        ("sd_xl_turbo_1.0_fp16", "Turbo"),
        ("DreamShaperXL_v21TurboDPMSDE", "Turbo"),
        ("sdxl_lightning_4step", "Lightning"),
        ("realvisxlV50_v50LightningBakedvae", "Lightning"),
        ("LCM_Dreamshaper_v7_4k", "LCM"),
        ("Hyper-SDXL-4step", "Hyper-SD"),
        ("hyperrealism", None),
        ("turbovision", None),
        ("v1-5-pruned-emaonly", None),
    ],
)
def test_a_distilled_checkpoint_is_told_by_a_word_of_its_name(name: str, title: str | None) -> None:
    found = distillation(name)
    assert (found.title if found else None) == title


@pytest.mark.parametrize(
    "name, sampler, schedule, steps, cfg_scale",
    [
        ("sdxl_lightning_4step", "Euler", "SGM Uniform", 4, 1.5),
        ("juggernautXL_v9Rdphoto2Lightning", "Euler", "SGM Uniform", 6, 1.5),
        ("Hyper-SDXL-8steps", "Euler", "SGM Uniform", 8, 1.0),
        ("LCM_Dreamshaper_v7_4k", "LCM", "Automatic", 6, 1.5),
        ("sd_xl_turbo_1.0_fp16", "Euler a", "Automatic", 6, 1.5),
    ],
)
def test_values_that_suit_it_follow_its_kind_and_the_steps_that_its_name_says(
    name: str, sampler: str, schedule: str, steps: int, cfg_scale: float
) -> None:
    assert suggestion(name) == Suggestion(sampler, schedule, steps, cfg_scale)
    assert SAMPLERS.get(sampler).name == sampler and SCHEDULES.get(schedule).label == schedule
    assert advice(name, SamplingPlan(sampler=sampler, schedule=schedule, steps=steps, cfg_scale=cfg_scale)) is None


def test_nothing_is_suggested_for_other_checkpoints() -> None:
    assert suggestion("v1-5-pruned-emaonly") is None and suggestion("12steps_4step") is None
