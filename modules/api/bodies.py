"""The bodies of A1111's generation routes: its field names and defaults. `fields.py` says what each means here.

Like A1111, a field that is null counts as its default, and fields that nobody knows are ignored.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from modules.generation.part import Name


class Body(BaseModel):
    """A request body that ignores what it does not know."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class GenerationBody(Body):
    """What txt2img and img2img have in common."""

    prompt: str | None = ""
    negative_prompt: str | None = ""
    styles: list[Name] | None = Field(None, max_length=1000)
    seed: int | None = -1
    subseed: int | None = -1
    subseed_strength: float | None = 0
    seed_resize_from_h: int | None = -1
    seed_resize_from_w: int | None = -1
    sampler_name: Name | None = None
    sampler_index: Name | None = "Euler"
    scheduler: Name | None = None
    batch_size: int | None = 1
    n_iter: int | None = 1
    steps: int | None = 50
    cfg_scale: float | None = 7.0
    width: int | None = 512
    height: int | None = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool | None = Field(False, description="without effect, as in A1111: `save_images` decides")
    do_not_save_grid: bool | None = Field(False, description="without effect, as in A1111: `save_images` decides")
    eta: float | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool | None = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool | None = False
    comments: dict[str, Any] | None = None
    send_images: bool | None = True
    save_images: bool | None = False
    script_name: Name | None = None
    script_args: list[Any] | None = Field(default_factory=list)
    alwayson_scripts: dict[str, Any] | None = Field(default_factory=dict)
    force_task_id: Name | None = None
    infotext: str | None = None


class Txt2ImgBody(GenerationBody):
    """POST /sdapi/v1/txt2img"""

    denoising_strength: float | None = None
    enable_hr: bool | None = False
    firstphase_width: int | None = 0
    firstphase_height: int | None = 0
    hr_scale: float | None = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = 0
    hr_resize_x: int | None = 0
    hr_resize_y: int | None = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: str | None = ""
    hr_negative_prompt: str | None = ""
    firstpass_image: str | None = None


class Img2ImgBody(GenerationBody):
    """POST /sdapi/v1/img2img"""

    init_images: list[str] | None = None
    resize_mode: int | None = 0
    denoising_strength: float | None = 0.75
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur: int | None = None
    mask_blur_x: int | None = 4
    mask_blur_y: int | None = 4
    mask_round: bool | None = True
    inpainting_fill: int | None = 0
    inpaint_full_res: bool | None = True
    inpaint_full_res_padding: int | None = 0
    inpainting_mask_invert: int | None = 0
    initial_noise_multiplier: float | None = None
    latent_mask: str | None = None
    depth_image: str | None = None
    image_noise_level: int = 0
    include_init_images: bool | None = False


class GenerationAnswer(Body):
    """`info` is JSON text, as in A1111."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class ErrorAnswer(BaseModel):
    """A1111's shape of an error. The gate's refusals (who, from where, how much) have `detail` alone, as FastAPI's."""

    error: str | None = None
    detail: str
    body: str = ""
    errors: str = ""


class _Invalid(BaseModel):
    loc: list[str | int]
    msg: str
    type: str


class InvalidAnswer(BaseModel):
    """FastAPI's shape for a body whose fields have the wrong types, as in A1111."""

    detail: list[_Invalid]
