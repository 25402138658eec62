"""From a request to a plan: settings merged, names looked up, seeds drawn, sizes computed, prompts expanded.

Everything that is unknown or impossible stops here with a message that names the field; nothing of it reaches a worker.
No torch: the front plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from modules.errors import InvalidRequest, UnknownName
from modules.generation.part import Size
from modules.generation.plan import (
    HiresPlan,
    ImagePlan,
    InpaintPlan,
    ModelRef,
    NoisePlan,
    Plan,
    PreviewPlan,
    RefinerPlan,
    SamplingPlan,
    SavingPlan,
    SourcePlan,
    VaeRef,
)
from modules.generation.request import GenerationRequest, HiresPart, SamplingPart
from modules.models.faces import FaceFiles, restorer
from modules.planning import distillations, seeds
from modules.planning import hires as sizes
from modules.planning.compatibility import check_plan, check_request
from modules.prompts import comments, extra_networks
from modules.prompts.styles import StyleBook
from modules.registry import did_you_mean
from modules.sampling import names
from modules.settings.saving import Infotext, SavingImages, SavingPaths, SavingToDirectory
from modules.settings.schema import Settings
from modules.settings.stable_diffusion import GenerationOptions
from modules.upscaling.catalog import TILE_SETTINGS
from modules.upscaling.latent import LATENT_MODES
from modules.upscaling.upscaler import UPSCALERS

CHECKPOINT_KEY = "sd_model_checkpoint"
VAE_KEY = "sd_vae"
CLIP_SKIP_KEY = "CLIP_stop_at_last_layers"
NOISE_MULTIPLIER_KEY = "initial_noise_multiplier"
MERGING_KEY = "token_merging_ratio"
SAVING_SECTIONS = (SavingImages, SavingPaths, SavingToDirectory, Infotext)
OTHER_SAVING_KEYS = (
    "return_grid",
    "face_restoration_model",
    "code_former_weight",
    "face_restoration_unload",
    "ESRGAN_tile",
    "ESRGAN_tile_overlap",
    *(key for keys in TILE_SETTINGS.values() for key in keys),
    "ldsr_steps",
    "textual_inversion_add_hashes_to_infotext",
)
SAME = ("", "None", "none")
"""What clients send for "no checkpoint"."""


class Catalog(Protocol):
    """What the planner asks the model catalog; names that do not exist raise UnknownName."""

    def titles(self) -> Sequence[str]: ...
    def find_checkpoint(self, text: str) -> ModelRef: ...
    def choose_vae(self, checkpoint: ModelRef, options: GenerationOptions) -> VaeRef | None: ...


def plan(
    request: GenerationRequest,
    *,
    catalog: Catalog,
    settings: Settings,
    styles: StyleBook | None = None,
    upscalers: Sequence[str] = (),
    faces: FaceFiles | None = None,
    version: str = "",
    owner: str | None = None,
) -> Plan:
    """What will happen for `request`; the same request with given seeds always plans the same.

    `upscalers` are the names of those found as files, besides the built-in ones; `faces` what there is to restore
    faces.

    Raises InvalidRequest (or its kinds UnknownName, InvalidImage, InvalidPrompt) with the field at fault.
    """
    check_request(request)
    return _Planner(request, catalog, settings, styles, tuple(upscalers), faces or FaceFiles(), version, owner).plan()


@dataclass(frozen=True)
class _Texts:
    prompt: str
    negative: str
    hires: str
    hires_negative: str


class _Planner:
    """One request on its way to a plan, with what several of its parts need."""

    def __init__(
        self,
        request: GenerationRequest,
        catalog: Catalog,
        settings: Settings,
        styles: StyleBook | None,
        upscalers: tuple[str, ...],
        faces: FaceFiles,
        version: str,
        owner: str | None,
    ) -> None:
        self.request, self.catalog, self.styles = request, catalog, styles
        self.upscalers, self.faces, self.version, self.owner = upscalers, faces, version, owner
        self.notices: list[str] = []
        self.global_settings = settings
        self.settings = merged(settings, request.overrides)

    def plan(self) -> Plan:
        request, settings = self.request, self.settings
        model = self._checkpoint()
        clip_skip = request.model.clip_skip or settings.CLIP_stop_at_last_layers
        tiling = settings.tiling if request.tiling is None else request.tiling
        options = settings.generation().model_copy(
            update={
                CHECKPOINT_KEY: model.title,
                VAE_KEY: settings.sd_vae if request.model.vae is None else request.model.vae,
                CLIP_SKIP_KEY: clip_skip,
                "tiling": tiling,
            }
        )
        sampling = self._sampling(request.sampling)
        first, hires = self._sizes(sampling)
        self._notice_rounding(first)
        restores_faces = self._restores_faces()
        if (advice := distillations.advice(model.name, sampling)) is not None:
            self.notices.append(advice)
        batch_size = self._batch_size()
        plan = Plan(
            model=model,
            vae=self.catalog.choose_vae(model, options),
            size=first,
            batch_size=batch_size,
            images=self._images(batch_size * request.batch.count, hires),
            noise=NoisePlan(
                variation_strength=request.seed.variation_strength,
                resize_from=_resize_from(request.seed.resize_from),
            ),
            sampling=sampling,
            refiner=self._refiner(),
            hires=hires,
            source=self._source(),
            clip_skip=clip_skip,
            tiling=tiling,
            restore_faces=restores_faces,
            disable_extra_networks=request.disable_extra_networks,
            options=options,
            saving=self._saving(),
            previews=self._previews(),
            scripts=request.scripts,
            main_prompt=self.texts.prompt,
            main_negative_prompt=self.texts.negative,
            styles=request.styles,
            notices=tuple(self.notices),
            version=self.version,
        )
        check_plan(plan)
        return plan

    # Names

    def _checkpoint(self) -> ModelRef:
        asked = self.request.model.checkpoint or self.request.overrides.get(CHECKPOINT_KEY)
        if asked:
            return _at("model.checkpoint", lambda: self.catalog.find_checkpoint(str(asked)))
        configured = self.settings.sd_model_checkpoint
        if configured:
            try:
                return self.catalog.find_checkpoint(configured)
            except UnknownName as error:
                self._fall_back(configured, error)
        titles = self.catalog.titles()
        if not titles:
            raise InvalidRequest(
                "there is no checkpoint; put a .safetensors file into models/Stable-diffusion and refresh the list",
                field="model.checkpoint",
            )
        return self.catalog.find_checkpoint(titles[0])

    def _fall_back(self, configured: str, error: UnknownName) -> None:
        """A1111: a configured checkpoint that is gone gives way to the first in the list, with a warning."""
        titles = self.catalog.titles()
        if not titles:
            raise error
        self.notices.append(f'the checkpoint of the settings, "{configured}", is gone; "{titles[0]}" was used')

    def _sampling(self, part: SamplingPart) -> SamplingPlan:
        resolved = _at("sampling.sampler", lambda: names.resolve(part.sampler, part.schedule))
        values = part.model_dump(exclude={"sampler", "schedule"})
        if self.request.source is not None:
            # A1111: in img2img an override of the general ratio wins over the setting for img2img.
            values["token_merging_ratio"] = part.token_merging_ratio or self.request.overrides.get(MERGING_KEY)
        return SamplingPlan(
            sampler=resolved.sampler,
            schedule=names.effective_schedule(resolved.sampler, resolved.schedule),
            **values,
        )

    def _refiner(self) -> RefinerPlan | None:
        part = self.request.refiner
        if part is None or part.checkpoint in SAME:
            return None
        model = _at("refiner.checkpoint", lambda: self.catalog.find_checkpoint(part.checkpoint))
        return RefinerPlan(model=model, switch_at=part.switch_at)

    # Hires fix

    def _sizes(self, sampling: SamplingPlan) -> tuple[Size, HiresPlan | None]:
        """The first pass's size, and the second pass."""
        part, first = self.request.hires, self.request.size
        if part is None:
            return first, None
        resize_width, resize_height = part.resize_width, part.resize_height
        if self.settings.use_old_hires_fix_width_height:
            resize_width, resize_height = first.width, first.height
            first = sizes.old_first_pass(first)
        target = sizes.target(first, scale=part.scale, resize_width=resize_width, resize_height=resize_height)
        upscaler = self._hires_upscaler(part.upscaler)
        model = None
        if part.checkpoint not in (None, *SAME):
            model = _at("hires.checkpoint", lambda: self.catalog.find_checkpoint(part.checkpoint or ""))
        return first, HiresPlan(
            upscaler=upscaler,
            is_latent=upscaler in LATENT_MODES,
            upscaled=target.upscaled,
            size=target.final,
            denoising_strength=part.denoising_strength,
            sampling=self._hires_sampling(part, sampling),
            model=model,
            scale=part.scale,
            resize_width=resize_width,
            resize_height=resize_height,
            steps_asked=part.steps,
            sampler_asked=part.sampler,
            schedule_asked=part.schedule,
            has_own_prompt=bool(part.prompt),
            has_own_negative_prompt=bool(part.negative_prompt),
            first_pass_image=part.first_pass_image,
        )

    def _hires_sampling(self, part: HiresPart, first: SamplingPlan) -> SamplingPlan:
        """The second pass's sampler: the first pass's where not given, with Automatic as its own default."""
        asked = self.request.sampling
        schedule = part.schedule or names.resolve(asked.sampler, asked.schedule).schedule
        resolved = _at("hires.sampler", lambda: names.resolve(part.sampler or first.sampler, schedule))
        return first.model_copy(
            update={
                "sampler": resolved.sampler,
                "schedule": names.effective_schedule(resolved.sampler, resolved.schedule),
                "steps": part.steps or first.steps,
                "cfg_scale": first.cfg_scale if part.cfg_scale is None else part.cfg_scale,
                "token_merging_ratio": None,
            }
        )

    def _hires_upscaler(self, name: str) -> str:
        if name in LATENT_MODES:
            return LATENT_MODES.name_of(name)
        known = (*LATENT_MODES.names(), *UPSCALERS.names(), *self.upscalers)
        folded = {one.casefold(): one for one in known}
        if name.casefold() not in folded:
            raise UnknownName(f'no upscaler named "{name}"{did_you_mean(name, known)}', field="hires.upscaler")
        return folded[name.casefold()]

    # Pictures

    def _batch_size(self) -> int:
        """Several source pictures make a batch of that many (A1111)."""
        source = self.request.source
        if source is not None and len(source.images) > 1:
            return len(source.images)
        return self.request.batch.size

    def _images(self, count: int, hires: HiresPlan | None) -> tuple[ImagePlan, ...]:
        self.texts = self._texts(hires)
        texts = self.texts
        return tuple(
            ImagePlan(
                index=index,
                seed=seed,
                subseed=subseed,
                prompt=texts.prompt,
                negative_prompt=texts.negative,
                hires_prompt=texts.hires,
                hires_negative_prompt=texts.hires_negative,
            )
            for index, (seed, subseed) in enumerate(seeds.assign(self.request.seed, count))
        )

    def _texts(self, hires: HiresPlan | None) -> _Texts:
        """Prompts with styles applied and comments stripped, in this order."""
        request = self.request
        self._notice_unknown_styles()
        second, second_negative = "", ""
        if hires is not None:
            second = request.hires.prompt or request.prompt
            second_negative = request.hires.negative_prompt or request.negative_prompt
            second = self._with_default_networks(self._expanded(second))
            second_negative = self._expanded(second_negative, negative=True)
        return _Texts(
            self._with_default_networks(self._expanded(request.prompt)),
            self._expanded(request.negative_prompt, negative=True),
            second,
            second_negative,
        )

    def _expanded(self, text: str, *, negative: bool = False) -> str:
        if self.styles is not None and self.request.styles:
            texts = self.styles.apply(self.request.styles, "" if negative else text, text if negative else "")
            text = texts[1] if negative else texts[0]
        return comments.strip(text) if self.settings.enable_prompt_comments else text

    def _with_default_networks(self, prompt: str) -> str:
        """The prompt with the LoRA and the hypernetwork that the settings add to every prompt not naming them."""
        settings = self.settings
        if self.request.disable_extra_networks:
            return prompt
        named = {(tag.is_lora, tag.name) for tag in extra_networks.parse(prompt)[1]}
        for kind, name in (("lora", settings.sd_lora), ("hypernet", settings.sd_hypernetwork)):
            if name not in (None, *SAME) and (kind == "lora", name) not in named:
                prompt += f"<{kind}:{name}:{settings.extra_networks_default_multiplier}>"
        return prompt

    def _notice_unknown_styles(self) -> None:
        """An unknown style changes nothing, as in A1111, whose clients rely on it; but it is said."""
        known = tuple(self.styles.styles) if self.styles is not None else ()
        for name in self.request.styles:
            if name not in known:
                self.notices.append(f'no style named "{name}"{did_you_mean(name, known)}; it was ignored')

    def _restores_faces(self) -> bool:
        """Whether faces are restored: asked for, and possible; else it is said why not. Raises UnknownName."""
        settings, asked = self.settings, self.request.restore_faces
        if not (settings.face_restoration if asked is None else asked):
            return False
        name = _at("overrides.face_restoration_model", lambda: restorer(settings.face_restoration_model))
        self.settings = settings.model_copy(update={"face_restoration_model": name})
        if (problem := self.faces.problem(name)) is None:
            return True
        others = " or ".join(self.faces.names)
        choose = f", or choose {others} in the settings (Face restoration)" if others else ""
        self.notices.append(f"{problem}{choose}; the pictures are as they were made")
        return False

    def _notice_rounding(self, size: Size) -> None:
        whole = sizes.whole_latents(size)
        if whole != size:
            self.notices.append(f"the size {size} is not a multiple of 8; the picture is {whole}")

    def _source(self) -> SourcePlan | None:
        source = self.request.source
        if source is None:
            return None
        multiplier = source.initial_noise_multiplier
        if multiplier is None:
            # A1111 reads this setting before it applies a request's overrides.
            multiplier = self.global_settings.initial_noise_multiplier
        inpaint = source.inpaint
        return SourcePlan(
            images=source.images,
            denoising_strength=source.denoising_strength,
            resize_mode=source.resize_mode,
            initial_noise_multiplier=multiplier,
            upscaler=self.settings.upscaler_for_img2img or None,
            inpaint=None if inpaint is None else InpaintPlan(**dict(inpaint)),
            depth=source.depth,
            image_noise_level=source.image_noise_level,
            color_reference=source.color_reference,
        )

    def _saving(self) -> SavingPlan:
        request, settings = self.request, self.settings
        keys = [key for section in SAVING_SECTIONS for key in section.model_fields]
        allowed = request.save is not False
        return SavingPlan(
            samples=allowed and settings.samples_save,
            grid=allowed,
            kind="txt2img" if request.source is None else "img2img",
            options={key: _json(getattr(settings, key)) for key in (*keys, *OTHER_SAVING_KEYS)},
            owner=self.owner,
        )

    def _previews(self) -> PreviewPlan:
        settings = self.settings
        return PreviewPlan(
            enabled=settings.live_previews_enable,
            method=settings.show_progress_type,
            every=settings.show_progress_every_n_steps,
            grid=settings.show_progress_grid,
            file_format=settings.live_previews_image_format,
            full_in_low_memory=settings.live_preview_allow_lowvram_full,
            content=settings.live_preview_content,
            fast_interrupt=settings.live_preview_fast_interrupt,
        )


def merged(settings: Settings, overrides: dict[str, Any]) -> Settings:
    """Settings with a request's overrides; raises UnknownName for a key that is none, InvalidRequest for a bad value.

    An override of None means "not given". `initial_noise_multiplier` has no effect as an override, as in A1111.
    """
    known = Settings.model_fields
    for key in overrides:
        if key not in known:
            raise UnknownName(f'no setting named "{key}"{did_you_mean(key, tuple(known))}', field=f"overrides.{key}")
    given = {key: value for key, value in overrides.items() if value is not None and key != NOISE_MULTIPLIER_KEY}
    if not given:
        return settings
    try:
        checked = Settings.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0])
        raise InvalidRequest(
            f'the setting "{key}" cannot be {given[key]!r}: {problem["msg"].lower()}', field=f"overrides.{key}"
        ) from error
    return settings.model_copy(update={key: getattr(checked, key) for key in given})


def _json(value: Any) -> Any:
    """A setting as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _resize_from(size: Size | None) -> Size | None:
    return size if size is not None and size.width > 0 and size.height > 0 else None


def _at(field: str, look_up: Any) -> Any:
    """The answer of `look_up()`; what it cannot find is blamed on `field`."""
    try:
        return look_up()
    except InvalidRequest as error:
        error.field = field
        raise
