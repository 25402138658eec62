"""Stable Diffusion 1.x: one CLIP-L text encoder, epsilon prediction; inpainting and InstructPix2Pix variants."""

from __future__ import annotations

from modules.errors import ModelUnsupported
from modules.models.families import ldm
from modules.models.family import UNET, Match, NotMine
from modules.models.header import Header
from modules.models.layouts.blueprint import Blueprint, TowerPart
from modules.models.layouts.text import END_ID, clip_tower
from modules.models.ldm_config import LdmConfig

TEXT = "cond_stage_model.transformer."


class StableDiffusion1:
    name = "sd1"
    title = "Stable Diffusion 1"

    def matches(self, header: Header) -> Match | NotMine:
        channels = ldm.input_channels(header)
        if channels is None:
            return ldm.NO_UNET
        if f"{UNET}label_emb.0.0.weight" in header:
            return NotMine("its UNet takes a vector beside the text")
        if any(key.startswith("cond_stage_model.roberta") for key in header):
            return NotMine("its text encoder is XLM-Roberta (AltDiffusion)")
        if f"{TEXT}token_emb.weight" in header:
            return NotMine("its text encoder is CompVis' own (latent diffusion)")
        if not any(key.startswith(TEXT) for key in header):
            return NotMine(f'there is no CLIP text encoder ("{TEXT}…")')
        variant = ldm.plain_variant(header)
        if variant not in ("base", "inpainting", "pix2pix"):
            return NotMine(f"its UNet has {channels} input channels, not 4, 8 or 9")
        return Match(variant)

    def blueprint(self, header: Header, config: LdmConfig, match: Match) -> Blueprint:
        layout, unet = ldm.unet_part(header, config, heads=8)
        arguments, sources = clip_tower(header, TEXT, config.text)
        if layout.context_width not in (None, arguments["hidden_size"]):
            raise ModelUnsupported(
                f"{header.path}: its UNet wants text of width {layout.context_width}, "
                f"its text encoder makes {arguments['hidden_size']}"
            )
        vae = ldm.vae_part(header, config)
        tower = TowerPart("clip_l", arguments, sources, pad_id=END_ID, layer="clip-skip", final_norm=True)
        return Blueprint(
            family=self.name,
            variant=match.variant,
            unet=unet,
            autoencoder=vae,
            towers=(tower,),
            prediction=ldm.stated_prediction(header, config) or "epsilon",
            scale_factor=float(config.params.get("scale_factor", 0.18215)),
            native_size=ldm.stated_size(header, config) or 512,
            latent_channels=vae.config["latent_channels"],
            ignored=ldm.LEFT_OVER,
            **ldm.schedule(header, config),
        )
