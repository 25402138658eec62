"""What the keys of infotext say: values from a plan and one of its pictures, None where a key is not to be written."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from typing import Any

from modules.generation.part import Size
from modules.generation.plan import ImagePlan, Plan, SamplingPlan
from modules.sampling.sampler import SAMPLERS, SamplerInfo
from modules.sampling.schedules import AUTOMATIC, SCHEDULES

Value = object
"""Anything whose `str()` is its text; None and "" are not written."""

_PLAIN_SCHEDULES = frozenset({AUTOMATIC, "Uniform"})


def is_saved(plan: Plan, key: str, default: bool) -> bool:
    """Whether a setting of the saving sections wants something written."""
    return bool(plan.saving.options.get(key, default))


def unless(value: Value, default: Value) -> Value:
    """`value` unless it is the default, which is not written."""
    return None if value == default else value


def option(key: str, default: Value) -> Callable[[Plan, ImagePlan], Value]:
    """A setting that is written when it is not at its default."""
    return lambda plan, image: unless(getattr(plan.options, key), default)


def option_value(key: str) -> Callable[[Plan, ImagePlan], Value]:
    """A setting as it stands."""
    return lambda plan, image: getattr(plan.options, key)


def denoising_strength(plan: Plan, image: ImagePlan) -> Value:
    if plan.hires is not None:
        return plan.hires.denoising_strength
    return plan.source.denoising_strength if plan.source is not None else None


def vae_hash(plan: Plan, image: ImagePlan) -> Value:
    if plan.vae is None or plan.vae.sha256 is None or not is_saved(plan, "add_vae_hash_to_info", True):
        return None
    return plan.vae.sha256[:10]


def vae_name(plan: Plan, image: ImagePlan) -> Value:
    named = plan.vae is not None and is_saved(plan, "add_vae_name_to_info", True)
    return os.path.basename(plan.vae.path) if named and plan.vae is not None else None


def _sampler(plan: Plan) -> SamplerInfo:
    return SAMPLERS.get(plan.sampling.sampler)


def eta(plan: Plan) -> Value:
    """The eta of the first pass for the samplers that take A1111's "Eta"."""
    asked = plan.sampling.eta
    return plan.options.eta_ancestral if asked is None else asked


def ensd(plan: Plan, image: ImagePlan) -> Value:
    if not _sampler(plan).reseeds or not eta(plan):
        return None
    return plan.options.eta_noise_seed_delta or None


def eta_written(plan: Plan, image: ImagePlan) -> Value:
    return unless(eta(plan), 1) if _sampler(plan).eta_setting == "eta_ancestral" else None


def eta_ddim(plan: Plan, image: ImagePlan) -> Value:
    if _sampler(plan).eta_setting != "eta_ddim":
        return None
    return unless(plan.options.eta_ddim if plan.sampling.eta is None else plan.sampling.eta, 0)


def token_merging(plan: Plan, image: ImagePlan) -> Value:
    return plan.token_merging_ratio() or None


def token_merging_hires(plan: Plan, image: ImagePlan) -> Value:
    return None if plan.hires is None else plan.token_merging_ratio(hires=True) or None


def mask_blur(plan: Plan, image: ImagePlan) -> Value:
    inpaint = plan.source.inpaint if plan.source is not None else None
    return inpaint.blur_x or None if inpaint is not None and inpaint.blur_x == inpaint.blur_y else None


def mask(write: Callable[[Any], Value]) -> Callable[[Plan, ImagePlan], Value]:
    """From the plan's inpainting part, None without one."""

    def value(plan: Plan, image: ImagePlan) -> Value:
        inpaint = plan.source.inpaint if plan.source is not None else None
        return None if inpaint is None else write(inpaint)

    return value


def hires(write: Callable[[Any, Plan], Value]) -> Callable[[Plan, ImagePlan], Value]:
    """From the plan's hires part, None without one."""
    return lambda plan, image: None if plan.hires is None else write(plan.hires, plan)


def hires_prompt(plan: Plan, image: ImagePlan) -> Value:
    own = plan.hires is not None and plan.hires.has_own_prompt
    return unless(image.hires_prompt, image.prompt) if own else None


def hires_negative_prompt(plan: Plan, image: ImagePlan) -> Value:
    own = plan.hires is not None and plan.hires.has_own_negative_prompt
    return unless(image.hires_negative_prompt, image.negative_prompt) if own else None


def hires_resize(plan: Plan, image: ImagePlan) -> Value:
    hires = plan.hires
    if hires is None or not (hires.resize_width or hires.resize_height):
        return None
    return Size(width=hires.resize_width, height=hires.resize_height)


def hires_upscale(plan: Plan, image: ImagePlan) -> Value:
    return plan.hires.scale if plan.hires is not None and hires_resize(plan, image) is None else None


def hires_schedule(plan: Plan, image: ImagePlan) -> Value:
    """The hires pass's schedule: chosen by name or by its sampler, and not the first pass's."""

    def chosen(sampling: SamplingPlan) -> str | None:
        return sampling.schedule if _uses_schedule(sampling) and sampling.schedule != AUTOMATIC else None

    return None if plan.hires is None else unless(chosen(plan.hires.sampling), chosen(plan.sampling))


def discards(plan: Plan, image: ImagePlan) -> Value:
    flagged = _sampler(plan).discards_penultimate
    return True if plan.options.always_discard_next_to_last_sigma and not flagged else None


def _uses_schedule(sampling: SamplingPlan) -> bool:
    return SAMPLERS.get(sampling.sampler).grid == "sigmas"


def schedules(plan: Plan) -> tuple[str, ...]:
    """The schedules of the passes whose sampler uses one."""
    passes = [plan.sampling, *((plan.hires.sampling,) if plan.hires is not None else ())]
    return tuple(one.schedule for one in passes if _uses_schedule(one))


def sigma_limit(key: str) -> Callable[[Plan, ImagePlan], Value]:
    def value(plan: Plan, image: ImagePlan) -> Value:
        uses = any(name not in _PLAIN_SCHEDULES for name in schedules(plan))
        return getattr(plan.options, key) or None if uses else None

    return value


def rho(plan: Plan, image: ImagePlan) -> Value:
    rho = plan.options.rho
    usual = (SCHEDULES.get(name).default_rho for name in schedules(plan))
    uses = any(default and rho != default for default in usual)
    return rho or None if uses else None


def beta(key: str) -> Callable[[Plan, ImagePlan], Value]:
    return lambda plan, image: getattr(plan.options, key) if "Beta" in schedules(plan) else None


def vae_encoder(plan: Plan, image: ImagePlan) -> Value:
    return unless(plan.options.sd_vae_encode_method, "Full") if plan.source is not None else None


def extra_noise(plan: Plan, image: ImagePlan) -> Value:
    used = plan.source is not None or plan.hires is not None
    return plan.options.img2img_extra_noise or None if used else None


def churn(key: str, default: float) -> Callable[[Plan, ImagePlan], Value]:
    """A setting of the samplers that take it. A request's own value acts unseen, as in A1111."""
    return lambda plan, image: unless(getattr(plan.options, key), default) if key in _sampler(plan).uses else None


def sgm_noise(plan: Plan, image: ImagePlan) -> Value:
    """True where start noise is scaled: in txt2img with samplers that count in sigmas."""
    used = plan.source is None and _uses_schedule(plan.sampling)
    return True if used and plan.options.sgm_noise_multiplier else None


def ngms(plan: Plan, image: ImagePlan) -> Value:
    return plan.sampling.s_min_uncond or plan.options.s_min_uncond or None


def refiner(write: Callable[[Any, Plan], Value]) -> Callable[[Plan, ImagePlan], Value]:
    return lambda plan, image: None if plan.refiner is None else write(plan.refiner, plan)
