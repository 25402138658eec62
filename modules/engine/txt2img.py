"""The first pass of a picture made from text alone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from torch import Tensor

from modules.engine import latents as latent
from modules.engine.hires import enlarge_and_refine
from modules.engine.passes import PassPlan, from_noise
from modules.engine.stages import StageContext
from modules.generation.events import Event
from modules.models.loaded import LoadedModel

if TYPE_CHECKING:
    from modules.engine.job import Job


def from_text(
    job: Job, held: ExitStack, model: LoadedModel, context: StageContext
) -> Generator[Event, None, tuple[Tensor, LoadedModel]]:
    """Latents (B, C, h, w) of a batch, hires pass included, and the model that made the last of them.

    Models opened on the way stay open as long as `held`.
    """
    plan = job.plan
    latents: Tensor | None = None
    if plan.hires is None or plan.hires.first_pass_image is None:
        passing = PassPlan.of(plan.sampling, plan.options)
        conditioning = yield from job.condition(model, passing, context, hires=False)
        shape = latent.shape_for(model, plan.size)
        channels = latent.image_channels_from_text(model, plan.size, shape, len(context.images))
        guidance = job.guidance(held, model, passing, conditioning, context, channels=channels, hires=False)
        noise = job.noise(model, context.images, shape)
        start = noise.next()
        running = from_noise(passing, guidance, start, noise, context.facts, is_sdxl=model.family == "sdxl")
        latents = yield from job.drive(running, guidance, passing, context, start=start)
        model = guidance.model
    if plan.hires is None or job.stopped is not None:
        return latents, model
    return (yield from enlarge_and_refine(job, held, model, context, latents))
