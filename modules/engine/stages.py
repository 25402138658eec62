"""The typed points at which an extension takes part in making pictures, in the worker.

A stage takes a value and returns a value; it never reaches into the engine. What it may know is in `StageContext`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from modules.engine.inpaint import Inpainting
    from modules.faces.mixing import RestoreFaces
    from modules.generation.plan import ImagePlan, Plan
    from modules.models.loaded import Conditioning, LoadedModel
    from modules.sampling.sampler import Denoiser, Steps


@dataclass
class StageContext:
    """Where a job is: the plan, the batch in hand and, in img2img, what it starts from.

    `pass_name` is "txt2img", "img2img" or "hires". `facts` are infotext entries that only the run can tell; a stage may
    add its own. `scratch` is the stage's own place to keep things from one point to the next of the same batch.
    `upscale` enlarges a picture by an upscaler's name and a factor; it raises UnknownName. `restore_faces` restores the
    faces of a picture in RGB by "GFPGAN" or "CodeFormer" and a weight, and says how many there were; where that cannot
    be done, the picture stays as it is and the person is told.
    """

    plan: Plan
    model: LoadedModel
    pass_name: str
    batch_index: int
    images: tuple[ImagePlan, ...]
    facts: dict[str, Any]  # infotext prints any simple value
    init_latents: Tensor | None = None
    inpainting: Inpainting | None = None
    scratch: dict[str, Any] = field(default_factory=dict)
    upscale: Callable[[Image.Image, str, float], Image.Image] | None = None
    restore_faces: RestoreFaces | None = None


@dataclass(frozen=True)
class FinishedImage:
    """A picture on its way out: `raw` as decoded and colour corrected, and what will be laid over it, if anything.

    `overlay` (RGBA, transparent where the picture shows) and `mask` (L, white where the picture shows) have the size
    of the finished picture. `index` counts within the batch.
    """

    raw: Image.Image
    index: int
    overlay: Image.Image | None = None
    mask: Image.Image | None = None


@dataclass(frozen=True)
class SearchStart:
    """What a search for noise begins with.

    `denoiser` is the network guided by the search's own texts; `latents` (B, C, h, w) are the source's; `sigmas` are
    the model's own levels for the search's number of steps, falling, `steps + 1` of them, the last 0.
    """

    denoiser: Denoiser
    latents: Tensor
    sigmas: Tensor


class NoiseSearch:
    """A way back from img2img's source to the noise it would come from; runs once a job, before its first batch.

    `prompt` and `negative_prompt` are the texts that describe the source, at a guidance of `cfg_scale`; `steps` is how
    many Steps `run` yields. `starting` makes each batch's starting noise of what was found.
    """

    prompt: str = ""
    negative_prompt: str = ""
    cfg_scale: float = 1.0
    steps: int = 1

    def run(self, start: SearchStart) -> Steps:
        """Yields a Step after every update, returns what was found, of the latents' shape."""
        raise NotImplementedError
        yield  # makes this a generator for the type checker

    def starting(self, found: Tensor, drawn: Tensor, latents: Tensor, sigma_max: float) -> Tensor:
        """The noise (B, C, h, w) that img2img adds to `latents`, scaled by the level it starts at.

        `drawn` is the noise of the seeds, of unit variance; `sigma_max` is the model's highest level.
        """
        return found


class Stage:
    """A script's part in a job; override what is needed."""

    blends_latents = False
    """True when `blend` replaces the engine's own blending of masked latents."""

    rounds_mask = True
    """False to keep grey values in the latent mask of every inpainting job that this stage is active in."""

    def on_conditioning(self, conditioning: Conditioning, context: StageContext) -> Conditioning:
        """The text conditioning of one call of the network, conditional part and unconditional part alike."""
        return conditioning

    def noise_search(self) -> NoiseSearch | None:
        """How img2img's starting noise is found in its source; None starts from the noise of the seeds."""
        return None

    def wrap_denoiser(self, denoiser: Denoiser, context: StageContext) -> Denoiser:
        """A denoiser around the guided denoiser of one pass (after CFG, before the mask is blended in)."""
        return denoiser

    def blend(self, latents: Tensor, sigma: Tensor, context: StageContext) -> Tensor | None:
        """Masked latents (B, C, h, w) blended with the source's; None leaves it to the engine.

        `sigma` is the noise level, or the timestep for samplers on the discrete grid (as A1111 passes it).
        """
        return None

    def on_latents(self, latents: Tensor, context: StageContext) -> Tensor:
        """The finished latents (B, C, h, w) of a batch before they are decoded."""
        return latents

    def on_image(self, image: FinishedImage, context: StageContext) -> FinishedImage:
        """A decoded picture before it is laid over the source and saved."""
        return image

    def on_composed(self, image: Image.Image, context: StageContext) -> Image.Image:
        """A picture as it will be saved, source laid over; of any size from here on."""
        return image


class Stages:
    """The stages of a job in order, each handed the former's answer."""

    def __init__(self, stages: Iterable[Stage] = ()) -> None:
        self.stages = tuple(stages)

    @property
    def blends_latents(self) -> bool:
        return any(stage.blends_latents for stage in self.stages)

    @property
    def rounds_mask(self) -> bool:
        return all(stage.rounds_mask for stage in self.stages)

    def noise_search(self) -> NoiseSearch | None:
        """The first one that a stage has."""
        return next((search for stage in self.stages if (search := stage.noise_search()) is not None), None)

    def on_conditioning(self, conditioning: Conditioning, context: StageContext) -> Conditioning:
        for stage in self.stages:
            conditioning = stage.on_conditioning(conditioning, context)
        return conditioning

    def wrap_denoiser(self, denoiser: Denoiser, context: StageContext) -> Denoiser:
        for stage in self.stages:
            denoiser = stage.wrap_denoiser(denoiser, context)
        return denoiser

    def blend(self, latents: Tensor, sigma: Tensor, context: StageContext) -> Tensor | None:
        for stage in self.stages:
            if (blended := stage.blend(latents, sigma, context)) is not None:
                return blended
        return None

    def on_latents(self, latents: Tensor, context: StageContext) -> Tensor:
        for stage in self.stages:
            latents = stage.on_latents(latents, context)
        return latents

    def on_image(self, image: FinishedImage, context: StageContext) -> FinishedImage:
        for stage in self.stages:
            image = stage.on_image(image, context)
        return image

    def on_composed(self, image: Image.Image, context: StageContext) -> Image.Image:
        for stage in self.stages:
            image = stage.on_composed(image, context)
        return image
