"""Stability AI's x4 upscaler: a UNet that sees the small picture, slightly noised, beside the latents of the large one.

The level of that noise is a class of the UNet; its autoencoder shrinks by 4, so latents are as large as the picture to
be enlarged. Told by OpenCLIP-H like SD 2. It makes no pictures of its own: `modules/upscaling/diffusion.py` runs it.
"""

from __future__ import annotations

from modules.models.families import ldm
from modules.models.family import UNET, Match, NotMine
from modules.models.header import Header
from modules.models.layouts.blueprint import Blueprint, Part, Source, TowerPart
from modules.models.layouts.text import openclip_tower
from modules.models.layouts.unet import UnetLayout
from modules.models.ldm_config import LdmConfig

TEXT = "cond_stage_model.model."
CLASSES = f"{UNET}label_emb.weight"
CHANNELS = 7
"""Four of latents, three of the small picture."""


class X4Upscaler:
    name = "x4-upscaler"
    title = "Stable Diffusion x4 upscaler"

    def matches(self, header: Header) -> Match | NotMine:
        channels = ldm.input_channels(header)
        if channels is None:
            return ldm.NO_UNET
        if channels != CHANNELS or CLASSES not in header:
            return NotMine(f"its UNet has {channels} input channels, not {CHANNELS} and classes of noise beside them")
        return Match("upscaler", specificity=2)

    def blueprint(self, header: Header, config: LdmConfig, match: Match) -> Blueprint:
        classes = header.tensors[CLASSES].shape[0]
        layout, unet = ldm.unet_part(header, config, heads=8, extra={"num_class_embeds": classes})
        unet = Part(
            {**unet.config, "only_cross_attention": _levels_without_self_attention(layout)},
            {**unet.sources, "class_embedding.weight": Source(CLASSES)},
        )
        arguments, sources = openclip_tower(header, TEXT, config.text)
        vae = ldm.vae_part(header, config)
        return Blueprint(
            family=self.name,
            variant=match.variant,
            unet=unet,
            autoencoder=vae,
            towers=(TowerPart("open_clip_h", arguments, sources, 0, "penultimate", final_norm=True),),
            prediction=ldm.stated_prediction(header, config) or "v",
            scale_factor=float(config.params.get("scale_factor", 0.08333)),
            native_size=512,
            latent_channels=vae.config["latent_channels"],
            ignored=(*ldm.LEFT_OVER, f"{TEXT}text_projection", "low_scale_model."),
            **ldm.schedule(header, config, linear_start=0.0001, linear_end=0.02),
        )


def _levels_without_self_attention(layout: UnetLayout) -> tuple[bool, ...]:
    """Which levels attend to the text twice instead of to themselves: told by how wide their first attention reads."""
    answers = []
    for level in layout.levels:
        shape = layout.header.shape(f"input_blocks.{level.blocks[0]}.1.transformer_blocks.0.attn1.to_k.weight")
        answers.append(shape is not None and shape[1] != level.channels)
    return tuple(answers)
