"""One run of a sampler over a batch: from noise (txt2img) or from latents (img2img, hires fix).

Here settings and a plan's sampling become what a sampler is handed: levels or times, start latents, options. What is
worth telling in an infotext goes into `facts` in the order A1111 writes it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modules.engine.guidance import Guidance
from modules.generation.plan import SamplingPlan
from modules.models.loaded import LoadedModel
from modules.sampling import prediction
from modules.sampling.flow import steps_of
from modules.sampling.grid import Img2ImgSteps, img2img_steps, path_limits, tail_start, timestep_grid
from modules.sampling.prediction import ConsistencyLevels, DiscreteLevels, FlowLevels, NoiseLevels
from modules.sampling.sampler import (
    SAMPLERS,
    Noise,
    SamplerInfo,
    SamplerOptions,
    SigmaRun,
    Span,
    Step,
    TimestepRun,
)
from modules.sampling.schedules import AUTOMATIC, OLD_KARRAS_LIMITS, SCHEDULES, ScheduleOptions, sigmas_for
from modules.settings.stable_diffusion import GenerationOptions

Facts = dict[str, Any]  # infotext prints any simple value


@dataclass(frozen=True)
class PassPlan:
    """One pass of a sampler over one batch, before it runs.

    `strength` None starts from noise; else it is the denoising strength, and `is_exact` says that the asked number of
    steps is run rather than a share of them.
    """

    info: SamplerInfo
    sampling: SamplingPlan
    options: GenerationOptions
    strength: float | None = None
    is_exact: bool = False

    @classmethod
    def of(
        cls,
        sampling: SamplingPlan,
        options: GenerationOptions,
        *,
        strength: float | None = None,
        is_exact: bool = False,
    ) -> PassPlan:
        is_exact = is_exact or options.img2img_fix_steps
        return cls(SAMPLERS.get(sampling.sampler), sampling, options, strength, is_exact)

    @property
    def schedule_steps(self) -> Img2ImgSteps:
        return img2img_steps(self.sampling.steps, self.strength, is_exact=self.is_exact)

    @property
    def steps(self) -> int:
        """Sampler steps expected, for progress and for rules that count steps."""
        if self.strength is None:
            return self.sampling.steps
        steps = self.schedule_steps
        return steps.encoded + 1 if steps.schedule else 0

    @property
    def prompt_steps(self) -> int:
        """Model calls that prompt schedules are made for: all asked steps, even where img2img runs fewer."""
        return self.sampling.steps * self.info.calls_per_step

    @property
    def calls(self) -> int:
        """Model calls expected."""
        return self.steps * self.info.calls_per_step

    def levels(self, model: LoadedModel, facts: Facts) -> tuple[NoiseLevels, Tensor]:
        """The levels and cumulative alphas of a model under this job's settings."""
        options = self.options
        if model.prediction == "flow":
            return FlowLevels.from_shift(model.flow_shift), model.alphas_cumprod
        downcast = options.use_downcasted_alpha_bar
        zero_snr = options.sd_noise_schedule == "Zero Terminal SNR"
        if downcast:
            facts["Downcast alphas_cumprod"] = True
        if zero_snr:
            facts["Noise Schedule"] = options.sd_noise_schedule
        alphas = prediction.with_options(model.alphas_cumprod, downcast=downcast, zero_terminal_snr=zero_snr)
        return self.levels_from(alphas), alphas

    def levels_from(self, alphas: Tensor) -> NoiseLevels:
        """Levels of given cumulative alphas."""
        if self.info.uses_consistency_levels:
            return ConsistencyLevels.from_alphas(alphas)
        return DiscreteLevels.from_alphas(alphas, quantized=self.options.enable_quantization)


Running = Generator[Step, None, Tensor]


def from_noise(
    plan: PassPlan, guidance: Guidance, noise: Tensor, source: Noise, facts: Facts, *, is_sdxl: bool = False
) -> Running:
    """Sample from pure noise (B, C, h, w) of unit variance; yields the sampler's steps, returns the latents."""
    if plan.info.grid == "timesteps":
        times = timesteps(plan.info, plan.sampling.steps, plan.options, facts)
        options = sampler_options(plan.info, plan.sampling, plan.options, facts)
        return (
            yield from plan.info.sample(
                TimestepRun(
                    predictor=guidance,
                    x=noise,
                    timesteps=times,
                    alphas_cumprod=guidance.alphas_cumprod,
                    noise=source,
                    options=options,
                )
            )
        )
    sigmas = schedule_sigmas(
        plan.info, plan.sampling, plan.sampling.steps, guidance.levels, plan.options, facts, is_sdxl
    )
    levels = guidance.levels
    if plan.options.sgm_noise_multiplier and levels.process == "exploding":
        facts["SGM noise multiplier"] = True
        x = noise * torch.sqrt(1.0 + sigmas[0] ** 2.0).to(noise)
    else:
        x = noise * sigmas[0].to(noise)
    model_sigmas = levels.sigmas
    span = Span(sigma_max=model_sigmas[-1].item(), sigma_min=model_sigmas[0].item(), steps=plan.sampling.steps)
    return (yield from _over_sigmas(plan, guidance, x, sigmas, sigmas, source, facts, span=span))


def from_latents(
    plan: PassPlan,
    guidance: Guidance,
    latents: Tensor,
    noise: Tensor,
    source: Noise,
    facts: Facts,
    *,
    is_sdxl: bool = False,
) -> Running:
    """Sample from latents (B, C, h, w) with noise added up to the level the denoising strength says (SDEdit)."""
    steps = plan.schedule_steps
    if steps.schedule == 0:
        return latents
    extra = plan.options.img2img_extra_noise
    if plan.info.grid == "timesteps":
        times = timesteps(plan.info, steps.schedule, plan.options, facts)
        alphas = guidance.alphas_cumprod
        alpha = alphas[times[steps.encoded]]
        share = alpha.sqrt().to(latents)
        x = latents * share + noise * (1 - alpha).sqrt().to(latents)
        if extra > 0:
            facts["Extra noise"] = extra
            x = x + noise * extra * share
        options = sampler_options(plan.info, plan.sampling, plan.options, facts)
        if steps.encoded == 0:  # too few steps for this strength: no time to run, x keeps the trace of noise (A1111)
            return x
        return (
            yield from plan.info.sample(
                TimestepRun(
                    predictor=guidance,
                    x=x,
                    timesteps=times[: steps.encoded],
                    alphas_cumprod=alphas,
                    noise=source,
                    options=options,
                    is_img2img=True,
                )
            )
        )
    sigmas = schedule_sigmas(plan.info, plan.sampling, steps.schedule, guidance.levels, plan.options, facts, is_sdxl)
    tail = sigmas[tail_start(steps) :]
    x = guidance.levels.noised(latents, noise, tail[0].to(latents))
    if extra > 0:
        facts["Extra noise"] = extra
        x = x + noise * extra
    return (yield from _over_sigmas(plan, guidance, x, tail, sigmas, source, facts, span=None))


def _over_sigmas(
    plan: PassPlan,
    guidance: Guidance,
    x: Tensor,
    sigmas: Tensor,
    whole: Tensor,
    source: Noise,
    facts: Facts,
    *,
    span: Span | None,
) -> Running:
    # A path that a batch shares is A1111's old one, made for the levels that are run; others span the whole schedule.
    lowest, highest = path_limits(sigmas if plan.options.no_dpmpp_sde_batch_determinism else whole)
    run = SigmaRun(
        denoiser=guidance.denoise,
        x=x,
        sigmas=sigmas,
        noise=source,
        options=sampler_options(plan.info, plan.sampling, plan.options, facts),
        sigma_min=lowest,
        sigma_max=highest,
        span=span,
        process=guidance.levels.process,
    )
    return (yield from steps_of(plan.info, run))


def schedule_sigmas(
    info: SamplerInfo,
    sampling: SamplingPlan,
    steps: int,
    levels: NoiseLevels,
    options: GenerationOptions,
    facts: Facts,
    is_sdxl: bool,
) -> Tensor:
    """The noise levels of a run of `steps`, with whatever the settings change about them."""
    discards = info.discards_penultimate or _always_discards(info, options, facts)
    if sampling.schedule != AUTOMATIC:
        schedule = SCHEDULES.get(sampling.schedule)
        limits = levels.sigmas[0].item(), levels.sigmas[-1].item()
        if options.use_old_karras_scheduler_sigmas:
            limits = OLD_KARRAS_LIMITS
        if options.sigma_min not in (0, limits[0]):
            facts["Schedule min sigma"] = options.sigma_min
        if options.sigma_max not in (0, limits[1]):
            facts["Schedule max sigma"] = options.sigma_max
        if schedule.default_rho and options.rho not in (0, schedule.default_rho):
            facts["Schedule rho"] = options.rho
        if schedule.label == "Beta":
            facts["Beta schedule alpha"] = options.beta_dist_alpha
            facts["Beta schedule beta"] = options.beta_dist_beta
    return sigmas_for(
        sampling.schedule,
        steps,
        levels,
        ScheduleOptions(
            sigma_min=options.sigma_min,
            sigma_max=options.sigma_max,
            rho=options.rho,
            beta_alpha=options.beta_dist_alpha,
            beta_beta=options.beta_dist_beta,
            old_karras_sigmas=options.use_old_karras_scheduler_sigmas,
            is_sdxl=is_sdxl,
        ),
        discard_penultimate=discards,
    )


def timesteps(info: SamplerInfo, steps: int, options: GenerationOptions, facts: Facts) -> tuple[int, ...]:
    """The discrete times of a run of `steps`."""
    discards = info.discards_penultimate or _always_discards(info, options, facts)
    return timestep_grid(steps + 1 if discards else steps)


def _always_discards(info: SamplerInfo, options: GenerationOptions, facts: Facts) -> bool:
    if options.always_discard_next_to_last_sigma and not info.discards_penultimate:
        facts["Discard penultimate sigma"] = True
        return True
    return False


def eta_of(info: SamplerInfo, sampling: SamplingPlan, options: GenerationOptions) -> float:
    """The eta in force: the request's, else the setting's for this kind of sampler."""
    if sampling.eta is not None:
        return sampling.eta
    return getattr(options, info.eta_setting) if info.eta_setting else 0.0


def sampler_options(
    info: SamplerInfo, sampling: SamplingPlan, options: GenerationOptions, facts: Facts
) -> SamplerOptions:
    """What a sampler is turned to.

    eta: request before setting. Churn: a setting that is not at its default wins over the request (A1111), and only
    then infotext tells it.
    """
    values: dict[str, Any] = {
        "uni_pc_variant": options.uni_pc_variant,
        "uni_pc_skip_type": options.uni_pc_skip_type,
        "uni_pc_order": options.uni_pc_order,
        "uni_pc_lower_order_final": options.uni_pc_lower_order_final,
    }
    if "eta" in info.uses:
        values["eta"] = eta_of(info, sampling, options)
        default, key = (0.0, "Eta DDIM") if info.eta_setting == "eta_ddim" else (1.0, "Eta")
        if values["eta"] != default:
            facts[key] = values["eta"]
    defaults = (("s_churn", 0.0, "Sigma churn"), ("s_tmin", 0.0, "Sigma tmin"), ("s_tmax", 0.0, "Sigma tmax"))
    for name, default, key in (*defaults, ("s_noise", 1.0, "Sigma noise")):
        if name not in info.uses:
            continue
        setting, asked = getattr(options, name), getattr(sampling, name)
        if setting != default:
            values[name] = setting
            facts[key] = setting
        elif asked is not None:
            values[name] = asked
    if values.get("s_tmax") == 0.0:
        values["s_tmax"] = float("inf")
    return SamplerOptions(**values)
