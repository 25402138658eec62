"""Classifier-free guidance: one call of a sampler's denoiser, from texts and latents to the guided prediction.

Ho, Salimans 2022 (arXiv:2207.12598), with A1111's conventions: which text is used at which call, how calls are batched,
when the unconditional half is left out, and where masked latents are blended. Samplers see only a `Denoiser` (noise
levels) or a `NoisePredictor` (timesteps).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from modules.conditioning.batch import BatchConditioning
from modules.engine import latents as latent
from modules.engine.stages import StageContext, Stages
from modules.generation.part import Size
from modules.generation.plan import Plan
from modules.models.loaded import Conditioning, LoadedModel
from modules.sampling import prediction
from modules.sampling.prediction import ConsistencyLevels, NoiseLevels
from modules.settings.stable_diffusion import GenerationOptions


@dataclass(frozen=True)
class Masking:
    """Latents that stay: `keep` and `repaint` (1, h, w) add up to 1, `source` (B, C, h, w) is the clean picture."""

    keep: Tensor
    repaint: Tensor
    source: Tensor

    def blend(self, latents: Tensor) -> Tensor:
        return latents * self.repaint + self.source * self.keep


@dataclass(frozen=True)
class Switch:
    """The refiner: from a share of the noise levels (or calls) on, `load()` gives another model and its texts."""

    at: float
    by_calls: bool
    load: Callable[[], tuple[LoadedModel, BatchConditioning]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class GuidanceOptions:
    """The settings that guidance obeys; keys as A1111's settings."""

    cfg_scale: float
    image_cfg_scale: float | None = None
    skip_early_cond: float = 0.0
    s_min_uncond: float = 0.0
    s_min_uncond_all: bool = False
    batch_cond_uncond: bool = True

    @classmethod
    def of(
        cls, plan: Plan, options: GenerationOptions, *, cfg_scale: float, cfg_divisor: float = 1.0
    ) -> GuidanceOptions:
        asked = plan.sampling.s_min_uncond
        return cls(
            cfg_scale=cfg_scale / cfg_divisor,
            image_cfg_scale=plan.sampling.image_cfg_scale,
            skip_early_cond=options.skip_early_cond,
            s_min_uncond=options.s_min_uncond if asked is None else asked,
            s_min_uncond_all=options.s_min_uncond_all,
            batch_cond_uncond=options.batch_cond_uncond,
        )


class Guidance:
    """The guided network of one pass; counts its calls, because texts and some options depend on them.

    `total_calls` is what A1111 expects (executed steps, doubled for second-order samplers). `prompt_denoised` is the
    latest x0 of the positive prompt alone: the result of an interrupted job, and what `preview` shows unless asked for
    another.
    """

    def __init__(
        self,
        *,
        model: LoadedModel,
        levels: NoiseLevels,
        alphas_cumprod: Tensor,
        texts: BatchConditioning,
        options: GuidanceOptions,
        total_calls: int,
        context: StageContext,
        stages: Stages,
        concat: Tensor | None = None,
        masking: Masking | None = None,
        switch: Switch | None = None,
        levels_of: Callable[[LoadedModel], tuple[NoiseLevels, Tensor]] | None = None,
    ) -> None:
        self._use(model, levels, alphas_cumprod)
        self.texts, self.options, self.total_calls = texts, options, total_calls
        self.context, self.stages = context, stages
        self.concat, self.masking = concat, masking
        self.picture: Tensor | None = None  # (B, D): unCLIP's embedding of the source pictures
        self.switch, self.levels_of = switch, levels_of
        self.calls = 0
        self.prompt_denoised: Tensor | None = None
        self._shown: dict[str, Tensor] = {}  # the latest x0 by what a preview can show, beside the prompt's
        self.unconditional: Tensor | None = None
        self.padded: str | None = None

    def _use(self, model: LoadedModel, levels: NoiseLevels, alphas_cumprod: Tensor) -> None:
        self.model, self.levels, self.alphas_cumprod = model, levels, alphas_cumprod
        self._alphas = alphas_cumprod.to(model.device)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x0 for x (B, C, h, w) at levels sigma (B,): the `Denoiser` of samplers over noise levels."""
        if self.switch is not None:
            self._maybe_switch(self._share_of_levels(sigma), x)
        guided = self.stages.wrap_denoiser(self._guided_denoise, self.context)(x, sigma)
        if self.masking is not None:
            guided = self._blend(guided, sigma)
        self._shown = {"Combined": guided, "Negative prompt": self.unconditional}
        self.calls += 1
        return guided

    def preview(self, content: str) -> Tensor:
        """The latest x0 (B, C, h, w): "Combined" as guidance makes it, or of the "Prompt" or "Negative prompt" alone.

        Where there is no negative prompt's prediction (InstructPix2Pix), the prompt's.
        """
        shown = self._shown.get(content)
        return self.prompt_denoised if shown is None else shown

    def predict_noise(self, x: Tensor, timestep: Tensor) -> Tensor:
        """ε for x (B, C, h, w) at times (B,): the `NoisePredictor` of samplers over timesteps.

        With a mask, x is blended with the clean source first, not with a source noised to this level (A1111).
        """
        if self.switch is not None:
            self._maybe_switch((999 - int(timestep.max())) / 1000, x)
        if self.masking is not None:
            x = self._blend(x, timestep)
        if self.stages.stages:
            guided = self._predict_through_stages(x, timestep)
        else:
            guided = self._guided(x, timestep, self._noise_network)
        self.prompt_denoised = self._clean(x, self.prompt_denoised, timestep)
        noises = {"Combined": guided, "Negative prompt": self.unconditional}
        self._shown = {name: self._clean(x, noise, timestep) for name, noise in noises.items() if noise is not None}
        self.calls += 1
        return guided

    __call__ = predict_noise

    def note_padding(self) -> None:
        """Tell the infotext how prompts of unlike length were made equal, if they were."""
        if self.padded is not None:
            self.context.facts[self.padded] = True

    def _guided_denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._guided(x, sigma, self._clean_network)

    def _clean_network(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        """x0 of the plain network for a batch of any rows."""

        def network(scaled: Tensor, time: Tensor) -> Tensor:
            return self.model.predict(scaled, time, conditioning)

        kind = self.model.prediction
        if isinstance(self.levels, ConsistencyLevels) and self.model.family == "sd2":
            kind = "epsilon"  # A1111's LCM takes every answer for ε; the other families' v models are not known to it
        return prediction.denoise(kind, network, x, sigma, self.levels)

    def _noise_network(self, x: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """ε of the plain network for a batch of any rows."""

        def network(same: Tensor, time: Tensor) -> Tensor:
            return self.model.predict(same, time, conditioning)

        return prediction.predict_noise(self.model.prediction, network, x, timestep, self._alphas)

    def _guided(self, x: Tensor, level: Tensor, network: Callable[[Tensor, Tensor, Conditioning], Tensor]) -> Tensor:
        """The combined answer of all conditional and unconditional rows at a noise level or timestep (B,)."""
        text = self.texts.at(self.calls)
        is_edit = self._is_edit
        skips_uncond = self._skips_uncond(level, is_edit=is_edit)
        self.padded = text.padded
        # which picture each conditional row belongs to; None where that is one row a picture, in order
        rows = None
        if any(len(parts) != 1 for parts in text.parts):
            rows = [picture for picture, parts in enumerate(text.parts) for _ in parts]
        cond = self._with_image(text.positive, rows)
        uncond = self._with_image(text.negative, None, is_negative=True)
        groups = [(x, level, cond) if rows is None else (x[rows], level[rows], cond)]
        if is_edit:
            groups.append((x, level, uncond))
            groups.append((x, level, replace(uncond, concat=torch.zeros_like(uncond.concat))))
        elif not skips_uncond:
            groups.append((x, level, uncond))
        answers = self._answers(groups, network, batch=len(x))
        self.prompt_denoised = answers[0] if rows is None else answers[0][[parts[0][0] for parts in text.parts]]
        if is_edit:
            return self._combine_edit(*answers)
        base = self.prompt_denoised if skips_uncond else answers[1]
        self.unconditional = base
        scale = 1.0 if skips_uncond else self.options.cfg_scale
        return combine(answers[0], base, text.parts, scale)

    def _answers(
        self,
        groups: list[tuple[Tensor, Tensor, Conditioning]],
        network: Callable[[Tensor, Tensor, Conditioning], Tensor],
        *,
        batch: int,
    ) -> list[Tensor]:
        """Each group's answer, in as few calls of the network as lengths and settings allow."""
        fits = len({group[2].crossattn.shape[1] for group in groups}) == 1
        if fits and self.options.batch_cond_uncond:
            joined = network(
                torch.cat([x for x, _, _ in groups]),
                torch.cat([level for _, level, _ in groups]),
                joined_conditioning([conditioning for _, _, conditioning in groups]),
            )
            return list(joined.split([len(x) for x, _, _ in groups]))
        size = batch * 2 if self.options.batch_cond_uncond else batch
        return [
            torch.cat(
                [
                    network(x[start : start + size], level[start : start + size], conditioning.rows(start, size))
                    for start in range(0, len(x), size)
                ]
            )
            for x, level, conditioning in groups
        ]

    @property
    def _is_edit(self) -> bool:
        """InstructPix2Pix guidance with an image scale of its own."""
        return self.model.variant == "pix2pix" and self.options.image_cfg_scale not in (None, 1.0)

    def _skips_uncond(self, level: Tensor, *, is_edit: bool) -> bool:
        """Whether this call leaves the negative prompt out, for one of A1111's two reasons.

        On the timestep grid `level` is the timestep, so that thresholds meant for noise levels do nothing there.
        """
        options, facts = self.options, self.context.facts
        if options.skip_early_cond != 0 and self.calls / self.total_calls <= options.skip_early_cond:
            facts["Skip Early CFG"] = options.skip_early_cond
            return True
        if (
            (self.calls % 2 or options.s_min_uncond_all)
            and options.s_min_uncond > 0
            and float(level[0]) < options.s_min_uncond
            and not is_edit
        ):
            facts["NGMS"] = options.s_min_uncond
            if options.s_min_uncond_all:
                facts["NGMS all steps"] = True
            return True
        return False

    def _with_image(
        self, conditioning: Conditioning, rows: list[int] | None, *, is_negative: bool = False
    ) -> Conditioning:
        """Text conditioning with what is told of its pictures, and whatever stages make of it.

        The negative prompt is told nothing of the embedding of a picture (A1111, diffusers).
        """
        if self.picture is not None and self.model.variant == "unclip":
            vector = self.picture if rows is None else self.picture[rows]
            conditioning = replace(conditioning, vector=torch.zeros_like(vector) if is_negative else vector)
        takes_image = self.model.in_channels > self.model.latent_channels  # a refiner may not
        if self.concat is not None and takes_image:
            conditioning = replace(conditioning, concat=self.concat if rows is None else self.concat[rows])
        return self.stages.on_conditioning(conditioning, self.context)

    def _combine_edit(self, cond: Tensor, image: Tensor, empty: Tensor) -> Tensor:
        """Brooks et al. 2023 (arXiv:2211.09800), equation 3."""
        scale, image_scale = self.options.cfg_scale, self.options.image_cfg_scale
        return empty + scale * (cond - image) + image_scale * (image - empty)

    def _blend(self, latents: Tensor, level: Tensor) -> Tensor:
        blended = self.stages.blend(latents, level, self.context)
        return self.masking.blend(latents) if blended is None else blended

    def _predict_through_stages(self, x: Tensor, timestep: Tensor) -> Tensor:
        """ε for stages that wrap a denoiser: told x and x0 in the variance-exploding form, as with noise levels."""
        alpha = self._alpha(timestep)
        sigma = ((1 - alpha) / alpha) ** 0.5
        wide = sigma.reshape(-1, 1, 1, 1)

        def denoiser(scaled: Tensor, level: Tensor) -> Tensor:
            return scaled - wide * self._guided(
                scaled * alpha.reshape(-1, 1, 1, 1).sqrt(), timestep, self._noise_network
            )

        wrapped = self.stages.wrap_denoiser(denoiser, self.context)
        if wrapped is denoiser:
            return self._guided(x, timestep, self._noise_network)
        scaled = x / alpha.reshape(-1, 1, 1, 1).sqrt()
        return (scaled - wrapped(scaled, sigma)) / wide

    def _alpha(self, timestep: Tensor) -> Tensor:
        return self._alphas[timestep.long()]

    def _clean(self, x: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """x0 from ε."""
        alpha = self._alpha(timestep).reshape(-1, 1, 1, 1)
        return (x - (1 - alpha).sqrt() * noise) / alpha.sqrt()

    def _share_of_levels(self, sigma: Tensor) -> float:
        """How far down the model's levels this is, 0 … 0.999: what the refiner's "switch at" is compared with."""
        sigmas = self.levels.sigmas
        nearest = int((sigmas - sigma.max().to(sigmas)).abs().argmin())
        return (999 - nearest) / 1000

    def _maybe_switch(self, share: float, x: Tensor) -> None:
        """Hand over to the refiner once its share is reached; it stays for the rest of the pass.

        One that wants a picture where there is none so far is told, as in txt2img, that all of it is hidden.
        """
        switch = self.switch
        if switch.by_calls:
            share = self.calls / self.total_calls
        if share < switch.at:
            return
        self.context.facts.update(switch.facts)
        model, self.texts = switch.load()
        self._use(model, *self.levels_of(model))
        self.context.model = model
        if self.concat is None and model.in_channels > model.latent_channels:
            size = Size(width=x.shape[3] * latent.LATENT_SCALE, height=x.shape[2] * latent.LATENT_SCALE)
            self.concat = latent.image_channels_from_text(model, size, tuple(x.shape[1:]), len(x))
        self.switch = None


def combine(cond: Tensor, uncond: Tensor, parts: tuple[tuple[tuple[int, float], ...], ...], scale: float) -> Tensor:
    """u + Σ w_i · scale · (c_i − u) for every picture; Liu et al. 2022 (arXiv:2206.01714) for more than one part."""
    result = uncond.clone()
    for index, rows in enumerate(parts):
        for row, weight in rows:
            result[index] += (cond[row] - uncond[index]) * (weight * scale)
    return result


def joined_conditioning(parts: list[Conditioning]) -> Conditioning:
    """Several conditionings of one length as one batch."""

    def join(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    return Conditioning(crossattn=join("crossattn"), vector=join("vector"), concat=join("concat"))
