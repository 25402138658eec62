"""Stable Diffusion XL: CLIP-L and OpenCLIP bigG side by side, sizes as an extra vector; its refiner has only bigG.

Podell et al. 2023 (arXiv:2307.01952). The UNet's `label_emb` is diffusers' projected class embedding: the whole vector
(pooled text and sinusoids of sizes) comes from conditioning.
"""

from __future__ import annotations

from modules.errors import ModelUnsupported
from modules.models.families import ldm
from modules.models.family import UNET, Match, NotMine
from modules.models.header import Header
from modules.models.layouts.blueprint import Blueprint, Source, TowerPart
from modules.models.layouts.text import END_ID, clip_tower, openclip_tower
from modules.models.ldm_config import LdmConfig

CLIP_L = "conditioner.embedders.0.transformer."
CLIP_G = "conditioner.embedders.1.model."
REFINER_G = "conditioner.embedders.0.model."


class StableDiffusionXL:
    name = "sdxl"
    title = "Stable Diffusion XL"

    def matches(self, header: Header) -> Match | NotMine:
        channels = ldm.input_channels(header)
        if channels is None:
            return ldm.NO_UNET
        if f"{UNET}label_emb.0.0.weight" not in header:
            return NotMine("its UNet takes no vector beside the text")
        if f"{CLIP_G}ln_final.weight" in header:
            variant = ldm.plain_variant(header)
            if variant not in ("base", "inpainting", "pix2pix"):
                return NotMine(f"its UNet has {channels} input channels, not 4, 8 or 9")
            return Match(variant, specificity=2)
        if f"{REFINER_G}ln_final.weight" in header:
            return Match("refiner", specificity=2)
        return NotMine('there is no text encoder of SDXL ("conditioner.embedders.…")')

    def blueprint(self, header: Header, config: LdmConfig, match: Match) -> Blueprint:
        label_width = (header.shape(f"{UNET}label_emb.0.0.weight") or (0, 0))[1]
        layout, unet = ldm.unet_part(
            header,
            config,
            head_channels=64,
            label="class_embedding",
            extra={"class_embed_type": "projection", "projection_class_embeddings_input_dim": label_width},
        )
        vae = ldm.vae_part(header, config)
        towers = _towers(header, config, is_refiner=match.variant == "refiner")
        width = sum(tower.config["hidden_size"] for tower in towers)
        if layout.context_width not in (None, width):
            raise ModelUnsupported(
                f"{header.path}: its UNet wants text of width {layout.context_width}, its text encoders make {width}"
            )
        return Blueprint(
            family=self.name,
            variant=match.variant,
            unet=unet,
            autoencoder=vae,
            towers=towers,
            prediction=ldm.stated_prediction(header, config) or "epsilon",
            scale_factor=float(config.params.get("scale_factor", 0.13025)),
            native_size=ldm.stated_size(header, config) or 1024,
            latent_channels=vae.config["latent_channels"],
            ignored=(
                *ldm.LEFT_OVER,
                "conditioner.embedders.0.model.logit_scale",
                "conditioner.embedders.1.model.logit",
            ),
            **ldm.schedule(header, config),
        )


def _towers(header: Header, config: LdmConfig, *, is_refiner: bool) -> tuple[TowerPart, ...]:
    prefix = REFINER_G if is_refiner else CLIP_G
    arguments, sources = openclip_tower(header, prefix, config.text if is_refiner else config.text_2)
    big = TowerPart(
        "clip_g",
        arguments,
        sources,
        pad_id=0,
        layer="penultimate",
        final_norm=False,
        projection=Source(f"{prefix}text_projection"),
    )
    if is_refiner:
        return (big,)
    arguments, sources = clip_tower(header, CLIP_L, config.text)
    small = TowerPart("clip_l", arguments, sources, pad_id=END_ID, layer="clip-skip", final_norm=False)
    return (small, big)
