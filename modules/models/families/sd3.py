"""Stable Diffusion 3 and 3.5: a transformer over picture and text, three text encoders, rectified flow, 16 channels.

Esser et al. 2024 (arXiv:2403.03206). Files carry two CLIP encoders, T5 as well, or none: what is missing is looked for
beside the models (`modules/models/companions.py`). Without T5 the network is told zeros in its place.
"""

from __future__ import annotations

from modules.errors import ModelFileBroken
from modules.models.families import ldm
from modules.models.family import UNET, Match, NotMine
from modules.models.header import Header
from modules.models.layouts.blueprint import Blueprint, Source, TowerPart
from modules.models.layouts.mmdit import mmdit_part
from modules.models.layouts.t5 import t5_tower
from modules.models.layouts.text import END_ID, clip_tower
from modules.models.ldm_config import LdmConfig

CLIP_L = "text_encoders.clip_l.transformer."
CLIP_G = "text_encoders.clip_g.transformer."
T5 = "text_encoders.t5xxl.transformer."


class StableDiffusion3:
    name = "sd3"
    title = "Stable Diffusion 3"

    def matches(self, header: Header) -> Match | NotMine:
        if f"{UNET}joint_blocks.0.x_block.attn.qkv.weight" not in header:
            return NotMine(f'there is no transformer over picture and text ("{UNET}joint_blocks.…")')
        return Match("base", specificity=2)

    def blueprint(self, header: Header, config: LdmConfig, match: Match) -> Blueprint:
        transformer = mmdit_part(header, UNET)
        vae = ldm.vae_part(header, config)
        return Blueprint(
            family=self.name,
            variant=match.variant,
            unet=transformer,
            autoencoder=vae,
            towers=_towers(header),
            prediction="flow",
            scale_factor=float(config.params.get("scale_factor", 1.5305)),
            shift_factor=float(config.params.get("shift_factor", 0.0609)),
            flow_shift=float(config.params.get("shift", 3.0)),
            native_size=ldm.stated_size(header, config) or 1024,
            latent_channels=vae.config["latent_channels"],
            ignored=(*ldm.LEFT_OVER, "model_sampling.", "text_encoders."),
        )


def _towers(header: Header) -> tuple[TowerPart, ...]:
    """CLIP-L (unprojected pooled text) and bigG, both at the last layer but one, then T5 where it is there."""
    missing = [name for name, prefix in (("clip_l", CLIP_L), ("clip_g", CLIP_G)) if not _has(header, prefix)]
    if missing:
        raise ModelFileBroken(
            f"{header.path}: has no text encoders {' and '.join(missing)}, and no file of that name was found; put "
            f"{' and '.join(f'{name}.safetensors' for name in missing)} into models/CLIP"
        )
    arguments, sources = clip_tower(header, CLIP_L, {})
    small = TowerPart("clip_l", arguments, sources, END_ID, "penultimate", final_norm=False, pools=True)
    arguments, sources = clip_tower(header, CLIP_G, {"hidden_act": "gelu"})
    projection = Source(f"{CLIP_G}text_projection.weight", transposed=True)
    big = TowerPart(
        "clip_g",
        arguments,
        sources,
        0,
        "penultimate",
        final_norm=False,
        projection=projection if projection.key in header else None,
        pools=True,
        tokenizer="clip_l",
    )
    if not _has(header, T5):
        return (small, big)
    arguments, sources = t5_tower(header, T5)
    return (small, big, TowerPart("t5xxl", arguments, sources, 0, "penultimate", final_norm=True, network="t5"))


def _has(header: Header, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in header)
