"""What will happen, without gaps: seeds drawn, names resolved, sizes computed, prompts expanded.

The same plan on the same worker gives the same pictures, and infotext is a pure function of a plan (and of the facts
that only the run can tell, such as the hashes of the LoRAs it applied).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from modules.generation.part import Part, Size
from modules.generation.request import MaskedContent, ResizeMode
from modules.images.data import ImageData
from modules.settings.stable_diffusion import GenerationOptions

StatedPrediction = Literal["epsilon", "v", "v-zero-terminal-snr"]
"""What a person says a network predicts; the last one was also trained down to no signal at all."""


class ModelRef(Part):
    """A checkpoint, a file or a folder: `name` is its stem (infotext `Model`), `title` what drop-downs show.

    The hash may come later. `base` is the path of the checkpoint that lends what this one lacks (text encoders, VAE);
    `prediction` overrules what the file says of itself.
    """

    path: str
    title: str
    name: str
    sha256: str | None = None
    base: str | None = None
    prediction: StatedPrediction | None = None

    @property
    def short_hash(self) -> str | None:
        """A1111's AutoV2: the first ten digits of the sha256."""
        return self.sha256[:10] if self.sha256 else None


class VaeRef(Part):
    """A VAE file used instead of the one inside the checkpoint."""

    path: str
    name: str
    sha256: str | None = None


class ImagePlan(Part):
    """One picture. Prompts have styles applied and comments stripped, and still hold their extra-network tags."""

    index: int
    seed: int
    subseed: int
    prompt: str
    negative_prompt: str
    hires_prompt: str = ""
    hires_negative_prompt: str = ""


class NoisePlan(Part):
    """How start noise is made. The random source and ENSD are in `options`."""

    variation_strength: float = 0.0
    resize_from: Size | None = None


class SamplingPlan(Part):
    """One pass of a sampler.

    `schedule` is resolved: the sampler's default stands where "Automatic" was asked, and "Automatic" stays only for a
    sampler that has none. `eta`, `s_*` None mean that the setting decides (request > setting > sampler's default).
    """

    sampler: str
    schedule: str
    steps: int
    cfg_scale: float
    image_cfg_scale: float | None = None
    eta: float | None = None
    s_churn: float | None = None
    s_tmin: float | None = None
    s_tmax: float | None = None
    s_noise: float | None = None
    s_min_uncond: float | None = None
    token_merging_ratio: float | None = None


class RefinerPlan(Part):
    model: ModelRef
    switch_at: float


class HiresPlan(Part):
    """The second pass. `upscaled` is what the upscaler makes, `size` the final size after cropping the surplus."""

    upscaler: str
    is_latent: bool
    upscaled: Size
    size: Size
    denoising_strength: float
    sampling: SamplingPlan
    model: ModelRef | None = None
    scale: float = 0.0
    resize_width: int = 0
    resize_height: int = 0
    steps_asked: int = 0
    sampler_asked: str | None = None
    schedule_asked: str | None = None
    has_own_prompt: bool = False
    has_own_negative_prompt: bool = False
    first_pass_image: ImageData | None = None


class InpaintPlan(Part):
    """Mask and options as asked; the engine prepares them (blur, crop region, latent mask) from the source's pixels."""

    mask: ImageData
    latent_mask: ImageData | None
    blur_x: int
    blur_y: int
    invert: bool
    content: MaskedContent
    only_masked: bool
    padding: int
    rounded: bool


class SourcePlan(Part):
    images: tuple[ImageData, ...]
    denoising_strength: float
    resize_mode: ResizeMode
    initial_noise_multiplier: float
    upscaler: str | None = None
    inpaint: InpaintPlan | None = None
    depth: ImageData | None = None
    image_noise_level: int = 0
    color_reference: ImageData | None = None


class SavingPlan(Part):
    """Where and how results are written. Patterns are A1111's; `owner_root` keeps users' outputs apart."""

    samples: bool = True
    grid: bool = True
    kind: str = "txt2img"  # "txt2img", "img2img" or "extras": which of A1111's folders
    options: dict[str, Any] = Field(default_factory=dict)  # the saving sections of the settings, by key
    owner: str | None = None


class PreviewPlan(Part):
    """How live previews are drawn (A1111's section "Live previews"). `every` so many steps; -1: none.

    `content` says whose prediction is shown; with `fast_interrupt` interrupted pictures are drawn as previews are.
    """

    enabled: bool = True
    method: Literal["Full", "Approx NN", "Approx cheap", "TAESD"] = "Approx cheap"
    every: int = 10
    grid: bool = True
    file_format: Literal["png", "jpeg", "webp"] = "jpeg"
    full_in_low_memory: bool = False
    content: Literal["Combined", "Prompt", "Negative prompt"] = "Prompt"
    fast_interrupt: bool = False


class Plan(Part):
    """Everything a worker needs to make the pictures of one job."""

    model: ModelRef
    vae: VaeRef | None
    size: Size
    batch_size: int
    images: tuple[ImagePlan, ...]
    noise: NoisePlan
    sampling: SamplingPlan
    refiner: RefinerPlan | None = None
    hires: HiresPlan | None = None
    source: SourcePlan | None = None
    clip_skip: int = 1
    tiling: bool = False
    restore_faces: bool = False
    disable_extra_networks: bool = False
    options: GenerationOptions = GenerationOptions()
    saving: SavingPlan = SavingPlan()
    previews: PreviewPlan = PreviewPlan()
    scripts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    script_infotext: dict[str, str] = Field(default_factory=dict)  # lines that front-side stages of scripts add
    main_prompt: str = ""  # what the grid's infotext shows
    main_negative_prompt: str = ""
    styles: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()  # what the planner changed or ignored, in words, shown with the result
    version: str = ""

    @property
    def batches(self) -> tuple[tuple[ImagePlan, ...], ...]:
        """The pictures in the groups that are sampled together, A1111's iterations."""
        return tuple(
            self.images[start : start + self.batch_size] for start in range(0, len(self.images), self.batch_size)
        )

    def token_merging_ratio(self, *, hires: bool = False) -> float:
        """The share of tokens merged in a pass: what was asked for it, else the most specific setting that is not 0."""
        asked, options = self.sampling.token_merging_ratio, self.options
        if hires and self.hires is not None:
            own = self.hires.sampling.token_merging_ratio or options.token_merging_ratio_hr
            return own or asked or options.token_merging_ratio or 0.0
        by_source = options.token_merging_ratio_img2img if self.source is not None else 0.0
        return asked or by_source or options.token_merging_ratio or 0.0
