"""A1111's rules about passes that only some settings bring out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageChops

from modules.engine import job
from modules.engine.engine import Engine
from modules.generation.events import Event, JobDone
from modules.generation.plan import ModelRef, Plan
from modules.images.data import ImageData
from modules.jobs.control import ControlBox
from modules.models.manager import ModelManager
from modules.sampling import prediction
from modules.sampling.noise import ImageNoise
from tests.unit.engine.conftest import IN_FLOAT32, pictures

Planned = Callable[..., Plan]
Run = Callable[..., list[Event]]
HIRES = {"upscaler": "Latent", "scale": 1.5, "denoising_strength": 0.6}


def infotext(events: list[Event]) -> str:
    done = events[-1]
    assert isinstance(done, JobDone)
    return done.infotexts[0]


@pytest.mark.parametrize("shared", [False, True])
def test_brownian_paths_span_the_schedule_and_a_shared_one_only_what_img2img_runs(
    planned: Planned, run: Run, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    limits: list[tuple[float, float]] = []
    real = ImageNoise.brownian

    def spy(noise: ImageNoise, sigma_min: float, sigma_max: float) -> Any:
        limits.append((sigma_min, sigma_max))
        return real(noise, sigma_min, sigma_max)

    monkeypatch.setattr(ImageNoise, "brownian", spy)
    picture = ImageData.from_image(Image.new("RGB", (64, 64), "teal"))
    run(
        planned(
            settings={"no_dpmpp_sde_batch_determinism": shared},
            sampling={"sampler": "DPM++ 2M SDE", "steps": 4},
            source={"images": [picture], "denoising_strength": 0.5},
        )
    )
    ((low, high),) = limits
    assert low == pytest.approx(0.0292, abs=1e-3)
    assert (high < 10) if shared else (high == pytest.approx(14.61, abs=0.01))


@pytest.mark.parametrize("family, read_as", [("sd1", "v"), ("sd2", "epsilon")])
def test_lcm_takes_what_an_sd2_v_model_says_for_noise(
    planned: Planned, tiny: ModelRef, monkeypatch: pytest.MonkeyPatch, family: str, read_as: str
) -> None:
    # A1111's LCM denoiser knows no v; SD 2 is the only family with v models that A1111 has.
    kinds: set[str] = set()
    real = prediction.denoise

    def spy(kind: str, *args: Any) -> Any:
        kinds.add(kind)
        return real(kind, *args)

    monkeypatch.setattr(prediction, "denoise", spy)
    engine = Engine(ModelManager(IN_FLOAT32))
    with engine.manager.use(tiny) as model:
        model.family, model.prediction = family, "v"
    list(engine.generate(planned(sampling={"sampler": "LCM", "steps": 2}), ControlBox()))
    assert kinds == {read_as}


def test_old_timelines_are_told_when_only_the_hires_prompt_reads_otherwise(planned: Planned, run: Run) -> None:
    settings = {"use_old_scheduling": True}
    plain = run(planned(settings=settings, hires=HIRES))
    edited = run(planned(settings=settings, hires={**HIRES, "prompt": "a [cat:dog:0.5]"}))
    assert "Old prompt editing timelines" not in infotext(plain)
    assert "Old prompt editing timelines: True" in infotext(edited)


def test_old_timelines_count_the_calls_of_second_order_samplers(planned: Planned, run: Run) -> None:
    # The switch after step 4 lies beyond the 3 steps but within the 6 calls, where both rules read it alike.
    told = infotext(
        run(planned(settings={"use_old_scheduling": True}, prompt="[a:b:1.5]", sampling={"sampler": "Heun"}))
    )
    alike = infotext(
        run(planned(settings={"use_old_scheduling": True}, prompt="[a:b:4]", sampling={"sampler": "Heun"}))
    )
    assert "Old prompt editing timelines: True" in told and "Old prompt" not in alike


def test_emphasis_of_the_hires_prompt_alone_is_not_told(planned: Planned, run: Run) -> None:
    text = infotext(run(planned(settings={"emphasis": "No norm"}, hires={**HIRES, "prompt": "a (cat:1.2)"})))
    assert "Emphasis" not in text


@pytest.mark.parametrize("early", [False, True])
def test_hires_prompts_can_be_encoded_under_the_first_passs_networks(
    planned: Planned, run: Run, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    under: dict[bool, tuple[str, ...]] = {}
    real = job.encode

    def spy(*args: Any, hires: bool, asked: Any, **others: Any) -> Any:
        under[hires] = tuple(asked.notices)
        return real(*args, hires=hires, asked=asked, **others)

    monkeypatch.setattr(job, "encode", spy)
    run(
        planned(
            settings={"hires_fix_use_firstpass_conds": early},
            prompt="a cat <lora:one:1>",
            hires={**HIRES, "prompt": "a dog <lora:two:1>"},
        )
    )
    assert under == {False: ("Lora not found: one",), True: (f"Lora not found: {'one' if early else 'two'}",)}


def test_a_refiner_takes_over_from_the_hires_checkpoint_even_if_it_made_the_first_pass(
    planned: Planned, run: Run
) -> None:
    hires = {**HIRES, "checkpoint": "other", "denoising_strength": 1.0}
    without = run(planned(hires=hires))
    refined = run(planned(hires=hires, refiner={"checkpoint": "tiny", "switch_at": 0.3}))
    assert "Refiner: tiny" in infotext(refined)
    difference = ImageChops.difference(pictures(without)[0], pictures(refined)[0])
    assert max(high for _, high in difference.getextrema()) > 4


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_an_inpainting_model_can_refine_what_an_ordinary_one_began(planned: Planned, run: Run, sampler: str) -> None:
    refined = planned(sampling={"sampler": sampler, "steps": 4}, refiner={"checkpoint": "inpaint", "switch_at": 0.3})
    assert "Refiner: inpaint" in infotext(run(refined))


def test_hypertile_is_told_where_it_is_on_with_what_is_not_at_its_default(planned: Planned, run: Run) -> None:
    tiles = {"hypertile_enable_unet": True, "hypertile_max_tile_unet": 16, "hypertile_enable_vae": True}
    events = run(planned(size={"width": 64, "height": 64}, settings=tiles))
    told = events[-1].infotexts[0]
    assert "Hypertile U-Net: True, Hypertile U-Net max tile size: 16, Hypertile VAE: True" in told
    assert pictures(events)[0].tobytes() != pictures(run(planned()))[0].tobytes()


def test_hypertile_of_the_second_pass_leaves_the_first_as_it_is(planned: Planned, run: Run) -> None:
    second = {"hypertile_enable_unet_secondpass": True, "hypertile_max_tile_unet": 16}
    plain, tiled = (planned(settings=settings) for settings in ({}, second))
    assert pictures(run(tiled))[0].tobytes() == pictures(run(plain))[0].tobytes()
    assert "Hypertile" not in run(tiled)[-1].infotexts[0]
    hires = {"upscaler": "Latent", "scale": 2.0, "steps": 1}
    enlarged = run(planned(settings=second, hires=hires))
    assert "Hypertile U-Net second pass: True, Hypertile U-Net max tile size: 16" in enlarged[-1].infotexts[0]
    assert pictures(enlarged)[0].tobytes() != pictures(run(planned(hires=hires)))[0].tobytes()
