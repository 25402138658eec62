"""CompVis' latent diffusion before Stable Diffusion: text2img-large, with a text encoder of its own.

Rombach et al. 2022 (arXiv:2112.10752), section 4.3.1: a KL autoencoder with factor 8, a UNet like SD 1's with 1280
numbers a token, pictures of 256 pixels.
"""

from __future__ import annotations

from modules.errors import ModelUnsupported
from modules.models.families import ldm
from modules.models.family import Match, NotMine
from modules.models.header import Header
from modules.models.layouts.bert import bert_tower
from modules.models.layouts.blueprint import Blueprint, TowerPart
from modules.models.ldm_config import LdmConfig

TEXT = "cond_stage_model.transformer."


class LatentDiffusion:
    name = "ldm"
    title = "Latent diffusion"

    def matches(self, header: Header) -> Match | NotMine:
        channels = ldm.input_channels(header)
        if channels is None:
            return ldm.NO_UNET
        if f"{TEXT}token_emb.weight" not in header:
            return NotMine(f'there is no text encoder of CompVis\' own ("{TEXT}token_emb.weight")')
        if channels != 4:
            return NotMine(f"its UNet has {channels} input channels, not 4")
        return Match("base", specificity=2)

    def blueprint(self, header: Header, config: LdmConfig, match: Match) -> Blueprint:
        layout, unet = ldm.unet_part(header, config, heads=8)
        arguments, sources = bert_tower(header, TEXT)
        if layout.context_width not in (None, arguments["d_model"]):
            raise ModelUnsupported(
                f"{header.path}: its UNet wants text of width {layout.context_width}, "
                f"its text encoder makes {arguments['d_model']}"
            )
        vae = ldm.vae_part(header, config)
        tower = TowerPart("bert", arguments, sources, 0, "clip-skip", final_norm=True, network="bert")
        return Blueprint(
            family=self.name,
            variant=match.variant,
            unet=unet,
            autoencoder=vae,
            towers=(tower,),
            prediction=ldm.stated_prediction(header, config) or "epsilon",
            scale_factor=float(config.params.get("scale_factor", 0.18215)),
            native_size=ldm.stated_size(header, config) or 256,
            latent_channels=vae.config["latent_channels"],
            ignored=(*ldm.LEFT_OVER, f"{TEXT}to_logits."),
            **ldm.schedule(header, config),
        )
