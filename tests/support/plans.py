"""Plans for tests that need one and do not care how it came about."""

from __future__ import annotations

from modules.generation.part import Size
from modules.generation.plan import ImagePlan, ModelRef, Plan, SamplingPlan


def small_plan(prompt: str = "a red apple", *, count: int = 1, batch_size: int = 1, steps: int = 4, **fields) -> Plan:
    """A txt2img plan of `count` pictures with the seeds 1, 2, 3 …"""
    images = tuple(
        ImagePlan(index=index, seed=index + 1, subseed=-1, prompt=prompt, negative_prompt="") for index in range(count)
    )
    values = {
        "model": ModelRef(path="small.safetensors", title="small", name="small", sha256="ab" * 32),
        "vae": None,
        "size": Size(width=16, height=8),
        "batch_size": batch_size,
        "images": images,
        "sampling": SamplingPlan(sampler="Euler", schedule="Automatic", steps=steps, cfg_scale=7.0),
        "main_prompt": prompt,
        "noise": {},
    }
    return Plan.model_validate({**values, **fields})
