"""The axes of the plot, in A1111's order: what a value means, and how it changes a request.

An axis reads texts into values (`read`), writes one value into a request (`put`) and words its legend (`show`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from modules.extensions.api import GenerationRequest, InvalidRequest, Tab, changed

from .values import numbers, texts, whole_numbers

Put = Callable[[GenerationRequest, Any, Sequence[Any]], GenerationRequest]
"""(request, value, all values of the axis) → the request with the value."""

BOTH: frozenset[Tab] = frozenset({"txt2img", "img2img"})
TXT2IMG: frozenset[Tab] = frozenset({"txt2img"})
IMG2IMG: frozenset[Tab] = frozenset({"img2img"})


@dataclass(frozen=True)
class Axis:
    """One kind of axis. `cost` says how dear a change of the value is (1: another checkpoint): dear axes change last.

    `choices` are all values, or the name of a list that the page knows ("samplers"); () for free values.
    """

    label: str
    put: Put
    read: Callable[[str], list[Any]] = texts
    cost: float = 0.0
    tabs: frozenset[Tab] = BOTH
    choices: str | tuple[str, ...] = ()
    show: Callable[[Axis, Any], str] = lambda axis, value: f"{axis.label}: {value}"

    @property
    def is_seed(self) -> bool:
        return self.label in ("Seed", "Var. seed")


def value_alone(axis: Axis, value: Any) -> str:
    return str(value)


def file_name(axis: Axis, value: Any) -> str:
    return PurePath(str(value).replace("\\", "/")).name


def nothing(axis: Axis, value: Any) -> str:
    return ""


# ── writing a value into a request ───────────────────────────────────────────────────────────────────────────────


def field(path: str, *, replaces: str | None = None) -> Put:
    """Writes a field of the request, `part.leaf`; `replaces` is the setting that would otherwise say the same."""
    part, _, leaf = path.partition(".")

    def put(request: GenerationRequest, value: Any, values: Sequence[Any]) -> GenerationRequest:
        holder = getattr(request, part)
        if leaf and holder is None:
            needs = {"hires": "Hires. fix", "refiner": "the refiner", "source": "a source picture"}[part]
            raise InvalidRequest(f"it needs {needs}, which this job does not have", field=path)
        if replaces in request.overrides:
            others = {key: given for key, given in request.overrides.items() if key != replaces}
            request = changed(request, overrides=others)
        return changed(request, **{part: changed(holder, **{leaf: value}) if leaf else value})

    return put


def setting(key: str) -> Put:
    """Overrides a setting for the cell."""

    def put(request: GenerationRequest, value: Any, values: Sequence[Any]) -> GenerationRequest:
        return changed(request, overrides={**request.overrides, key: value})

    return put


def put_nothing(request: GenerationRequest, value: Any, values: Sequence[Any]) -> GenerationRequest:
    return request


def put_denoising(request: GenerationRequest, value: float, values: Sequence[Any]) -> GenerationRequest:
    path = "source.denoising_strength" if request.source is not None else "hires.denoising_strength"
    return field(path)(request, value, values)


def search_and_replace(request: GenerationRequest, value: str, values: Sequence[str]) -> GenerationRequest:
    """The first value of the axis is looked for in both prompts and replaced by this one."""
    wanted = values[0]
    if wanted not in request.prompt and wanted not in request.negative_prompt:
        raise InvalidRequest(f'"{wanted}" is neither in the prompt nor in the negative prompt', field="prompt")
    return changed(
        request,
        prompt=request.prompt.replace(wanted, value),
        negative_prompt=request.negative_prompt.replace(wanted, value),
    )


def prompt_order(request: GenerationRequest, value: Sequence[str], values: Sequence[Any]) -> GenerationRequest:
    """The terms stand, in this order, at the places where they are first seen in the prompt."""
    prompt, at, pieces = request.prompt, 0, []
    if missing := [term for term in value if term not in prompt]:
        raise InvalidRequest(f'"{missing[0]}" is not in the prompt', field="prompt")
    seen = sorted(value, key=prompt.find)
    for term, instead in zip(seen, value, strict=True):
        start = prompt.find(term, at)
        if start < 0:
            raise InvalidRequest(f'"{term}" overlaps another term of the prompt', field="prompt")
        pieces += [prompt[at:start], instead]
        at = start + len(term)
    return changed(request, prompt="".join(pieces) + prompt[at:])


def permutations(text: str) -> list[tuple[str, ...]]:
    terms = texts(text)
    if len(terms) > 6:
        raise ValueError(f"{len(terms)} terms have more than 720 orders; list six at most")
    return list(itertools.permutations(terms))


def put_vae(request: GenerationRequest, value: str, values: Sequence[Any]) -> GenerationRequest:
    known = {"auto": "Automatic", "automatic": "Automatic", "none": "None"}
    return field("model.vae", replaces="sd_vae")(request, known.get(value.lower(), value), values)


def put_refiner(request: GenerationRequest, value: str, values: Sequence[Any]) -> GenerationRequest:
    if value == "None":
        return changed(request, refiner=None)
    if request.refiner is None:
        return changed(request, refiner={"checkpoint": value})
    return field("refiner.checkpoint")(request, value, values)


def add_styles(request: GenerationRequest, value: str, values: Sequence[Any]) -> GenerationRequest:
    added = tuple(name.strip() for name in value.split(",") if name.strip())
    return changed(request, styles=(*request.styles, *added))


def put_unipc_order(request: GenerationRequest, value: int, values: Sequence[Any]) -> GenerationRequest:
    return setting("uni_pc_order")(request, max(1, min(value, request.sampling.steps - 1)), values)


def put_face_restoration(request: GenerationRequest, value: str, values: Sequence[Any]) -> GenerationRequest:
    named = {"codeformer": "CodeFormer", "gfpgan": "GFPGAN"}.get(value.lower())
    is_on = named is not None or is_true(value)
    overrides = {**request.overrides, **({"face_restoration_model": named} if named else {})}
    return changed(request, restore_faces=is_on, overrides=overrides)


def put_size(request: GenerationRequest, value: str, values: Sequence[Any]) -> GenerationRequest:
    match = re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)", value)
    if match is None:
        raise InvalidRequest(f'"{value}" is not a size; write it as 512x768', field="size")
    return changed(request, size={"width": int(match[1]), "height": int(match[2])})


def is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "yes", "y", "1", "on")


def booleans(text: str) -> list[bool]:
    return [is_true(part) for part in texts(text)]


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────

TRUE_FALSE = ("True", "False")

AXES: tuple[Axis, ...] = (
    Axis("Nothing", put_nothing, show=nothing),
    Axis("Seed", field("seed.value"), whole_numbers),
    Axis("Var. seed", field("seed.variation"), whole_numbers),
    Axis("Var. strength", field("seed.variation_strength"), numbers),
    Axis("Steps", field("sampling.steps"), whole_numbers),
    Axis("Hires steps", field("hires.steps"), whole_numbers, tabs=TXT2IMG),
    Axis("CFG Scale", field("sampling.cfg_scale"), numbers),
    Axis("Image CFG Scale", field("sampling.image_cfg_scale"), numbers, tabs=IMG2IMG),
    Axis("Prompt S/R", search_and_replace, show=value_alone),
    Axis("Prompt order", prompt_order, permutations, show=lambda axis, terms: ", ".join(terms)),
    Axis("Sampler", field("sampling.sampler"), choices="samplers", show=value_alone),
    Axis("Hires sampler", field("hires.sampler"), tabs=TXT2IMG, choices="samplers", show=value_alone),
    Axis(
        "Checkpoint name", field("model.checkpoint", replaces="sd_model_checkpoint"), cost=1.0, choices="checkpoints",
        show=file_name,
    ),
    Axis("Negative Guidance minimum sigma", field("sampling.s_min_uncond"), numbers),
    Axis("Sigma Churn", field("sampling.s_churn"), numbers),
    Axis("Sigma min", field("sampling.s_tmin"), numbers),
    Axis("Sigma max", field("sampling.s_tmax"), numbers),
    Axis("Sigma noise", field("sampling.s_noise"), numbers),
    Axis("Schedule type", field("sampling.schedule"), choices="schedules"),
    Axis("Schedule min sigma", setting("sigma_min"), numbers),
    Axis("Schedule max sigma", setting("sigma_max"), numbers),
    Axis("Schedule rho", setting("rho"), numbers),
    Axis("Beta schedule alpha", setting("beta_dist_alpha"), numbers),
    Axis("Beta schedule beta", setting("beta_dist_beta"), numbers),
    Axis("Eta", field("sampling.eta"), numbers),
    Axis("Clip skip", field("model.clip_skip", replaces="CLIP_stop_at_last_layers"), whole_numbers),
    Axis("Denoising", put_denoising, numbers),
    Axis("Initial noise multiplier", field("source.initial_noise_multiplier"), numbers),
    Axis("Extra noise", setting("img2img_extra_noise"), numbers),
    Axis("Hires upscaler", field("hires.upscaler"), tabs=TXT2IMG, choices="upscalers", show=value_alone),
    Axis("Cond. Image Mask Weight", setting("inpainting_mask_weight"), numbers, tabs=IMG2IMG),
    Axis("VAE", put_vae, cost=0.7, choices="vaes", show=value_alone),
    Axis("Styles", add_styles, choices="styles", show=value_alone),
    Axis("UniPC Order", put_unipc_order, whole_numbers, cost=0.5),
    Axis("Face restore", put_face_restoration, choices=("CodeFormer", "GFPGAN", "None"), show=value_alone),
    Axis("Token merging ratio", setting("token_merging_ratio"), numbers),
    Axis("Token merging ratio high-res", setting("token_merging_ratio_hr"), numbers),
    Axis(
        "Always discard next-to-last sigma", setting("always_discard_next_to_last_sigma"), booleans,
        choices=TRUE_FALSE,
    ),
    Axis("SGM noise multiplier", setting("sgm_noise_multiplier"), booleans, choices=TRUE_FALSE),
    Axis("Refiner checkpoint", put_refiner, cost=1.0, choices="checkpoints", show=file_name),
    Axis("Refiner switch at", field("refiner.switch_at"), numbers),
    Axis("RNG source", setting("randn_source"), choices=("GPU", "CPU", "NV")),
    Axis("FP8 mode", setting("fp8_storage"), cost=0.9, choices=("Disable", "Enable for SDXL", "Enable")),
    Axis("Size", put_size),
    Axis(
        "[Hypertile] Unet First pass Enabled", setting("hypertile_enable_unet"), booleans, choices=TRUE_FALSE
    ),
    Axis(
        "[Hypertile] Unet Second pass Enabled", setting("hypertile_enable_unet_secondpass"), booleans,
        choices=TRUE_FALSE,
    ),
    Axis("[Hypertile] Unet Max Depth", setting("hypertile_max_depth_unet"), whole_numbers),
    Axis("[Hypertile] Unet Max Tile Size", setting("hypertile_max_tile_unet"), whole_numbers),
    Axis("[Hypertile] Unet Swap Size", setting("hypertile_swap_size_unet"), whole_numbers),
    Axis("[Hypertile] VAE Enabled", setting("hypertile_enable_vae"), booleans, choices=TRUE_FALSE),
    Axis("[Hypertile] VAE Max Depth", setting("hypertile_max_depth_vae"), whole_numbers),
    Axis("[Hypertile] VAE Max Tile Size", setting("hypertile_max_tile_vae"), whole_numbers),
    Axis("[Hypertile] VAE Swap Size", setting("hypertile_swap_size_vae"), whole_numbers),
)  # fmt: skip
"""A1111's axes, and those that its Hypertile extension adds."""


def axes_of(tab: Tab) -> tuple[Axis, ...]:
    """The axes that a tab offers, in order: A1111's clients count them from 0."""
    return tuple(axis for axis in AXES if tab in axis.tabs)
