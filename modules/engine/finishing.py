"""From decoded pixels to finished files: faces, colours, overlay, infotext, the pictures that go with a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from modules.engine import latents as latent
from modules.engine.inpaint import PreparedSource
from modules.engine.sheets import grid_done, image_done, makes_grid
from modules.engine.stages import FinishedImage, StageContext, Stages
from modules.errors import WebuiError
from modules.faces.restoration import FaceRestorer
from modules.generation.events import Event, ImageDone, Notice
from modules.generation.plan import ImagePlan, Plan
from modules.images import compose
from modules.images.color import color_correct
from modules.images.data import ImageData
from modules.infotext.write import infotext
from modules.settings.stable_diffusion import GenerationOptions


class Finisher:
    """Makes the ImageDone events of a job, and remembers its samples for the grid."""

    def __init__(
        self, plan: Plan, options: GenerationOptions, stages: Stages, facts: dict[str, Any], faces: FaceRestorer
    ) -> None:
        self.plan, self.options, self.stages, self.facts, self.faces = plan, options, stages, facts, faces
        self.saving = plan.saving.options
        self.samples: list[Image.Image] = []
        self.infotexts: list[str] = []
        self._kept: tuple[ImageData, ...] = ()
        self._at, self._news = 0, list[str]()  # the picture in hand, and what is to be told of it

    @property
    def keeps_first_pass(self) -> bool:
        """Whether hires fix saves what its first pass made."""
        return self._wants("save_images_before_highres_fix")

    def finish(
        self, pixels: Tensor, context: StageContext, source: PreparedSource | None, *, was_cut_short: bool
    ) -> Iterator[Event]:
        """The pictures of a batch (B, 3, H, W), each followed by its mask pictures.

        `was_cut_short`: the batch was skipped or interrupted; A1111 shows such pictures but saves them only if asked.
        """
        saves = self.plan.saving.samples and (not was_cut_short or bool(self.saving.get("save_incomplete_images")))
        mask = source.mask if source is not None else None
        region = mask.region if mask is not None else None
        for index, one in enumerate(pixels):
            image = context.images[index]
            self._at, raw = image.index, latent.to_image(one)
            if self.plan.restore_faces:
                if saves and self._wants("save_images_before_face_restoration"):
                    yield self._event(raw, image, role="before_face_restoration", shown=False)
                name, weight = self.saving["face_restoration_model"], float(self.saving["code_former_weight"])
                raw, _ = self.restore_faces(raw, name, weight)
            overlay = None
            if mask is not None and self.options.overlay_inpaint:
                overlay = source.of(source.overlays, index)
            if self.options.img2img_color_correction and source is not None:
                if saves and self._wants("save_images_before_color_correction"):
                    yield self._event(
                        compose.apply_overlay(raw, overlay, region), image, role="before_color_correction", shown=False
                    )
                reference = self.plan.source.color_reference
                given = source.of(source.images, index) if reference is None else self._flat(reference)
                raw = color_correct(raw, given)
            finished = self.stages.on_image(
                FinishedImage(raw, index, overlay, None if mask is None else mask.overlay), context
            )
            composed = compose.apply_overlay(finished.raw, finished.overlay, region)
            result = self.stages.on_composed(composed, context)
            yield from self._told()
            text = infotext(self.plan, image.index, self.facts)
            self.samples.append(result)
            self.infotexts.append(text)
            yield self._event(result, image, text=text, saved=saves)
            if finished.mask is not None:
                yield from self._masks(finished, image, region if finished.overlay is not None else None, saves=saves)

    def before_hires(self, pixels: Tensor, context: StageContext) -> Iterator[Event]:
        """The first pass's pictures, when they are to be kept."""
        if self.keeps_first_pass:
            for one, image in zip(pixels, context.images, strict=True):
                yield self._event(latent.to_image(one), image, role="before_hires", shown=False)

    def init_images(self) -> Iterator[Event]:
        """The source pictures as they came, when they are to be kept."""
        if self.saving.get("save_init_img") and self.plan.source is not None:
            for given in self.plan.source.images:
                image = given.open()
                yield ImageDone(
                    role="init",
                    index=0,
                    seed=self.plan.images[0].seed,
                    width=image.width,
                    height=image.height,
                    image=ImageData.from_image(image),
                    infotext="",
                    shown=False,
                )

    def grid(self, text: Callable[[], str]) -> Iterator[Event]:
        """One sheet with all samples, when the job makes one."""
        if not makes_grid(self.plan, len(self.samples)):
            return
        sheet = grid_done(self.plan, self.samples, text())
        if sheet.shown:
            self.infotexts.insert(0, sheet.infotext)
        yield sheet

    def resume(self, infotexts: Sequence[str], samples: Sequence[ImageData]) -> None:
        """Remember the pictures of a job that was put down."""
        self.infotexts = list(infotexts)
        self.samples = [sample.open() for sample in samples]
        self._kept = tuple(samples)

    def kept(self) -> tuple[ImageData, ...]:
        """The samples without loss, as far as the grid of the whole job will need them."""
        if not makes_grid(self.plan, len(self.plan.images)):
            return ()
        new = self.samples[len(self._kept) :]
        self._kept = (*self._kept, *(ImageData.from_image(sample, compress_level=1) for sample in new))
        return self._kept

    def restore_faces(self, image: Image.Image, name: str, weight: float) -> tuple[Image.Image, int]:
        """A picture (RGB) with its faces restored, and how many there were. One that cannot be worked on comes back as
        it is, for it was made and is not to be lost; `_news` then tells."""
        which = "the picture" if len(self.plan.images) == 1 else f"picture {self._at + 1}"
        keep = not self.saving.get("face_restoration_unload")
        try:
            restored = self.faces.restore(image, name, weight=weight, keep=keep)
        except WebuiError as error:
            self._news.append(f"the faces of {which} were not restored: {error}")
            return image, 0
        if not restored.faces:
            self._news.append(f"no face was found in {which}; it is as it was made")
        return restored.image, restored.faces

    def _told(self) -> Iterator[Event]:
        """What there is to tell since the last time."""
        while self._news:
            yield Notice(message=self._news.pop(0))

    def _masks(
        self, finished: FinishedImage, image: ImagePlan, region: tuple[int, int, int, int] | None, *, saves: bool
    ) -> Iterator[Event]:
        """The mask and the picture without its overlay, as the settings ask."""
        shown, saved = self.options.return_mask, saves and self._wants("save_mask")
        if shown or saved:
            yield self._event(
                finished.mask.convert("RGB"), image, role="mask", text="", shown=shown, saved=saved, has_text=saved
            )
        shown, saved = self.options.return_mask_composite, saves and self._wants("save_mask_composite")
        if shown or saved:
            composite = compose.mask_composite(finished.raw, finished.mask, region)
            yield self._event(
                composite, image, role="mask_composite", text="", shown=shown, saved=saved, has_text=saved
            )

    def _flat(self, given: ImageData) -> Image.Image:
        """A picture as img2img sees one: what is transparent shows the colour of the settings."""
        return compose.flatten(given.open(), self.options.img2img_background_color)

    def _wants(self, setting: str) -> bool:
        return self.plan.saving.samples and bool(self.saving.get(setting, False))

    def _event(
        self,
        picture: Image.Image,
        image: ImagePlan,
        *,
        role: str = "sample",
        text: str | None = None,
        shown: bool = True,
        saved: bool = True,
        has_text: bool = True,
    ) -> ImageDone:
        if has_text and not text:
            text = infotext(self.plan, image.index, self.facts)
        return image_done(self.plan, picture, image, role=role, text=text or "", shown=shown, saved=saved)
