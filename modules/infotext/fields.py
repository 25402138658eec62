"""The one table of infotext: every key, in the order A1111 writes them, how it is written and what it means when read.

`FIELDS` is read by the writer (`write.py`), by pasting (`paste.py`) and by a test that requires every part of a request
to be in it or in `NOT_CARRIED`. Keys that neither a request nor a setting knows, such as those of scripts, need no
entry: a run may add any key as a fact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modules.generation.plan import ImagePlan, Plan
from modules.infotext import values
from modules.infotext.values import Value


@dataclass(frozen=True)
class Field:
    """One key.

    `write` gives its value from a plan and one of its pictures, None when it is not to be written. With `on_run` the
    run decides: `write` then only says what the value is once the run has found it to apply (`write.applied`).
    `path` is the request's leaf that a pasted value fills, `setting` the override setting. Several keys may share a
    path; keys with neither are information only.
    """

    label: str
    write: Callable[[Plan, ImagePlan], Value] | None = None
    path: str | None = None
    setting: str | None = None
    on_run: bool = False


BASE = (
    Field("Steps", lambda plan, image: plan.sampling.steps, path="sampling.steps"),
    Field("Sampler", lambda plan, image: plan.sampling.sampler, path="sampling.sampler"),
    Field("Schedule type", lambda plan, image: plan.sampling.schedule, path="sampling.schedule"),
    Field("CFG scale", lambda plan, image: plan.sampling.cfg_scale, path="sampling.cfg_scale"),
    Field(
        "Image CFG scale",
        lambda plan, image: plan.sampling.image_cfg_scale,
        path="sampling.image_cfg_scale",
        on_run=True,
    ),
    Field("Seed", lambda plan, image: image.seed, path="seed.value"),
    Field(
        "Face restoration",
        lambda plan, image: plan.saving.options.get("face_restoration_model") if plan.restore_faces else None,
        path="restore_faces",
        setting="face_restoration",
    ),
    Field("Size", lambda plan, image: plan.size, path="size"),
    Field(
        "Model hash",
        lambda plan, image: plan.model.short_hash if values.is_saved(plan, "add_model_hash_to_info", True) else None,
        path="model.checkpoint",
        setting="sd_model_checkpoint",
    ),
    Field(
        "Model", lambda plan, image: plan.model.name if values.is_saved(plan, "add_model_name_to_info", True) else None
    ),
    Field("FP8 weight", values.option("fp8_storage", "Disable"), on_run=True),
    Field("Cache FP16 weight for LoRA", values.option_value("cache_fp16_weight"), on_run=True),
    Field("VAE hash", values.vae_hash),
    Field("VAE", values.vae_name, path="model.vae", setting="sd_vae"),
    Field(
        "Variation seed",
        lambda plan, image: image.subseed if plan.noise.variation_strength else None,
        path="seed.variation",
    ),
    Field(
        "Variation seed strength",
        lambda plan, image: plan.noise.variation_strength or None,
        path="seed.variation_strength",
    ),
    Field("Seed resize from", lambda plan, image: plan.noise.resize_from, path="seed.resize_from"),
    Field("Denoising strength", values.denoising_strength, path="source.denoising_strength"),
    Field(
        "Conditional mask weight",
        values.option_value("inpainting_mask_weight"),
        setting="inpainting_mask_weight",
        on_run=True,
    ),
    Field(
        "Clip skip",
        lambda plan, image: plan.clip_skip if plan.clip_skip > 1 else None,
        path="model.clip_skip",
        setting="CLIP_stop_at_last_layers",
    ),
    Field("ENSD", values.ensd, setting="eta_noise_seed_delta"),
    Field(
        "Token merging ratio", values.token_merging, path="sampling.token_merging_ratio", setting="token_merging_ratio"
    ),
    Field("Token merging ratio hr", values.token_merging_hires, setting="token_merging_ratio_hr"),
    Field("Init image hash", on_run=True),
    Field("RNG", values.option("randn_source", "GPU"), setting="randn_source"),
    Field("Tiling", lambda plan, image: True if plan.tiling else None, path="tiling", setting="tiling"),
)
"""The keys every picture has or may have, first on the line."""

SCRIPTS = (
    Field("Soft inpainting enabled"),
    Field("Soft inpainting schedule bias"),
    Field("Soft inpainting preservation strength"),
    Field("Soft inpainting transition contrast boost"),
    Field("Soft inpainting mask influence"),
    Field("Soft inpainting difference threshold"),
    Field("Soft inpainting difference contrast"),
    Field("Hypertile U-Net", setting="hypertile_enable_unet", on_run=True),
    Field("Hypertile U-Net second pass", setting="hypertile_enable_unet_secondpass", on_run=True),
    Field("Hypertile U-Net max depth", setting="hypertile_max_depth_unet", on_run=True),
    Field("Hypertile U-Net max tile size", setting="hypertile_max_tile_unet", on_run=True),
    Field("Hypertile U-Net swap size", setting="hypertile_swap_size_unet", on_run=True),
    Field("Hypertile VAE", setting="hypertile_enable_vae", on_run=True),
    Field("Hypertile VAE max depth", setting="hypertile_max_depth_vae", on_run=True),
    Field("Hypertile VAE max tile size", setting="hypertile_max_tile_vae", on_run=True),
    Field("Hypertile VAE swap size", setting="hypertile_swap_size_vae", on_run=True),
)
"""What scripts add before anything else happens."""

EXTRAS = (
    Field(
        "Hires checkpoint",
        values.hires(lambda hires, plan: hires.model and hires.model.title),
        path="hires.checkpoint",
    ),
    Field(
        "Hires sampler",
        values.hires(
            lambda hires, plan: hires.sampler_asked and values.unless(hires.sampling.sampler, plan.sampling.sampler)
        ),
        path="hires.sampler",
    ),
    Field("Hires prompt", values.hires_prompt, path="hires.prompt"),
    Field("Hires negative prompt", values.hires_negative_prompt, path="hires.negative_prompt"),
    Field("Hires schedule type", values.hires_schedule, path="hires.schedule"),
    Field("Hires upscale", values.hires_upscale, path="hires.scale"),
    Field("Hires resize", values.hires_resize, path="hires.resize_width"),
    Field("Hires steps", values.hires(lambda hires, plan: hires.steps_asked or None), path="hires.steps"),
    Field("Hires upscaler", values.hires(lambda hires, plan: hires.upscaler), path="hires.upscaler"),
    Field("VAE Encoder", values.vae_encoder, setting="sd_vae_encode_method"),
    Field(
        "Mask mode",
        values.mask(lambda inpaint: "Inpaint not masked" if inpaint.invert else None),
        path="source.inpaint.invert",
    ),
    Field("Mask blur", values.mask_blur, path="source.inpaint.blur_x"),
    Field(
        "Inpaint area",
        values.mask(lambda inpaint: "Only masked" if inpaint.only_masked else None),
        path="source.inpaint.only_masked",
        on_run=True,
    ),
    Field(
        "Masked area padding",
        values.mask(lambda inpaint: inpaint.padding if inpaint.only_masked else None),
        path="source.inpaint.padding",
        on_run=True,
    ),
    Field(
        "Masked content",
        values.mask(lambda inpaint: values.unless(str(inpaint.content), "original")),
        path="source.inpaint.content",
        on_run=True,
    ),
    Field("Lora hashes", on_run=True),
    Field("Networks not applied", on_run=True),
    Field(
        "Old prompt editing timelines",
        values.option("use_old_scheduling", False),
        setting="use_old_scheduling",
        on_run=True,
    ),
    Field("TI hashes", on_run=True),
    Field("Emphasis", values.option("emphasis", "Original"), setting="emphasis", on_run=True),
    Field(
        "Downcast alphas_cumprod",
        lambda plan, image: plan.options.use_downcasted_alpha_bar or None,
        setting="use_downcasted_alpha_bar",
    ),
    Field("Noise Schedule", values.option("sd_noise_schedule", "Default"), setting="sd_noise_schedule"),
    Field(
        "Noise multiplier",
        lambda plan, image: values.unless(plan.source.initial_noise_multiplier, 1) if plan.source is not None else None,
        path="source.initial_noise_multiplier",
        setting="initial_noise_multiplier",
    ),
    Field("Image noise level", on_run=True),
    Field("Discard penultimate sigma", values.discards, setting="always_discard_next_to_last_sigma"),
    Field("Schedule min sigma", values.sigma_limit("sigma_min"), setting="sigma_min"),
    Field("Schedule max sigma", values.sigma_limit("sigma_max"), setting="sigma_max"),
    Field("Schedule rho", values.rho, setting="rho"),
    Field("Beta schedule alpha", values.beta("beta_dist_alpha"), setting="beta_dist_alpha"),
    Field("Beta schedule beta", values.beta("beta_dist_beta"), setting="beta_dist_beta"),
    Field("SGM noise multiplier", values.sgm_noise, setting="sgm_noise_multiplier"),
    Field("Extra noise", values.extra_noise, setting="img2img_extra_noise"),
    Field("Eta", values.eta_written, path="sampling.eta", setting="eta_ancestral"),
    Field("Eta DDIM", values.eta_ddim, path="sampling.eta", setting="eta_ddim"),
    Field("Sigma churn", values.churn("s_churn", 0), setting="s_churn"),
    Field("Sigma tmin", values.churn("s_tmin", 0), setting="s_tmin"),
    Field("Sigma tmax", values.churn("s_tmax", 0), setting="s_tmax"),
    Field("Sigma noise", values.churn("s_noise", 1), setting="s_noise"),
    Field("UniPC variant", setting="uni_pc_variant"),
    Field("UniPC skip type", setting="uni_pc_skip_type"),
    Field("UniPC order", setting="uni_pc_order"),
    Field("UniPC lower order final", setting="uni_pc_lower_order_final"),
    Field(
        "Refiner switch by sampling steps",
        values.option("refiner_switch_by_sample_steps", False),  # told whether or not there is a refiner
        setting="refiner_switch_by_sample_steps",
    ),
    Field(
        "Hires refiner",
        lambda plan, image: (
            values.unless(plan.options.hires_fix_refiner_pass, "second pass") if plan.refiner and plan.hires else None
        ),
        setting="hires_fix_refiner_pass",
    ),
    Field("Refiner", values.refiner(lambda refiner, plan: refiner.model.title), path="refiner.checkpoint"),
    Field("Refiner switch at", values.refiner(lambda refiner, plan: refiner.switch_at), path="refiner.switch_at"),
    Field("Skip Early CFG", values.option("skip_early_cond", 0), setting="skip_early_cond", on_run=True),
    Field("NGMS", values.ngms, setting="s_min_uncond", on_run=True),
    Field("NGMS all steps", values.option("s_min_uncond_all", False), setting="s_min_uncond_all", on_run=True),
    Field("Pad conds", values.option("pad_cond_uncond", False), setting="pad_cond_uncond", on_run=True),
    Field("Pad conds v0", values.option("pad_cond_uncond_v0", False), setting="pad_cond_uncond_v0", on_run=True),
    Field("VAE Decoder", values.option("sd_vae_decode_method", "Full"), setting="sd_vae_decode_method"),
)
"""What the stages of a generation add, in the order they come."""

LAST = (
    Field(
        "Version", lambda plan, image: plan.version if values.is_saved(plan, "add_version_to_infotext", True) else None
    ),
    Field(
        "User", lambda plan, image: plan.saving.owner if values.is_saved(plan, "add_user_name_to_info", False) else None
    ),
)

READ_ONLY = (
    Field("Batch size", path="batch.size"),
    Field("Styles array", path="styles"),
    Field("Beta scheduler alpha", setting="beta_dist_alpha"),
    Field("Beta scheduler beta", setting="beta_dist_beta"),
)
"""Keys that are understood and no longer, or never, written under that name."""

FIELDS: tuple[Field, ...] = BASE + SCRIPTS + EXTRAS + LAST + READ_ONLY

ALSO_FILLED = {
    "prompt": "the lines above the last one",
    "negative_prompt": 'the lines from "Negative prompt:" on',
    "size.width": "Size",
    "size.height": "Size",
    "seed.resize_from.width": "Seed resize from",
    "seed.resize_from.height": "Seed resize from",
    "hires.resize_height": "Hires resize",
    "hires.denoising_strength": "Denoising strength",
    "source.inpaint.blur_y": "Mask blur",
}
"""Leaves of a request that a key of another name, or the text itself, fills."""

NOT_CARRIED = {
    "batch.count": "one picture's infotext is about one picture",
    "sampling.s_churn": "a request's own value leaves no trace in A1111; the setting does",
    "sampling.s_tmin": "as s_churn",
    "sampling.s_tmax": "as s_churn",
    "sampling.s_noise": "as s_churn",
    "sampling.s_min_uncond": "NGMS is read back as the setting",
    "hires.cfg_scale": "A1111 has no such field",
    "hires.first_pass_image": "a picture",
    "source.images": "pictures",
    "source.resize_mode": "A1111 does not write it",
    "source.depth": "a picture",
    "source.image_noise_level": "written where it acts; the page has no control for it",
    "source.inpaint.mask": "a picture",
    "source.inpaint.latent_mask": "a picture",
    "source.color_reference": "a picture",
    "source.inpaint.rounded": "follows from soft inpainting",
    "disable_extra_networks": "A1111 does not write it",
    "save": "says what to do with the result",
    "scripts": "scripts write and read their own keys",
    "overrides": "carried under the keys of the settings",
}
"""Leaves of a request that infotext does not carry, each with the reason."""


def by_label() -> dict[str, Field]:
    """The table by key."""
    return {field.label: field for field in FIELDS}
