"""Hires fix: what the first pass made is enlarged, as latents or as pixels, and worked over in a second pass."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from torch import Tensor

from modules.engine import latents as latent
from modules.engine.passes import PassPlan, from_latents
from modules.engine.stages import StageContext
from modules.generation.events import Event
from modules.generation.part import Size
from modules.images.resize import resize_image
from modules.models.loaded import LoadedModel
from modules.upscaling.latent import LATENT_MODES

if TYPE_CHECKING:
    from modules.engine.job import Job


def enlarge_and_refine(
    job: Job, held: ExitStack, first_model: LoadedModel, context: StageContext, latents: Tensor | None
) -> Generator[Event, None, tuple[Tensor, LoadedModel]]:
    """The second pass over the first pass's latents (None where a given picture stands for them).

    It is img2img with exactly the steps asked, and with random numbers that begin anew from the same seeds.
    """
    plan, hires = job.plan, job.plan.hires
    context.pass_name = "hires"
    latents, pixels = yield from _first_result(job, first_model, context, latents)
    ref = hires.model or plan.model
    model = first_model if ref == first_model.ref else (yield from job.open(held, ref, job.vae_for(ref)))
    context.model = model
    if hires.is_latent:
        latents, channels = _enlarged_latents(job, model, latents)
    else:
        latents, channels = _enlarged_pixels(job, model, pixels)
    latents = cropped(latents, hires.size)
    channels = None if channels is None else cropped(channels, hires.size)
    passing = PassPlan.of(hires.sampling, plan.options, strength=hires.denoising_strength, is_exact=True)
    conditioning = yield from job.condition(model, passing, context, hires=True)
    guidance = job.guidance(held, model, passing, conditioning, context, channels=channels, hires=True)
    noise = job.noise(model, context.images, tuple(latents.shape[1:]))
    is_sdxl = model.family == "sdxl"
    running = from_latents(passing, guidance, latents, noise.next(), noise, context.facts, is_sdxl=is_sdxl)
    latents = yield from job.drive(running, guidance, passing, context, start=latents)
    return latents, guidance.model


def _first_result(
    job: Job, model: LoadedModel, context: StageContext, latents: Tensor | None
) -> Generator[Event, None, tuple[Tensor | None, Tensor | None]]:
    """What the second pass starts from: latents, and pixels (B, 3, H, W) around -1…1 where they are needed."""
    hires = job.plan.hires
    if hires.first_pass_image is not None:
        given = latent.to_pixels([hires.first_pass_image.open().convert("RGB")])
        return (latent.encode(model, given) if hires.is_latent else None), given * 2 - 1
    pixels = None
    if not hires.is_latent or job.finisher.keeps_first_pass:
        pixels = latent.decode(model, latents)
        yield from job.finisher.before_hires(pixels, context)
    return latents, pixels


def _enlarged_latents(job: Job, model: LoadedModel, latents: Tensor) -> tuple[Tensor, Tensor | None]:
    """Interpolated latents and the image channels for them."""
    hires, weight = job.plan.hires, job.plan.options.inpainting_mask_weight
    latents = LATENT_MODES.get(hires.upscaler).upscale(
        latents, hires.upscaled.height // latent.LATENT_SCALE, hires.upscaled.width // latent.LATENT_SCALE
    )
    if model.variant == "inpainting" and weight < 1.0:
        shown = latent.decode(model, latents)
        return latents, latent.image_channels_from_pixels(model, shown, latents, mask_weight=weight)
    shape = (latents.shape[1], latents.shape[2], latents.shape[3])
    return latents, latent.image_channels_from_text(model, hires.upscaled, shape, len(latents))


def _enlarged_pixels(job: Job, model: LoadedModel, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Latents of upscaled pictures and the image channels for them."""
    hires, upscaler = job.plan.hires, job.pixel_upscaler(job.plan.hires.upscaler)
    width, height = hires.upscaled.width, hires.upscaled.height
    enlarged = [resize_image(latent.to_image(one), width, height, upscaler=upscaler) for one in pixels]
    scaled = latent.to_pixels(enlarged)
    latents = latent.encode(model, scaled)
    # A1111 hands the conditioning pixels in 0…1 here, where it hands -1…1 elsewhere.
    weight = job.plan.options.inpainting_mask_weight
    return latents, latent.image_channels_from_pixels(model, scaled, latents, mask_weight=weight)


def cropped(value: Tensor, size: Size) -> Tensor:
    """Latents without the surplus around the final size: half of it at the start, the larger half at the end."""
    height, width = value.shape[2:]
    rows, columns = height - size.height // latent.LATENT_SCALE, width - size.width // latent.LATENT_SCALE
    return value[:, :, rows // 2 : height - (rows + 1) // 2, columns // 2 : width - (columns + 1) // 2]
