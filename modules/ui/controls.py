"""The one table of the page's controls: UI path ↔ component.

A control's path is the dotted path of the request field it fills (`sampling.steps`); paths marked `request=None`
steer the page only (`hires.on`). Labels, ranges, defaults and element ids are A1111's (behaviour reference 8.2-8.3), so
muscle memory, user styles and userscripts keep working. `modules/ui/form.py` turns values under these paths into a
request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modules.generation.request import MaskedContent, ResizeMode

Kind = Literal["text", "slider", "number", "checkbox", "switch", "dropdown", "multiselect", "radio", "picture"]

SAME_CHECKPOINT, SAME_SAMPLER, SAME_SCHEDULE = "Use same checkpoint", "Use same sampler", "Use same scheduler"
MASK_MODES = ("Inpaint masked", "Inpaint not masked")
INPAINT_AREAS = ("Whole picture", "Only masked")

SOURCE_TABS = ("img2img", "inpaint")
GENERATION_TABS = ("txt2img", *SOURCE_TABS)


@dataclass(frozen=True)
class Control:
    """One control: how it is drawn, where it is, and which leaf of GenerationRequest it fills.

    `element` is the suffix of the DOM id (`txt2img_steps`). `choices` is a tuple, or the name of a list that
    `Services.choices` knows ("samplers"). `request` "" means "the leaf of the same path", None a page-only control.
    """

    label: str
    element: str
    kind: Kind
    default: Any = None  # of the control's own type
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: str | tuple[str, ...] = ()
    tabs: tuple[str, ...] = GENERATION_TABS
    request: str | tuple[str, ...] | None = ""
    lines: int = 1
    placeholder: str | None = None

    def leaves(self, path: str) -> tuple[str, ...]:
        """The request's leaves this control fills, as dotted paths."""
        if self.request is None:
            return ()
        if isinstance(self.request, tuple):
            return self.request
        return (self.request or path,)


def _slider(label: str, element: str, default: float, low: float, high: float, step: float, **more: Any) -> Control:
    return Control(label, element, "slider", default, minimum=low, maximum=high, step=step, **more)


PROMPT_HINT = "Ctrl+Enter generates, Alt+Enter skips, Esc interrupts"

CONTROLS: dict[str, Control] = {
    "prompt": Control("Prompt", "prompt", "text", "", lines=3, placeholder=f"Prompt ({PROMPT_HINT})"),
    "negative_prompt": Control(
        "Negative prompt", "neg_prompt", "text", "", lines=2, placeholder=f"Negative prompt ({PROMPT_HINT})"
    ),
    "styles": Control("Styles", "styles", "multiselect", (), choices="styles"),
    "sampling.sampler": Control("Sampling method", "sampling", "dropdown", "DPM++ 2M", choices="samplers"),
    "sampling.schedule": Control("Schedule type", "scheduler", "dropdown", "Automatic", choices="schedules"),
    "sampling.steps": _slider("Sampling steps", "steps", 20, 1, 150, 1),
    "hires.on": Control("Hires. fix", "hr_enable", "switch", False, tabs=("txt2img",), request=None),
    "hires.upscaler": Control(
        "Upscaler", "hr_upscaler", "dropdown", "Latent", choices="upscalers", tabs=("txt2img",)
    ),
    "hires.steps": _slider("Hires steps", "hires_steps", 0, 0, 150, 1, tabs=("txt2img",)),
    "hires.denoising_strength": _slider("Denoising strength", "denoising_strength", 0.7, 0, 1, 0.01, tabs=("txt2img",)),
    "hires.scale": _slider("Upscale by", "hr_scale", 2.0, 1.0, 4.0, 0.05, tabs=("txt2img",)),
    "hires.resize_width": _slider("Resize width to", "hr_resize_x", 0, 0, 2048, 8, tabs=("txt2img",)),
    "hires.resize_height": _slider("Resize height to", "hr_resize_y", 0, 0, 2048, 8, tabs=("txt2img",)),
    "hires.checkpoint": Control(
        "Hires checkpoint", "hr_checkpoint", "dropdown", SAME_CHECKPOINT, choices="hires_checkpoints", tabs=("txt2img",)
    ),
    "hires.sampler": Control(
        "Hires sampling method", "hr_sampler", "dropdown", SAME_SAMPLER, choices="hires_samplers", tabs=("txt2img",)
    ),
    "hires.schedule": Control(
        "Hires schedule type", "hr_scheduler", "dropdown", SAME_SCHEDULE, choices="hires_schedules", tabs=("txt2img",)
    ),
    "hires.prompt": Control(
        "Hires prompt", "hr_prompt", "text", "", lines=2, tabs=("txt2img",),
        placeholder="Prompt of the hires fix pass; empty for the same as in the first pass",
    ),
    "hires.negative_prompt": Control(
        "Hires negative prompt", "hr_neg_prompt", "text", "", lines=2, tabs=("txt2img",),
        placeholder="Negative prompt of the hires fix pass; empty for the same as in the first pass",
    ),
    "refiner.on": Control("Refiner", "enable", "switch", False, request=None),
    "refiner.checkpoint": Control("Checkpoint", "checkpoint", "dropdown", "", choices="refiners"),
    "refiner.switch_at": _slider("Switch at", "switch_at", 0.8, 0.01, 1.0, 0.01),
    "size.width": _slider("Width", "width", 512, 64, 2048, 8),
    "size.height": _slider("Height", "height", 512, 64, 2048, 8),
    "batch.count": _slider("Batch count", "batch_count", 1, 1, 100, 1),
    "batch.size": _slider("Batch size", "batch_size", 1, 1, 8, 1),
    "sampling.cfg_scale": _slider("CFG Scale", "cfg_scale", 7.0, 1.0, 30.0, 0.5),
    "sampling.image_cfg_scale": _slider("Image CFG Scale", "image_cfg_scale", 1.5, 0.0, 3.0, 0.05, tabs=SOURCE_TABS),
    "source.denoising_strength": _slider(
        "Denoising strength", "denoising_strength", 0.75, 0, 1, 0.01, tabs=SOURCE_TABS
    ),
    "seed.value": Control("Seed", "seed", "number", -1),
    "seed.extra": Control("Extra", "subseed_show", "checkbox", False, request=None),
    "seed.variation": Control("Variation seed", "subseed", "number", -1),
    "seed.variation_strength": _slider("Variation strength", "subseed_strength", 0.0, 0, 1, 0.01),
    "seed.resize_from.width": _slider("Resize seed from width", "seed_resize_from_w", 0, 0, 2048, 8),
    "seed.resize_from.height": _slider("Resize seed from height", "seed_resize_from_h", 0, 0, 2048, 8),
    "source.picture": Control(
        "Source", "image", "picture", None, tabs=SOURCE_TABS, request=("source.images", "source.inpaint.mask")
    ),
    "source.resize_mode": Control(
        "Resize mode", "resize_mode", "radio", ResizeMode.JUST_RESIZE.value,
        choices=tuple(mode.value for mode in ResizeMode), tabs=SOURCE_TABS,
    ),
    "source.scale_on": Control("Resize by", "resize_by", "checkbox", False, tabs=SOURCE_TABS, request=None),
    "source.scale": _slider("Scale", "scale", 1.0, 0.05, 4.0, 0.05, tabs=SOURCE_TABS, request=None),
    "source.inpaint.blur": _slider(
        "Mask blur", "mask_blur", 4, 0, 64, 1, tabs=("inpaint",),
        request=("source.inpaint.blur_x", "source.inpaint.blur_y"),
    ),
    "source.inpaint.transparency": _slider(
        "Mask transparency", "mask_alpha", 0, 0, 100, 1, tabs=("inpaint",), request=None
    ),
    "source.inpaint.mode": Control(
        "Mask mode", "mask_mode", "radio", MASK_MODES[0], choices=MASK_MODES, tabs=("inpaint",),
        request="source.inpaint.invert",
    ),
    "source.inpaint.content": Control(
        "Masked content", "inpainting_fill", "radio", MaskedContent.ORIGINAL.value,
        choices=tuple(content.value for content in MaskedContent), tabs=("inpaint",),
    ),
    "source.inpaint.area": Control(
        "Inpaint area", "inpaint_full_res", "radio", INPAINT_AREAS[0], choices=INPAINT_AREAS, tabs=("inpaint",),
        request="source.inpaint.only_masked",
    ),
    "source.inpaint.padding": _slider(
        "Only masked padding, pixels", "inpaint_full_res_padding", 32, 0, 256, 4, tabs=("inpaint",)
    ),
    "overrides": Control("Override settings", "override_settings", "multiselect", (), choices="overrides"),
}  # fmt: skip
"""Every control of the generation tabs, in A1111's order."""

SHARED: dict[str, Control] = {
    "model.checkpoint": Control(
        "Stable Diffusion checkpoint", "sd_model_checkpoint", "dropdown", choices="checkpoints"
    ),
}
"""Quick settings above the tabs: one control for all generation tabs."""


def controls_of(tab: str) -> dict[str, Control]:
    """The controls a generation tab shows, by path, the shared ones included."""
    return {path: control for path, control in (SHARED | CONTROLS).items() if tab in control.tabs}


def element_id(tab: str, path: str) -> str:
    """The DOM id of a control: `txt2img_steps`; shared ones have no prefix (`setting_sd_model_checkpoint`)."""
    if path in SHARED:
        return f"setting_{SHARED[path].element}"
    return f"{tab}_{CONTROLS[path].element}"


def paths_with(kinds: Sequence[Kind], tab: str) -> tuple[str, ...]:
    """The paths of a tab's controls of these kinds."""
    return tuple(path for path, control in controls_of(tab).items() if control.kind in kinds)
