"""CompVis' super-resolution model (bsr_sr, A1111's "LDSR"): four times as large, through a VQ autoencoder.

Rombach et al. 2022 (arXiv:2112.10752), section 4.4: a UNet without text that sees the small picture beside latents of
its size. It makes no pictures of its own: `modules/upscaling/diffusion.py` runs it.
"""

from __future__ import annotations

from modules.models.families import ldm
from modules.models.family import UNET, Match, NotMine
from modules.models.header import Header
from modules.models.layouts.autoencoder import vq_part
from modules.models.layouts.blueprint import Blueprint
from modules.models.layouts.plain_unet import HEAD_WIDTH, plain_unet_part
from modules.models.ldm_config import LdmConfig

CODEBOOK = "first_stage_model.quantize.embedding.weight"
CHANNELS = 6
"""Three of latents, three of the small picture."""


class LdmSuperResolution:
    name = "ldsr"
    title = "LDSR"

    def matches(self, header: Header) -> Match | NotMine:
        channels = ldm.input_channels(header)
        if channels is None:
            return ldm.NO_UNET
        if channels != CHANNELS or CODEBOOK not in header:
            return NotMine(f"its UNet has {channels} input channels, not {CHANNELS} and a VQ autoencoder beside them")
        return Match("upscaler", specificity=2)

    def blueprint(self, header: Header, config: LdmConfig, match: Match) -> Blueprint:
        vae = vq_part(header, "first_stage_model.")
        return Blueprint(
            family=self.name,
            variant=match.variant,
            unet=plain_unet_part(header, UNET, head_width=config.unet.get("num_head_channels", HEAD_WIDTH)),
            autoencoder=vae,
            towers=(),
            prediction="epsilon",
            scale_factor=float(config.params.get("scale_factor", 1.0)),
            native_size=256,
            latent_channels=vae.config["latent_channels"],
            ignored=ldm.LEFT_OVER,
            **ldm.schedule(header, config, linear_start=0.0015, linear_end=0.0155),
        )
