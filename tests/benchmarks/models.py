"""The checkpoints that benchmarks run on: the shipped starter, and random ones of true size, made once and kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

from modules.generation.part import Size
from modules.generation.plan import ImagePlan, ModelRef, NoisePlan, Plan, SamplingPlan
from modules.settings.stable_diffusion import GenerationOptions
from tests.support import layouts
from tests.support.checkpoints import write_random

STARTER = Path(__file__).parents[2] / "models" / "Stable-diffusion" / "starter.safetensors"


def sd15_size() -> Path:
    """A random checkpoint of SD 1.5's size and layout (2.1 GB in fp16), kept in the temporary folder."""
    return _random("random-sd15", layouts.sd1())


def sdxl_size() -> Path:
    """A random checkpoint of SDXL's size and layout (6.9 GB in fp16), kept in the temporary folder."""
    return _random("random-sdxl", layouts.sdxl())


def _random(name: str, layout: layouts.Layout) -> Path:
    folder = Path(tempfile.gettempdir()) / "webui-benchmarks"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.safetensors"
    if not path.exists():
        write_random(path.with_suffix(".part"), layout).rename(path)
    return path


def reference(path: Path) -> ModelRef:
    return ModelRef(path=str(path), title=path.name, name=path.stem, sha256="0" * 64)


def plan_for(path: Path, *, side: int, steps: int, sampler: str = "Euler") -> Plan:
    """One picture of `side` × `side` pixels with guidance, as a person would ask for."""
    picture = ImagePlan(index=0, seed=1, subseed=1, prompt="a red apple on a table", negative_prompt="blurry")
    return Plan(
        model=reference(path),
        vae=None,
        size=Size(width=side, height=side),
        batch_size=1,
        images=(picture,),
        noise=NoisePlan(),
        sampling=SamplingPlan(sampler=sampler, schedule="Automatic", steps=steps, cfg_scale=7.0),
        options=GenerationOptions(),
    )
