"""What the settings of Hypertile mean for a job: how each pass and the VAE are tiled, and what infotext says of it."""

from __future__ import annotations

from typing import Any

from diffusers import UNet2DConditionModel

from modules.generation.plan import Plan
from modules.models.loaded import LoadedModel
from modules.networks.hypertile import Tiling
from modules.settings.stable_diffusion import GenerationOptions

UNET = {
    "Hypertile U-Net max depth": "hypertile_max_depth_unet",
    "Hypertile U-Net max tile size": "hypertile_max_tile_unet",
    "Hypertile U-Net swap size": "hypertile_swap_size_unet",
}
VAE = {
    "Hypertile VAE max depth": "hypertile_max_depth_vae",
    "Hypertile VAE max tile size": "hypertile_max_tile_vae",
    "Hypertile VAE swap size": "hypertile_swap_size_vae",
}


def of_pass(plan: Plan, model: LoadedModel, *, hires: bool) -> Tiling | None:
    """How the UNet is tiled in a pass; None leaves it whole, as are networks of another make (SD3's transformer)."""
    options = plan.options
    is_on = options.hypertile_enable_unet or (hires and options.hypertile_enable_unet_secondpass)
    if not is_on or not isinstance(model.unet, UNet2DConditionModel):
        return None
    return _tiling(options, tuple(UNET.values()))


def of_vae(plan: Plan) -> Tiling | None:
    """How the VAE is tiled in a job; None leaves it whole."""
    return _tiling(plan.options, tuple(VAE.values())) if plan.options.hypertile_enable_vae else None


def facts(plan: Plan) -> dict[str, Any]:
    """Infotext entries: what is on, and values that are not A1111's defaults."""
    options = plan.options
    found: dict[str, Any] = {}
    second_only = plan.hires is not None and options.hypertile_enable_unet_secondpass
    if options.hypertile_enable_unet:
        found["Hypertile U-Net"] = True
    elif second_only:
        found["Hypertile U-Net second pass"] = True
    if options.hypertile_enable_unet or second_only:
        found |= _changed(options, UNET)
    if options.hypertile_enable_vae:
        found |= {"Hypertile VAE": True, **_changed(options, VAE)}
    return found


def _tiling(options: GenerationOptions, keys: tuple[str, ...]) -> Tiling:
    return Tiling(*(getattr(options, key) for key in keys))


def _changed(options: GenerationOptions, keys: dict[str, str]) -> dict[str, Any]:
    defaults = GenerationOptions.model_fields
    values = {label: (getattr(options, key), defaults[key].default) for label, key in keys.items()}
    return {label: value for label, (value, default) in values.items() if value != default}
