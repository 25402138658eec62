"""img2img and inpainting: sampling from a source picture's latents (SDEdit, arXiv:2108.01073)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modules.engine import latents as latent
from modules.engine import pictures
from modules.engine.guidance import Masking
from modules.engine.inpaint import Inpainting, PreparedSource, prepare
from modules.engine.passes import PassPlan, from_latents
from modules.engine.stages import SearchStart, StageContext
from modules.generation.events import Event, Notice
from modules.generation.request import MaskedContent, ResizeMode
from modules.models.loaded import LoadedModel
from modules.sampling.noise import ImageNoise
from modules.sampling.schedules import AUTOMATIC, sigmas_for

if TYPE_CHECKING:
    from modules.engine.job import Job


@dataclass(frozen=True)
class EncodedSource:
    """A job's source, prepared and encoded once for all its batches: `latents` hold one picture or a batch.

    `depth` (B, 1, h, w) and `vector` (B, D) are what depth and unCLIP models are told besides.
    """

    prepared: PreparedSource
    latents: Tensor
    depth: Tensor | None = None
    vector: Tensor | None = None


def encode_source(job: Job, model: LoadedModel) -> Generator[Event, None, EncodedSource]:
    """Bring the plan's source to size and encode it."""
    plan, source = job.plan, job.plan.source
    upscaler = job.pixel_upscaler(source.upscaler) if source.upscaler else None
    prepared = prepare(plan, round_mask=job.stages.rounds_mask, upscaler=upscaler)
    job.facts.entries.update(prepared.facts)
    if job.before is None:  # a job that goes on has told these
        yield from (Notice(message=notice) for notice in prepared.notices)
        yield from job.finisher.init_images()
    latents = latent.encode(model, prepared.pixels())
    if source.resize_mode is ResizeMode.LATENT:
        _, height, width = latent.shape_for(model, plan.size)
        latents = torch.nn.functional.interpolate(latents, size=(height, width), mode="bilinear")
    depth = pictures.depth_channel(job, model, prepared, *latents.shape[-2:])
    vector = yield from pictures.unclip_vector(job, model, prepared)
    return EncodedSource(prepared, latents, depth, vector)


def from_source(
    job: Job, held: ExitStack, model: LoadedModel, context: StageContext, encoded: EncodedSource
) -> Generator[Event, None, tuple[Tensor, LoadedModel]]:
    """Latents (B, C, h, w) of a batch, and the model that made the last of them."""
    plan, source, mask = job.plan, job.plan.source, encoded.prepared.mask
    count = len(context.images)
    latents = for_batch(encoded.latents, count)
    masking = None
    if mask is not None:
        repaint = mask.at_latent_size(*latents.shape[-2:]).to(latents)
        latents = with_masked_content(job, model, mask.content, latents, repaint)
        masking = Masking(keep=1.0 - repaint, repaint=repaint, source=latents)
        context.inpainting = Inpainting(repaint=repaint, source=encoded.prepared)
    context.init_latents = latents
    channels = latent.image_channels_from_pixels(
        model,
        encoded.prepared.pixels() * 2 - 1,
        latents,
        mask=mask,
        mask_weight=plan.options.inpainting_mask_weight,
        depth=encoded.depth,
    )
    if job.search is not None and job.found_noise is None:
        job.found_noise = yield from found_noise(job, held, model, context, encoded.latents, channels)
        if job.stopped is not None:
            return latents, model
    channels = None if channels is None else for_batch(channels, count)
    passing = PassPlan.of(plan.sampling, plan.options, strength=source.denoising_strength)
    conditioning = yield from job.condition(model, passing, context, hires=False)
    guidance = job.guidance(
        held, model, passing, conditioning, context, channels=channels, masking=masking, hires=False
    )
    guidance.picture = None if encoded.vector is None else for_batch(encoded.vector, count)
    noise = job.noise(model, context.images, latent.shape_for(model, plan.size))
    start = noise.next()
    if job.search is not None:
        found = for_batch(job.found_noise, count)
        start = job.search.starting(found, start, latents, guidance.levels.sigmas[-1].item())
    elif source.initial_noise_multiplier != 1.0:
        context.facts["Noise multiplier"] = source.initial_noise_multiplier
        start = start * source.initial_noise_multiplier
    running = from_latents(passing, guidance, latents, start, noise, context.facts, is_sdxl=model.family == "sdxl")
    sampled = yield from job.drive(running, guidance, passing, context, start=latents)
    if masking is not None and not job.stages.blends_latents:
        sampled = masking.blend(sampled)
    return sampled, guidance.model


def found_noise(
    job: Job, held: ExitStack, model: LoadedModel, context: StageContext, latents: Tensor, channels: Tensor | None
) -> Generator[Event, None, Tensor | None]:
    """What the job's search finds for the source's latents; None when it is stopped on the way."""
    plan, search = job.plan, job.search
    texts = {"prompt": search.prompt, "negative_prompt": search.negative_prompt}
    images = tuple(image.model_copy(update=texts) for image in plan.images[: len(latents)])
    searching = replace(context, images=images, pass_name="search", scratch={})
    # The levels are the model's own, whatever schedule the picture is sampled with (A1111).
    sampling = plan.sampling.model_copy(
        update={"sampler": "Euler", "schedule": AUTOMATIC, "steps": search.steps, "cfg_scale": search.cfg_scale}
    )
    passing = PassPlan.of(sampling, plan.options)
    conditioning = yield from job.condition(model, passing, searching, hires=False)
    guidance = job.guidance(held, model, passing, conditioning, searching, channels=channels, hires=False)
    guidance.switch = None  # the refiner has no part in the way back
    sigmas = sigmas_for(AUTOMATIC, search.steps, guidance.levels)
    start = SearchStart(denoiser=guidance.denoise, latents=latents, sigmas=sigmas)
    found = yield from job.drive(search.run(start), guidance, passing, searching, start=latents)
    return None if job.stopped is not None else found


def with_masked_content(
    job: Job, model: LoadedModel, content: MaskedContent, latents: Tensor, repaint: Tensor
) -> Tensor:
    """Latents with the masked area emptied or filled with noise, as the plan asks."""
    if content is MaskedContent.LATENT_NOISE:
        # The same noise for every batch of a job: that of the job's first seeds, without variation (A1111).
        seeds = [image.seed for image in job.plan.images[: len(latents)]]
        filling = ImageNoise(latents.shape[1:], seeds, device=model.device, source=job.plan.options.randn_source)
        return latents * (1.0 - repaint) + filling.next().to(latents) * repaint
    if content is MaskedContent.LATENT_NOTHING:
        return latents * (1.0 - repaint)
    return latents


def for_batch(values: Tensor, count: int) -> Tensor:
    """One picture's values for a whole batch, or the batch's own."""
    return values.repeat(count, *[1] * (values.ndim - 1)) if len(values) == 1 else values[:count]
