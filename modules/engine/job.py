"""One job from its first event to its last: its batches, and what every kind of pass needs.

What is particular to a kind is in `txt2img.py`, `img2img.py` and `hires.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modules.conditioning.batch import BatchConditioning
from modules.conditioning.embeddings import EmbeddingTable
from modules.engine import hypertile, previews
from modules.engine import latents as latent
from modules.engine.facts import JobFacts
from modules.engine.finishing import Finisher
from modules.engine.guidance import Guidance, GuidanceOptions, Masking, Switch
from modules.engine.hashing import JobHashes
from modules.engine.img2img import EncodedSource, encode_source, from_source
from modules.engine.networks import AppliedNetworks, wanted
from modules.engine.passes import PassPlan, Running
from modules.engine.soft_inpainting import SCRIPT_NAME, SoftInpainting, SoftInpaintingArgs
from modules.engine.stages import StageContext, Stages
from modules.engine.texts import encode, texts_of
from modules.engine.txt2img import from_text
from modules.generation.events import (
    Event,
    JobDone,
    JobPaused,
    JobStarted,
    ModelLoading,
    Notice,
    PassStarted,
    SoFar,
    StepDone,
    extra_parameters,
)
from modules.generation.plan import ImagePlan, ModelRef, Plan, VaeRef
from modules.images.data import ImageData
from modules.images.resize import Upscaler
from modules.infotext.write import grid_infotext
from modules.jobs.worker import Control, ControlSource
from modules.models.adapters.patch import AdapterReport
from modules.models.device import has_float8
from modules.models.loaded import LoadedModel
from modules.models.memory import begin_peak, peak_bytes
from modules.networks.hypertile import tiled_attention
from modules.networks.token_merging import merged_tokens
from modules.sampling.noise import ImageNoise

if TYPE_CHECKING:
    from modules.engine.engine import Engine

logger = logging.getLogger(__name__)


class Job:
    """The state of one running plan, and the tools its passes share.

    A job that was put down goes on from `before`, what it had come to then.
    `facts` grow as the job goes on. `stopped` is SKIP or INTERRUPT once the batch in hand was given up. `found_noise`
    is what a stage's `search` found in the source.
    """

    def __init__(self, engine: Engine, plan: Plan, control: ControlSource, before: SoFar | None = None) -> None:
        self.engine, self.plan, self.control, self.before = engine, plan, control, before
        self.hashes = JobHashes(plan, engine.hash_of)
        self.facts = JobFacts(plan, self.hashes)
        self.facts.entries.update(hypertile.facts(plan))
        self.stages = Stages((*_built_in_stages(plan, self.facts.entries), *engine.stages_for(plan)))
        self.finisher = Finisher(plan, plan.options, self.stages, self.facts.entries, engine.faces)
        self.networks = AppliedNetworks(engine.manager)
        self.upscalers = engine.upscalers_for(plan)
        self.stopped: Control | None = None
        self.search = self.stages.noise_search() if plan.source is not None else None
        self.found_noise: Tensor | None = None
        self._noticed: set[str] = set()
        self._tables: dict[tuple[str, tuple[int, ...]], EmbeddingTable] = {}
        self._steps_done = 0
        self._total_steps = _expected_steps(plan) + (self.search.steps if self.search is not None else 0)
        self.previews = previews.Previews(plan.previews)
        self._began = time.monotonic()
        if before is not None:
            self._resume(before)

    def run(self) -> Iterator[Event]:
        """Every event of the job, up to its end or to where it gives way."""
        plan = self.plan
        if self.engine.catalog is not None:
            self.engine.catalog.refresh()  # LoRAs and embeddings that came since the last job
        begin_peak(self.engine.manager.choice.device)
        if self.before is None:
            yield JobStarted(total_steps=self._total_steps, total_images=len(plan.images))
        first = self.before.batches if self.before is not None else 0
        gives_way_at = None
        with torch.no_grad(), ExitStack() as held:
            model = yield from self.open(held, plan.model, plan.vae)
            source = (yield from encode_source(self, model)) if plan.source is not None else None
            for index, images in enumerate(plan.batches[first:], start=first):
                wish = self.control.take()
                if wish in (Control.INTERRUPT, Control.STOP_AFTER_BATCH):
                    self.stopped = Control.INTERRUPT
                    break
                if wish is Control.GIVE_WAY and index > first:
                    gives_way_at = index
                    break
                yield from self._batch(model, index, images, source)
                if self.stopped is Control.INTERRUPT:
                    break
        if gives_way_at is not None:  # the networks are free for somebody else's job by now
            yield JobPaused(so_far=self._so_far(gives_way_at))
            return
        yield from self.finisher.grid(lambda: grid_infotext(plan, self.facts.entries))
        yield JobDone(
            interrupted=self.stopped is Control.INTERRUPT,
            infotexts=tuple(self.finisher.infotexts),
            extra_parameters=extra_parameters(self.facts.entries),
            networks=self.facts.networks,
            model_sha256=self.hashes.sha256(plan.model),
            elapsed_s=self._elapsed_s,
            peak_memory_bytes=self._peak_memory_bytes,
        )

    def _so_far(self, batches: int) -> SoFar:
        """All that the job must know to go on elsewhere, `batches` being done."""
        return SoFar(
            batches=batches,
            steps_done=self._steps_done,
            facts=self.facts.kept(),
            lora_hashes=self.facts.lora_hashes,
            infotexts=tuple(self.finisher.infotexts),
            networks=self.facts.networks,
            noticed=tuple(sorted(self._noticed)),
            samples=self.finisher.kept(),
            found_noise=None if self.found_noise is None else self.found_noise.float().tolist(),
            model_sha256=self.hashes.sha256(self.plan.model),
            elapsed_s=self._elapsed_s,
            peak_memory_bytes=self._peak_memory_bytes,
        )

    def _resume(self, before: SoFar) -> None:
        self.facts.resume(before.facts, before.lora_hashes, before.networks)
        self.finisher.resume(before.infotexts, before.samples)
        self._noticed.update(before.noticed)
        self._steps_done = before.steps_done
        if before.found_noise is not None:
            self.found_noise = torch.tensor(before.found_noise, device=self.engine.manager.choice.device)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began + (self.before.elapsed_s if self.before is not None else 0.0)

    @property
    def _peak_memory_bytes(self) -> int:
        now = peak_bytes(self.engine.manager.choice.device)
        return max(now, self.before.peak_memory_bytes if self.before is not None else 0)

    def _batch(
        self, model: LoadedModel, index: int, images: tuple[ImagePlan, ...], source: EncodedSource | None
    ) -> Iterator[Event]:
        """Sample, decode and finish one batch."""
        self.stopped = None
        context = StageContext(
            plan=self.plan,
            model=model,
            pass_name="txt2img" if source is None else "img2img",
            batch_index=index,
            images=images,
            facts=self.facts.entries,
            upscale=lambda image, name, factor: self.upscalers.find(name).upscale(image, factor),
            restore_faces=self.finisher.restore_faces,
        )
        with ExitStack() as held:
            if source is None:
                sampled, model = yield from from_text(self, held, model, context)
            else:
                sampled, model = yield from from_source(self, held, model, context, source)
            latents = self.stages.on_latents(sampled, context)
            latent.check_finite(latents, model)
            pixels = self._decoded(model, latents)
            yield from self._news(model)
        self.facts.note_files()
        was_cut_short = self.stopped in (Control.SKIP, Control.INTERRUPT)
        prepared = None if source is None else source.prepared
        yield from self.finisher.finish(pixels, context, prepared, was_cut_short=was_cut_short)

    def _decoded(self, model: LoadedModel, latents: Tensor) -> Tensor:
        """Pixels of the batch; of an interrupted one, if asked so, as previews are drawn."""
        wanted = self.plan.previews
        if self.stopped is Control.INTERRUPT and wanted.fast_interrupt:
            return previews.rough_pixels(latents, model, self.engine.manager.approximations, wanted)
        return latent.decode(model, latents)

    # What passes are made of

    def open(self, held: ExitStack, ref: ModelRef, vae: VaeRef | None) -> Generator[Event, None, LoadedModel]:
        """A model on the device for as long as `held` is open."""
        manager = self.engine.manager
        if not manager.is_loaded(ref, self.plan.options):
            yield ModelLoading(title=ref.title)
        model = held.enter_context(manager.use(ref, vae, self.plan.options))
        if not has_float8(model.device):
            self.facts.entries["FP8 weight"] = None
        held.callback(self.networks.release, model)
        held.enter_context(model.tiled() if self.plan.tiling else nullcontext())
        held.enter_context(tiled_attention(model.vae, hypertile.of_vae(self.plan), seed=self.plan.images[0].seed))
        return model

    def vae_for(self, ref: ModelRef) -> VaeRef | None:
        """The VAE for another checkpoint of the job: the one asked for by name, else its own."""
        if ref == self.plan.model or self.plan.options.sd_vae not in ("Automatic", "None"):
            return self.plan.vae
        return None

    def noise(self, model: LoadedModel, images: tuple[ImagePlan, ...], shape: tuple[int, ...]) -> ImageNoise:
        """The random numbers of one pass over latents of a shape (C, h, w)."""
        plan, options = self.plan, self.plan.options
        resize_from = plan.noise.resize_from
        return ImageNoise(
            shape,
            [image.seed for image in images],
            device=model.device,
            source=options.randn_source,
            subseeds=[image.subseed for image in images],
            variation_strength=plan.noise.variation_strength,
            resize_from=(resize_from.height // 8, resize_from.width // 8) if resize_from else None,
            seed_delta=options.eta_noise_seed_delta,
            shares_path=options.no_dpmpp_sde_batch_determinism,
        )

    def condition(
        self, model: LoadedModel, passing: PassPlan, context: StageContext, *, hires: bool
    ) -> Generator[Event, None, BatchConditioning]:
        """The texts of one pass encoded, with the networks that their tags name applied to the model.

        With `hires_fix_use_firstpass_conds` a hires pass of the same checkpoint has its texts encoded under the first
        pass's networks.
        """
        engine, plan = self.engine, self.plan
        texts = texts_of(context.images, hires=hires, with_networks=not plan.disable_extra_networks)
        own = asked = wanted(texts.tags, engine.catalog)
        if hires and plan.options.hires_fix_use_firstpass_conds and plan.hires.model is None:
            first = texts_of(context.images, hires=False, with_networks=not plan.disable_extra_networks)
            asked = wanted(first.tags, engine.catalog)
        if plan.options.lora_not_found_warning_console:
            for notice in sorted(set(asked.notices) - self._noticed):
                logger.warning("%s", notice)
        reports = self.networks.apply(model, asked)
        yield from self._notices((*asked.notices, *(notice for report in reports for notice in report.notices)))
        self.facts.note_networks(own.hashes, hires=hires)
        self.facts.note_reports(model.ref.name, reports)
        conditioning = encode(
            plan,
            model,
            passing,
            texts,
            hires=hires,
            asked=asked,
            embeddings=self._embeddings(model, reports),
            cache=engine.conditionings,
        )
        if asked is not own:  # the texts were encoded under the first pass's networks, the pass runs under its own
            self.facts.note_reports(model.ref.name, self.networks.apply(model, own))
        self.facts.note_conditioning(conditioning, hires=hires)
        return conditioning

    def _news(self, model: LoadedModel) -> Iterator[Notice]:
        """What the model had to do otherwise: less at a time for want of memory, more precision after NaN."""
        return self._notices(model.take_news())

    def _notices(self, messages: Iterable[str]) -> Iterator[Notice]:
        """Each message once a job."""
        for message in messages:
            if message not in self._noticed:
                self._noticed.add(message)
                yield Notice(message=message)

    def _embeddings(self, model: LoadedModel, reports: tuple[AdapterReport, ...]) -> EmbeddingTable:
        """The textual inversions that fit a model, those that came with its LoRAs included; made once a job."""
        known = self.engine.embeddings.all() if self.engine.embeddings is not None else ()
        found = (*known, *(embedding for report in reports for embedding in report.embeddings))
        key = (model.ref.path, tuple(map(id, found)))
        if key not in self._tables:
            self._tables[key] = EmbeddingTable.for_model(found, model)
        return self._tables[key]

    def guidance(
        self,
        held: ExitStack,
        model: LoadedModel,
        passing: PassPlan,
        conditioning: BatchConditioning,
        context: StageContext,
        *,
        channels: Tensor | None,
        hires: bool,
        masking: Masking | None = None,
    ) -> Guidance:
        """The guided network of one pass, ready for a sampler."""
        options = self.plan.options
        levels, alphas = passing.levels(model, context.facts)
        if model.variant == "inpainting":
            context.facts["Conditional mask weight"] = options.inpainting_mask_weight
        scale, divisor = passing.sampling.cfg_scale, passing.info.cfg_divisor
        return Guidance(
            model=model,
            levels=levels,
            alphas_cumprod=alphas,
            texts=conditioning,
            options=GuidanceOptions.of(self.plan, options, cfg_scale=scale, cfg_divisor=divisor),
            total_calls=max(passing.calls, 1),
            context=context,
            stages=self.stages,
            concat=channels,
            masking=masking,
            switch=self._refiner(held, passing, context, hires=hires),
            levels_of=lambda other: (passing.levels_from(other.alphas_cumprod), other.alphas_cumprod),
        )

    def _refiner(self, held: ExitStack, passing: PassPlan, context: StageContext, *, hires: bool) -> Switch | None:
        """The refiner of a pass, if it takes part in this one."""
        plan, refiner = self.plan, self.plan.refiner
        begins_with = plan.hires.model if hires and plan.hires.model is not None else plan.model
        if refiner is None or refiner.model == begins_with:
            return None
        facts: dict[str, Any] = {"Refiner": refiner.model.name, "Refiner switch at": refiner.switch_at}
        if plan.hires is not None:
            where = plan.options.hires_fix_refiner_pass
            if where not in ("second pass" if hires else "first pass", "both passes"):
                return None
            if where != "second pass":
                facts["Hires refiner"] = where

        def load() -> tuple[LoadedModel, BatchConditioning]:
            model = _finished(self.open(held, refiner.model, self.vae_for(refiner.model)))
            return model, _finished(self.condition(model, passing, context, hires=hires))

        by_calls = plan.options.refiner_switch_by_sample_steps
        return Switch(at=refiner.switch_at, by_calls=by_calls, load=load, facts=facts)

    def drive(
        self, running: Running, guidance: Guidance, passing: PassPlan, context: StageContext, *, start: Tensor
    ) -> Generator[Event, None, Tensor]:
        """Run a sampler to its end, or until somebody says stop: then the latest x0 of the prompt is the result.

        `start` is the result when nothing was predicted yet.
        """
        batches, steps, done = len(self.plan.batches), passing.steps, 0
        yield PassStarted(name=context.pass_name, batch=context.batch_index, batches=batches, steps=steps)
        hires, unet = context.pass_name == "hires", guidance.model.unet
        merging = self.plan.token_merging_ratio(hires=hires)
        tiling = hypertile.of_pass(self.plan, guidance.model, hires=hires)
        tiled = tiled_attention(unet, tiling, seed=self.plan.images[0].seed, size=tuple(start.shape[-2:]))
        with merged_tokens(unet, merging, device=guidance.model.device), tiled:
            while True:
                wish = self.control.take()
                if wish in (Control.SKIP, Control.INTERRUPT):
                    self.stopped = wish
                    running.close()
                    return start if guidance.prompt_denoised is None else guidance.prompt_denoised
                try:
                    next(running)
                except StopIteration as end:
                    self._steps_done += max(0, steps - done)
                    guidance.note_padding()
                    return end.value
                done += 1
                if done <= steps:
                    self._steps_done += 1
                latent.check_finite(guidance.prompt_denoised, guidance.model)
                yield from self._news(guidance.model)
                yield StepDone(
                    step=min(done, steps) if steps else done,
                    steps=max(steps, 1),
                    done=min(self._steps_done, self._total_steps),
                    total=self._total_steps,
                    preview=self._preview(guidance, done),
                )

    def _preview(self, guidance: Guidance, step: int) -> ImageData | None:
        if not self.previews.due(step):
            return None
        approximations = self.engine.manager.approximations
        shown = guidance.preview(self.plan.previews.content)
        return previews.draw(shown, guidance.model, approximations, self.plan.previews)

    def pixel_upscaler(self, name: str) -> Upscaler | None:
        """An upscaler as the resize modes call it; None for "None", which is Lanczos there."""
        if name == "None":
            return None
        upscaler = self.upscalers.find(name)
        return lambda image, width, height: upscaler.upscale(image, max(width / image.width, height / image.height))


def _expected_steps(plan: Plan) -> int:
    strength = plan.source.denoising_strength if plan.source is not None else None
    steps = PassPlan.of(plan.sampling, plan.options, strength=strength).steps
    if (hires := plan.hires) is not None:
        second = PassPlan.of(hires.sampling, plan.options, strength=hires.denoising_strength, is_exact=True)
        steps = second.steps + (0 if hires.first_pass_image is not None else steps)
    return steps * len(plan.batches)


def _built_in_stages(plan: Plan, facts: dict[str, Any]) -> Iterator[SoftInpainting]:
    """Stages of scripts that ship with the engine."""
    given = plan.scripts.get(SCRIPT_NAME)
    if given is None or plan.source is None or plan.source.inpaint is None:
        return
    args = SoftInpaintingArgs.of(given)
    if args.enabled:
        facts.update(args.infotext())
        yield SoftInpainting(args)


def _finished(flow: Generator[Any, None, Any]) -> Any:
    """What a flow returns, its events dropped: a refiner is loaded in the middle of a step, where none can be told."""
    while True:
        try:
            next(flow)
        except StopIteration as end:
            return end.value
