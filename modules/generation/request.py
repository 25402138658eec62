"""What someone asked for. Gaps are allowed: `None` means "not given" and ends in the planner, where settings fill it.

txt2img, img2img and inpainting are one request: no `source` is txt2img, a `source` is img2img (SDEdit,
arXiv:2108.01073), a source with `inpaint` is inpainting (Blended Latent Diffusion, arXiv:2206.02779).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from modules.generation.part import Choice, Name, Part, Size, Text
from modules.images.data import ImageData


class ResizeMode(Choice):
    """How a source picture is brought to the asked size; A1111's index is the order."""

    JUST_RESIZE = "Just resize"
    CROP = "Crop and resize"
    FILL = "Resize and fill"
    LATENT = "Just resize (latent upscale)"


class MaskedContent(Choice):
    """What the masked area starts from; A1111's index is the order."""

    FILL = "fill"
    ORIGINAL = "original"
    LATENT_NOISE = "latent noise"
    LATENT_NOTHING = "latent nothing"


class SeedPart(Part):
    """Seeds. -1 draws one at random. `variation_strength` > 0 blends in the noise of `variation`."""

    value: int = -1
    variation: int = -1
    variation_strength: float = Field(0.0, ge=0.0, le=1.0)
    resize_from: Size | None = None


class SamplingPart(Part):
    """The sampler and its parameters; `schedule` None lets the sampler's label or default decide."""

    sampler: str = "DPM++ 2M"
    schedule: str | None = None
    steps: int = Field(20, ge=1, le=1000)
    cfg_scale: float = Field(7.0, ge=0.0, le=100.0)
    image_cfg_scale: float | None = Field(None, ge=0.0, le=100.0)
    eta: float | None = Field(None, ge=0.0, le=10.0)
    s_churn: float | None = Field(None, ge=0.0)
    s_tmin: float | None = Field(None, ge=0.0, le=1000.0)
    s_tmax: float | None = Field(None, ge=0.0)
    s_noise: float | None = Field(None, ge=0.0, le=10.0)
    s_min_uncond: float | None = Field(None, ge=0.0, le=1000.0)
    token_merging_ratio: float | None = Field(None, ge=0.0, le=0.9)


class BatchPart(Part):
    """`count` batches of `size` pictures; `count` is A1111's "Batch count", `n_iter` in its API."""

    size: int = Field(1, ge=1, le=64)
    count: int = Field(1, ge=1, le=1000)


class ModelPart(Part):
    """Which weights: `checkpoint` by title, name or hash as the catalog lists it, `vae` a file, Automatic or None."""

    checkpoint: str | None = None
    vae: str | None = None
    clip_skip: int | None = Field(None, ge=1, le=12)


class RefinerPart(Part):
    """A second checkpoint that takes over at a share of the noise-level range (A1111: "Switch at")."""

    checkpoint: str
    switch_at: float = Field(0.8, ge=0.0, le=1.0)


class HiresPart(Part):
    """Hires fix: a second img2img pass over the upscaled first result.

    With both `resize_*` 0 the factor `scale` decides; with one it fixes that side; with both the result covers them.
    """

    upscaler: str = "Latent"
    steps: int = Field(0, ge=0, le=1000)
    denoising_strength: float = Field(0.7, ge=0.0, le=1.0)
    scale: float = Field(2.0, ge=1.0, le=8.0)
    resize_width: int = Field(0, ge=0)
    resize_height: int = Field(0, ge=0)
    checkpoint: str | None = None
    sampler: str | None = None
    schedule: str | None = None
    prompt: Text = ""
    negative_prompt: Text = ""
    cfg_scale: float | None = Field(None, ge=0.0, le=100.0)
    first_pass_image: ImageData | None = None


class InpaintPart(Part):
    """A mask over the source, in the source's pixels; white (255) is repainted."""

    mask: ImageData
    latent_mask: ImageData | None = None
    blur_x: int = Field(4, ge=0, le=256)
    blur_y: int = Field(4, ge=0, le=256)
    invert: bool = False
    content: MaskedContent = MaskedContent.ORIGINAL
    only_masked: bool = False
    padding: int = Field(32, ge=0, le=2048)
    rounded: bool = True


class SourcePart(Part):
    """The picture or pictures to start from; several pictures make a batch of that many.

    `depth` tells a depth model how near things are (white: near), instead of an estimate. `image_noise_level` is how
    much an unCLIP model's idea of the pictures is blurred, in time steps. `color_reference` is the picture whose
    colours the setting `img2img_color_correction` brings back, instead of the source.
    """

    images: tuple[ImageData, ...] = Field(min_length=1)
    denoising_strength: float = Field(0.75, ge=0.0, le=1.0)
    resize_mode: ResizeMode = ResizeMode.JUST_RESIZE
    initial_noise_multiplier: float | None = Field(None, ge=0.0, le=10.0)
    depth: ImageData | None = None
    image_noise_level: int = Field(0, ge=0, le=999)
    color_reference: ImageData | None = None
    inpaint: InpaintPart | None = None


class GenerationRequest(Part):
    """One request for pictures, whoever asks: page, API, command line, script.

    `scripts` holds arguments of extensions' scripts by script name. `overrides` holds settings, by key, for this
    request only. `save` None follows the settings.
    """

    prompt: Text = ""
    negative_prompt: Text = ""
    styles: tuple[Name, ...] = Field((), max_length=1000)
    seed: SeedPart = SeedPart()
    size: Size = Size(width=512, height=512)
    batch: BatchPart = BatchPart()
    sampling: SamplingPart = SamplingPart()
    model: ModelPart = ModelPart()
    refiner: RefinerPart | None = None
    source: SourcePart | None = None
    hires: HiresPart | None = None
    tiling: bool | None = None
    restore_faces: bool | None = None
    disable_extra_networks: bool = False
    save: bool | None = None
    scripts: dict[str, dict[str, Any]] = Field(default_factory=dict)  # a script's own model checks its arguments
    overrides: dict[str, Any] = Field(default_factory=dict)  # the settings schema checks the values
