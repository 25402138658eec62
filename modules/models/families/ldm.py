"""What the families that came from LDM's code share: a UNet, a KL autoencoder, a configuration in its words."""

from __future__ import annotations

import re
from typing import Any

from modules.errors import ModelFileBroken
from modules.models.family import HOW_TO_COMPLETE, UNET, NotMine
from modules.models.header import Header
from modules.models.layouts.autoencoder import autoencoder_part, autoencoder_prefix
from modules.models.layouts.blueprint import Part, Prediction, Variant
from modules.models.layouts.unet import UnetLayout, read_unet, unet_config, unet_sources
from modules.models.ldm_config import LdmConfig

NO_UNET = NotMine(f'there is no "{UNET}input_blocks.0.0.weight"')

LEFT_OVER = (
    "model_ema.",
    "loss.",
    "first_stage_model.loss.",
    "first_stage_model.model_ema.",
    "cond_stage_model.logit_scale",
    "cond_stage_model.model.logit_scale",
    "cond_stage_model.model.attn_mask",
    "cond_stage_model.transformer.visual_projection",
    "cond_stage_model.transformer.vision_model.",
    "control_model.",
    "safety_checker.",
    "embedding_manager.",
    "lora_te_",
    "lora_unet_",
)
"""Tensors seen beside complete models and never needed for sampling, by prefix."""

SCHEDULE_BUFFERS = {
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "model_ema.decay",
    "model_ema.num_updates",
    "logvar",
    "scale_factor",
    "global_step",
    "ztsnr",
    "v_pred",
    "edm_vpred.sigma_max",
    "edm_vpred.sigma_min",
}
"""Tensors of LDM's schedule and training state, by full name."""


def input_channels(header: Header) -> int | None:
    shape = header.shape(f"{UNET}input_blocks.0.0.weight")
    return shape[1] if shape and len(shape) == 4 else None


def unet_part(
    header: Header,
    config: LdmConfig,
    *,
    heads: int | None = None,
    head_channels: int | None = None,
    label: str | None = None,
    extra: dict[str, Any] | None = None,
) -> tuple[UnetLayout, Part]:
    """The UNet of a file. `heads` or `head_channels` is the family's default where the configuration is silent."""
    layout = read_unet(header.under(UNET))
    _check_unet(config, layout)
    stated_heads, stated_width = config.unet.get("num_heads", -1), config.unet.get("num_head_channels", -1)
    if stated_width not in (None, -1):
        heads, head_channels = None, stated_width
    elif stated_heads not in (None, -1):
        heads, head_channels = stated_heads, None
    groups = config.unet.get("norm_num_groups", 32)
    arguments = unet_config(layout, heads=heads, head_channels=head_channels, groups=groups) | (extra or {})
    if config.unet.get("use_fp16") is None and config.unet.get("upcast_attention"):
        arguments["upcast_attention"] = True
    return layout, Part(arguments, unet_sources(layout, UNET, label=label))


def vae_part(header: Header, config: LdmConfig) -> Part:
    """The autoencoder inside a checkpoint; raises ModelFileBroken when there is none."""
    prefix = autoencoder_prefix(header)
    if prefix is None:
        raise ModelFileBroken(
            f'{header.path}: tensor "first_stage_model.decoder.conv_in.weight" is missing; the file has no VAE: '
            f"choose one, or {HOW_TO_COMPLETE}"
        )
    part = autoencoder_part(header, prefix, groups=config.autoencoder.get("norm_num_groups", 32))
    config.check("autoencoder", "ch", part.config["block_out_channels"][0] if config.autoencoder.get("ch") else None)
    config.check("autoencoder", "num_res_blocks", part.config["layers_per_block"])
    config.check("autoencoder", "z_channels", part.config["latent_channels"])
    return part


def stated_prediction(header: Header, config: LdmConfig) -> Prediction | None:
    """Epsilon or v as the configuration, the marker keys or the metadata say; None when nothing says."""
    if (stated := config.prediction) is not None:
        return "v" if stated == "v" else "epsilon"
    if "v_pred" in header:
        return "v"
    stored = header.metadata.get("modelspec.prediction_type", "").lower()
    if stored in ("v", "v_prediction", "v-prediction", "velocity"):
        return "v"
    return "epsilon" if stored in ("epsilon", "eps") else None


def stated_size(header: Header, config: LdmConfig) -> int | None:
    """The side in pixels that a model was made for, as its metadata or configuration says."""
    if match := re.fullmatch(r"\s*(\d{2,5})\s*x\s*(\d{2,5})\s*", header.metadata.get("modelspec.resolution", "")):
        return min(int(match[1]), int(match[2]))
    size = config.params.get("image_size")
    return size * 8 if isinstance(size, int) else None


def schedule(
    header: Header, config: LdmConfig, *, linear_start: float = 0.00085, linear_end: float = 0.012
) -> dict[str, Any]:
    """Blueprint arguments for the noise schedule; the family's ends hold where the configuration says nothing."""
    return {
        "linear_start": float(config.params.get("linear_start", linear_start)),
        "linear_end": float(config.params.get("linear_end", linear_end)),
        "timesteps": int(config.params.get("timesteps", 1000)),
        "stored_alphas": "alphas_cumprod" if "alphas_cumprod" in header else None,
        "zero_terminal_snr": "ztsnr" in header or bool(config.params.get("zero_terminal_snr")),
    }


def plain_variant(header: Header) -> Variant | None:
    """The variant that the number of input channels tells; None when no variant has that number."""
    variants: dict[int | None, Variant] = {4: "base", 9: "inpainting", 8: "pix2pix", 5: "depth", 7: "upscaler"}
    return variants.get(input_channels(header))


def _check_unet(config: LdmConfig, layout: UnetLayout) -> None:
    config.check("unet", "in_channels", layout.in_channels)
    config.check("unet", "out_channels", layout.out_channels)
    config.check("unet", "model_channels", layout.model_channels)
    config.check("unet", "context_dim", layout.context_width)
    multipliers = tuple(level.channels // layout.model_channels for level in layout.levels)
    config.check("unet", "channel_mult", multipliers)
    if isinstance(config.unet.get("num_res_blocks"), int) and len(set(layout.blocks_per_level)) == 1:
        config.check("unet", "num_res_blocks", layout.blocks_per_level[0])
    if config.unet.get("use_linear_in_transformer"):
        config.check("unet", "use_linear_in_transformer", layout.uses_linear)
