"""A1111's recorded infotexts beside plans for the same requests, built by hand.

`data/recorded.jsonl` holds request bodies and the `parameters` chunks that A1111 v1.10.1 wrote for them (tiny random
checkpoints on a CPU): id, endpoint, payload, infotexts, options (global ones), masked.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from modules.generation.part import Size
from modules.generation.plan import (
    HiresPlan,
    ImagePlan,
    InpaintPlan,
    ModelRef,
    NoisePlan,
    Plan,
    RefinerPlan,
    SamplingPlan,
    SavingPlan,
    SourcePlan,
    VaeRef,
)
from modules.generation.request import MaskedContent, ResizeMode
from modules.images.data import ImageData
from modules.settings.stable_diffusion import GenerationOptions

HASHES = {
    "tiny-sd15": "bf06cc6001",
    "tiny-sd15-inpainting": "36c0822b32",
    "tiny-sd21-v": "715ab1bf09",
    "tiny-second": "59c8a23f0d",
}
DEFAULT_SCHEDULES = {
    **dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a", "Restart"), "Karras"),
    **dict.fromkeys(("DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"), "Exponential"),
}
PICTURE = ImageData(b"")


@functools.cache
def cases() -> tuple[dict[str, Any], ...]:
    lines = (Path(__file__).parent / "data" / "recorded.jsonl").read_text("utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def plan_of(case: dict[str, Any]) -> Plan:
    """The plan of a recorded request. Prompts are those of the texts: styles and comments are not under test here."""
    payload = case["payload"]
    settings = {**case.get("options", {}), **payload.get("override_settings", {})}
    name = settings.pop("sd_model_checkpoint")
    vae = settings.pop("sd_vae", None)
    options = GenerationOptions(
        **{key: value for key, value in settings.items() if key in GenerationOptions.model_fields}
    )
    sampler = payload.get("sampler_name", "Euler")
    for_payload = {key: payload[key] for key in ("eta", "s_churn", "s_noise", "s_min_uncond") if key in payload}
    sampling = SamplingPlan(
        sampler=sampler,
        schedule=_schedule(sampler, payload.get("scheduler")),
        steps=payload["steps"],
        cfg_scale=payload["cfg_scale"],
        **for_payload,
    )
    resize = (payload.get("seed_resize_from_w", 0), payload.get("seed_resize_from_h", 0))
    return Plan(
        model=_model(name),
        vae=VaeRef(path=f"VAE/{vae}", name=vae, sha256="6c8bc0344d" + "0" * 54) if vae else None,
        size=Size(
            width=payload.get("firstphase_width") or payload["width"],
            height=payload.get("firstphase_height") or payload["height"],
        ),
        batch_size=payload.get("batch_size", 1),
        images=_images(case),
        noise=NoisePlan(
            variation_strength=payload.get("subseed_strength", 0.0),
            resize_from=Size(width=resize[0], height=resize[1]) if all(resize) else None,
        ),
        sampling=sampling,
        refiner=_refiner(payload),
        hires=_hires(payload, sampling) if payload.get("enable_hr") else None,
        source=_source(case) if case["endpoint"] == "img2img" else None,
        clip_skip=options.CLIP_stop_at_last_layers,
        tiling=payload.get("tiling", options.tiling),
        options=options,
        saving=SavingPlan(),
        version="v1.10.1",
    )


def _model(name: str) -> ModelRef:
    digest = HASHES[name]
    return ModelRef(path=f"{name}.safetensors", title=f"{name} [{digest}]", name=name, sha256=digest + "0" * 54)


def _schedule(sampler: str, asked: str | None) -> str:
    if sampler in ("DDIM", "DDIM CFG++", "PLMS", "UniPC") and asked in (None, "Automatic"):
        return "Automatic"
    return DEFAULT_SCHEDULES.get(sampler, "Automatic") if asked in (None, "Automatic") else asked


def _images(case: dict[str, Any]) -> tuple[ImagePlan, ...]:
    payload = case["payload"]
    fixed = bool(payload.get("subseed_strength"))
    images = []
    for index, text in enumerate(case["infotexts"]):
        prompt, _, negative = text.rpartition("\n")[0].partition("\nNegative prompt: ")
        if prompt.startswith("Negative prompt: "):
            prompt, negative = "", prompt.removeprefix("Negative prompt: ")
        images.append(
            ImagePlan(
                index=index,
                seed=payload["seed"] + (0 if fixed else index),
                subseed=payload.get("subseed", -1) + index,
                prompt=prompt,
                negative_prompt=negative,
                hires_prompt=payload.get("hr_prompt") or prompt,
                hires_negative_prompt=payload.get("hr_negative_prompt") or negative,
            )
        )
    return tuple(images)


def _refiner(payload: dict[str, Any]) -> RefinerPlan | None:
    name = payload.get("refiner_checkpoint")
    return RefinerPlan(model=_model(name), switch_at=payload["refiner_switch_at"]) if name else None


def _hires(payload: dict[str, Any], first: SamplingPlan) -> HiresPlan:
    size = Size(width=payload["width"], height=payload["height"])
    schedule = payload.get("hr_scheduler")
    sampler = payload.get("hr_sampler_name")
    changes = {**({"schedule": schedule} if schedule else {}), **({"sampler": sampler} if sampler else {})}
    return HiresPlan(
        upscaler=payload["hr_upscaler"],
        is_latent=payload["hr_upscaler"].startswith("Latent"),
        upscaled=size,
        size=size,
        denoising_strength=payload["denoising_strength"],
        sampling=first.model_copy(update=changes),
        model=_model(payload["hr_checkpoint_name"]) if payload.get("hr_checkpoint_name") else None,
        scale=payload.get("hr_scale", 2.0),
        resize_width=payload.get("hr_resize_x", 0),
        resize_height=payload.get("hr_resize_y", 0),
        steps_asked=payload.get("hr_second_pass_steps", 0),
        sampler_asked=sampler,
        schedule_asked=schedule,
        has_own_prompt=bool(payload.get("hr_prompt")),
        has_own_negative_prompt=bool(payload.get("hr_negative_prompt")),
    )


def _source(case: dict[str, Any]) -> SourcePlan:
    payload = case["payload"]
    blur = payload.get("mask_blur", 4)
    inpaint = InpaintPlan(
        mask=PICTURE,
        latent_mask=None,
        blur_x=payload.get("mask_blur_x", blur),
        blur_y=payload.get("mask_blur_y", blur),
        invert=bool(payload.get("inpainting_mask_invert")),
        content=tuple(MaskedContent)[payload.get("inpainting_fill", 0)],
        only_masked=payload.get("inpaint_full_res", True),
        padding=payload.get("inpaint_full_res_padding", 0),
        rounded=True,
    )
    return SourcePlan(
        images=(PICTURE,),
        denoising_strength=payload["denoising_strength"],
        resize_mode=tuple(ResizeMode)[payload.get("resize_mode", 0)],
        # A1111 takes the request's field or the global setting, never the override.
        initial_noise_multiplier=payload.get(
            "initial_noise_multiplier", case.get("options", {}).get("initial_noise_multiplier", 1.0)
        ),
        inpaint=inpaint if case.get("masked") else None,
    )
