"""What the page needs from the rest of the program, in the page's own words; the only file of `ui` that knows App."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import batches
from modules.databases import move_aside_if_damaged
from modules.errors import InvalidImage, NotPermitted, UnknownName
from modules.images.data import ImageData
from modules.infotext.paste import Pasted
from modules.jobs.record import JobState, Result, login_of
from modules.models.faces import USUAL_NAMES, FaceFiles
from modules.outputs import opening
from modules.outputs.folders import asked_folder
from modules.planning import distillations
from modules.planning.distillations import Suggestion
from modules.postprocessing.operations import OPERATIONS
from modules.prompts.counter import count_tokens
from modules.prompts.styles import Style
from modules.prompts.tokenizer import clip_tokenizer
from modules.sampling.sampler import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from modules.settings.saving import SavingOptions
from modules.ui.controls import GENERATION_TABS, SAME_CHECKPOINT, SAME_SAMPLER, SAME_SCHEDULE
from modules.ui.defaults import PageDefaults
from modules.ui.drafts import DraftStore
from modules.ui.installation import Installation
from modules.ui.localization import NONE, Localizations
from modules.ui.settings_fields import describe
from modules.upscaling.latent import LATENT_MODES

if TYPE_CHECKING:
    from modules.extensions.api import Script
    from modules.generation.batch import BatchRequest
    from modules.generation.extras import ExtrasRequest
    from modules.generation.request import GenerationRequest
    from modules.models.files import ModelFile
    from modules.settings.schema import Settings

_ROOT = Path(__file__).parents[2]


class Services:
    """Choices for drop-downs, settings, drafts and the one way to submit."""

    def __init__(self, app: Any) -> None:  # App, whose layer may not be imported for its type at start
        self._app = app

    @property
    def settings(self) -> Settings:
        return self._app.settings.current

    @cached_property
    def installation(self) -> Installation:
        """Model files, the worker and extensions, for the tabs about them."""
        return Installation(self._app)

    @cached_property
    def drafts(self) -> DraftStore:
        path = self._app.data_dir / "data" / "drafts.sqlite3"
        move_aside_if_damaged(path, holds="what people were in the middle of", then="the page begins with its defaults")
        return DraftStore(path)

    @cached_property
    def defaults(self) -> PageDefaults:
        """What the page shows where nobody has chosen anything."""
        chosen = self._app.flags.ui_config_file
        return PageDefaults(Path(chosen).expanduser() if chosen else self._app.data_dir / "ui-config.json")

    @property
    def localizations(self) -> Localizations:
        """The languages the page can be shown in: ours, the extensions', and the person's own over both."""
        chosen = self._app.flags.localizations_dir
        own = Path(chosen).expanduser() if chosen else self._app.data_dir / "localizations"
        extensions = sorted(
            folder
            for place in (_ROOT / "extensions", self._app.data_dir / "extensions")
            for folder in place.glob("*/localizations")
        )
        return Localizations((_ROOT / "localizations", *extensions, own))

    def submit(self, request: GenerationRequest, owner: str) -> str:
        """Plan and queue; returns the job's id. Raises WebuiError with words for the person."""
        return self._app.submit(request, owner=owner).id

    def submit_batch(self, batch: BatchRequest, owner: str) -> str:
        """Queue a batch of img2img; returns the job's id. Raises WebuiError with words for the person."""
        return batches.submit(self._app, batch, owner=owner).id

    @property
    def can_describe(self) -> bool:
        """Whether there is a model that describes pictures."""
        return self._app.caption_model is not None

    @property
    def faces(self) -> FaceFiles:
        """What there is to find and restore faces with."""
        return self._app.catalog.faces

    def describe(self, image: ImageData) -> str:
        """A picture in words; waits for the worker. Raises WebuiError with words for the person."""
        return self._app.describe(image)

    def submit_extras(self, request: ExtrasRequest, owner: str) -> str:
        """Queue pictures to enlarge; returns the job's id. Raises WebuiError with words for the person."""
        return self._app.extras.submit(request, owner=owner).id

    def picture_folder(self, named: str, owner: str, *, is_administrator: bool, must_exist: bool = True) -> Path:
        """A folder of this machine that somebody named; raises NotPermitted, InvalidRequest."""
        app, trusted = self._app, is_administrator
        return asked_folder(
            named, app.data_dir, app.flags, owner=owner, is_administrator=trusted, must_exist=must_exist
        )

    @property
    def why_no_folder(self) -> str:
        """Why the page cannot open folders of this machine; "" when it can, for whoever sits at it."""
        return opening.why_not(self._app.flags)

    def open_folder(self, tab: str, job_id: str, picture_id: str, owner: str) -> None:
        """Open the folder of a tab's pictures, or of one picture: `open_dir_button_choice`. Raises WebuiError."""
        if problem := self.why_no_folder:
            raise NotPermitted(problem)
        opening.show(self._folder_to_open(tab, job_id, picture_id, owner))

    def _folder_to_open(self, tab: str, job_id: str, picture_id: str, owner: str) -> Path:
        app, choice = self._app, self.settings.open_dir_button_choice
        if choice != "Output Root" and app.find_job(job_id, owner) is not None:
            for result in app.queue.results(job_id):
                is_saved = result.path is not None
                folder = app.pictures.folder(result) if is_saved or choice == "Subdirectory (even temp dir)" else None
                if result.id == picture_id and folder is not None:
                    return folder
        options = SavingOptions.of(self.settings.model_dump())
        return app.outputs.folder("img2img" if tab == "inpaint" else tab, options, owner=login_of(owner))

    def paste(self, infotext: str, tab: str) -> Pasted:
        """What an infotext asks for on a tab."""
        return self._app.paste(infotext, "txt2img" if tab == "txt2img" else "img2img")

    def last_infotext(self, owner: str) -> str:
        """The infotext of this owner's newest picture; "" when there is none."""
        for job in self._app.queue.jobs(owner=owner, states=(JobState.DONE, JobState.INTERRUPTED), limit=5):
            for result in self._app.queue.results(job.id):
                if result.infotext:
                    return result.infotext
        return ""

    def apply_styles(self, names: list[str], prompt: str, negative_prompt: str) -> tuple[str, str]:
        """Prompt and negative prompt with the styles written into them."""
        return self._app.styles.apply(names, prompt, negative_prompt)

    def list_styles(self) -> list[dict[str, str]]:
        """Every style: name, prompt and negative_prompt."""
        return [dataclasses.asdict(style) for style in self._app.styles.styles.values()]

    def prompt_names(self) -> dict[str, Any]:
        """What a prompt can name: networks and embeddings by name, styles with their text, and the usual multiplier."""
        catalog, settings = self._app.catalog, self.settings

        def stems(files: Iterable[ModelFile]) -> list[str]:
            return sorted({file.stem for file in files if not file.is_hidden}, key=str.casefold)

        return {
            "loras": stems(catalog.loras),
            "hypernetworks": stems(catalog.hypernetworks),
            "embeddings": stems(catalog.embeddings),
            "styles": self.list_styles(),
            "multiplier": f"{settings.extra_networks_default_multiplier:g}",
        }

    def save_style(self, name: str, prompt: str, negative_prompt: str) -> None:
        """Keep a style, new or changed; raises SettingsError."""
        book = self._app.styles.with_style(Style(name.strip(), prompt, negative_prompt))
        book.save()
        self._app.styles = book

    def delete_style(self, name: str) -> None:
        """Forget a style; raises SettingsError when a file cannot be written."""
        book = self._app.styles.without(name)
        book.save()
        self._app.styles = book

    def scripts(self, tab: str) -> list[Script]:
        """The extensions' scripts that a tab offers, in their order."""
        kind = "txt2img" if tab == "txt2img" else "img2img"
        wanted = ("", *self.settings.postprocessing_enable_in_main_ui)
        return [
            script
            for script in self._app.extensions.scripts
            if kind in script.tabs and script.operation in wanted and (tab == "inpaint" or not script.needs_mask)
        ]

    def settings_sections(self) -> list[dict[str, Any]]:
        """Every page of settings with what a control needs to be drawn, as JSON."""
        store = self._app.settings
        named = {
            "sd_model_checkpoint": self._checkpoints, "sd_vae": lambda: ["Automatic", "None", *self._app.catalog.vaes],
            "localization": lambda: [NONE, *self.localizations.names()],
            "face_restoration_model": lambda: list(USUAL_NAMES),
            "upscaler_for_img2img": self._app.upscalers.names, "hide_samplers": SAMPLERS.names,
            "postprocessing_enable_in_main_ui": self._operations_of_scripts,
            "postprocessing_disable_in_extras": OPERATIONS.names, "postprocessing_operation_order": OPERATIONS.names,
        }  # fmt: skip
        values = store.all()
        return [
            {
                "title": section.section_title,
                "page": section.section_page,
                "settings": [
                    describe(key, field, values[key], store.why_locked(key), named.get(key, tuple)())
                    for key, field in section.model_fields.items()
                ],
            }
            for section in store.sections
            if section.section_page != "hidden"
        ]

    def _operations_of_scripts(self) -> list[str]:
        return [script.operation for script in self._app.extensions.scripts if script.operation]

    def change_settings(self, values: dict[str, Any]) -> tuple[str, ...]:
        """Change and save settings; returns the keys that are new. Raises WebuiError."""
        return self._app.settings.set_many(values)

    def choices(self, name: str) -> list[str]:
        """The entries of a drop-down by the name that `controls.py` gives its list."""
        return list(getattr(self, f"_{name}")())

    def offered(self, name: str) -> list[str | tuple[str, str]]:
        """The same as a drop-down takes them: checkpoints as (what is shown, title) where the settings say so."""
        choices = self.choices(name)
        if not self.settings.sd_checkpoint_dropdown_use_short:
            return list(choices)
        catalog, titles = self._app.catalog, set(self._checkpoints())
        return [(catalog.find_checkpoint_file(one).short_title, one) if one in titles else one for one in choices]

    def default_checkpoint(self) -> str | None:
        """The title chosen in the settings, else the first there is."""
        titles = self._checkpoints()
        wanted = self.settings.sd_model_checkpoint
        return wanted if wanted in titles else next(iter(titles), None)

    def current_title(self, title: str | None) -> str | None:
        """What a checkpoint is called now: a title gains its hash once the file was read."""
        if not title:
            return self.default_checkpoint()
        try:
            return self._app.catalog.find_checkpoint_file(title).title
        except UnknownName:
            return title  # the planner will say what is missing, when it is asked for a picture

    def refresh_models(self) -> None:
        """Look at the model folders again."""
        self._app.catalog.refresh()

    def native_size(self, title: str | None) -> int | None:
        """The side of the pictures a checkpoint was trained on, in pixels; None when unknown."""
        if title is None:
            return None
        catalog = self._app.catalog
        try:
            return catalog.native_size(catalog.find_checkpoint_file(title))
        except UnknownName:  # a name half typed, or of a file that is gone: the planner says so when it is asked
            return None

    def native_sizes(self) -> dict[str, int]:
        """Width and height with which a page opens, by tab and UI path: the default checkpoint's native size."""
        side = self.native_size(self.default_checkpoint())
        names = [f"{tab}/size.{name}" for tab in GENERATION_TABS for name in ("width", "height")]
        return dict.fromkeys(names, side) if side else {}

    def takes_image_guidance(self, title: str | None) -> bool:
        """Whether a checkpoint has a guidance of its own for the source picture (InstructPix2Pix)."""
        catalog = self._app.catalog
        try:
            return title is not None and catalog.variant_of(catalog.find_checkpoint_file(title)) == "pix2pix"
        except UnknownName:
            return False

    def suggestion(self, title: str | None) -> tuple[str, Suggestion] | None:
        """The kind of distilled model that a checkpoint is by its name, and the values that suit it."""
        try:
            name = self._app.catalog.find_checkpoint_file(title).model_name if title is not None else ""
        except UnknownName:
            return None
        kind, suggested = distillations.distillation(name), distillations.suggestion(name)
        return (kind.title, suggested) if kind is not None and suggested is not None else None

    def picture(self, job_id: str, picture_id: str, owner: str) -> tuple[Result, ImageData]:
        """A picture that a job of this owner made; raises InvalidImage when it is not there any more."""
        job = self._app.find_job(job_id, owner)
        found = [one for one in self._app.queue.results(job_id) if one.id == picture_id] if job is not None else []
        try:
            return found[0], ImageData(self._app.pictures.read(found[0]))
        except (IndexError, FileNotFoundError) as error:
            raise InvalidImage("this picture is not there any more; choose another") from error

    def count_tokens(self, text: str, *, styles: list[str], steps: int, is_negative: bool) -> str:
        """What the counter beside a prompt shows: "12/75"."""
        settings = self.settings
        if settings.include_styles_into_token_counters:
            prompt, negative = self._app.styles.apply(styles, *(("", text) if is_negative else (text, "")))
            text = negative if is_negative else prompt
        return str(
            count_tokens(
                text,
                clip_tokenizer().encode,
                steps=steps,
                negative=is_negative,
                backtrack=settings.comma_padding_backtrack,
                emphasis_mode=settings.emphasis,
                strip_comments=settings.enable_prompt_comments,
            )
        )

    def _checkpoints(self) -> list[str]:
        return list(self._app.catalog.titles())

    def _samplers(self) -> list[str]:
        hidden = set(self.settings.hide_samplers)
        return [name for name in SAMPLERS.names() if name not in hidden]

    def _schedules(self) -> list[str]:
        return list(SCHEDULES.names())

    def _hires_samplers(self) -> list[str]:
        return [SAME_SAMPLER, *self._samplers()]

    def _hires_schedules(self) -> list[str]:
        return [SAME_SCHEDULE, *self._schedules()]

    def _hires_checkpoints(self) -> list[str]:
        return [SAME_CHECKPOINT, *self._checkpoints()]

    def _refiners(self) -> list[str]:
        return ["", *self._checkpoints()]

    def _upscalers(self) -> list[str]:
        return [*LATENT_MODES.names(), *self._app.upscalers.names()]

    def _pixel_upscalers(self) -> list[str]:
        return list(self._app.upscalers.names())

    def _vaes(self) -> list[str]:
        return ["Automatic", "None", *self._app.catalog.vaes]

    def _styles(self) -> list[str]:
        return list(self._app.styles.choices())

    def _overrides(self) -> list[str]:
        return []
