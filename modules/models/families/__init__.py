"""The model families, one file each; `register_all` puts the built-in ones into `FAMILIES` once."""

from __future__ import annotations


def register_all() -> None:
    """Register every built-in family that is not registered yet."""
    from modules.models.families.latent_diffusion import LatentDiffusion
    from modules.models.families.ldm_super_resolution import LdmSuperResolution
    from modules.models.families.sd1 import StableDiffusion1
    from modules.models.families.sd2 import StableDiffusion2
    from modules.models.families.sd3 import StableDiffusion3
    from modules.models.families.sdxl import StableDiffusionXL
    from modules.models.families.x4_upscaler import X4Upscaler
    from modules.models.family import FAMILIES

    kinds = (StableDiffusion1, StableDiffusion2, StableDiffusionXL, StableDiffusion3, LatentDiffusion)
    for family in (kind() for kind in (*kinds, X4Upscaler, LdmSuperResolution)):
        if family.name not in FAMILIES:
            FAMILIES.add(family.name, family)
