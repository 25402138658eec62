"""Stable Diffusion 2.x: an OpenCLIP-H text encoder, epsilon (base) or v (768), and what was built on it.

Variants are inpainting, depth and unCLIP. unCLIP takes the embedding of a picture as a vector beside the text; it is
told zeros, as in A1111's txt2img, and the encoder of pictures in the file (`embedder.…`) is not used.
"""

from __future__ import annotations

from modules.errors import ModelUnsupported
from modules.models.families import ldm
from modules.models.family import UNET, Match, NotMine
from modules.models.header import Header
from modules.models.layouts.blueprint import Blueprint, TowerPart
from modules.models.layouts.text import openclip_tower
from modules.models.ldm_config import LdmConfig

TEXT = "cond_stage_model.model."


class StableDiffusion2:
    name = "sd2"
    title = "Stable Diffusion 2"

    def matches(self, header: Header) -> Match | NotMine:
        channels = ldm.input_channels(header)
        if channels is None:
            return ldm.NO_UNET
        if f"{TEXT}transformer.resblocks.0.attn.in_proj_weight" not in header:
            return NotMine(f'there is no OpenCLIP text encoder ("{TEXT}…")')
        label = header.shape(f"{UNET}label_emb.0.0.weight")
        if label is not None and len(label) == 2 and channels == 4:
            return Match("unclip", specificity=2)
        if label is not None:
            return NotMine("its UNet takes a vector beside the text and extra channels (an upscaler)")
        variant = ldm.plain_variant(header)
        if variant not in ("base", "inpainting", "depth"):
            return NotMine(f"its UNet has {channels} input channels, not 4, 5 or 9")
        return Match(variant)

    def blueprint(self, header: Header, config: LdmConfig, match: Match) -> Blueprint:
        label = (header.shape(f"{UNET}label_emb.0.0.weight") or (0, 0))[1]
        vector = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": label} if label else {}
        layout, unet = ldm.unet_part(
            header, config, head_channels=64, label="class_embedding" if label else None, extra=vector
        )
        arguments, sources = openclip_tower(header, TEXT, config.text)
        if layout.context_width not in (None, arguments["hidden_size"]):
            raise ModelUnsupported(
                f"{header.path}: its UNet wants text of width {layout.context_width}, "
                f"its text encoder makes {arguments['hidden_size']}"
            )
        vae = ldm.vae_part(header, config)
        prediction = ldm.stated_prediction(header, config)
        if prediction is None and match.variant != "base":
            # A1111 tests only plain models; of the published variants unCLIP alone predicts v
            prediction = "v" if match.variant == "unclip" else "epsilon"
        layer = "last" if config.text_is_cut else "penultimate"
        tower = TowerPart("open_clip_h", arguments, sources, pad_id=0, layer=layer, final_norm=True)
        return Blueprint(
            family=self.name,
            variant=match.variant,
            unet=unet,
            autoencoder=vae,
            towers=(tower,),
            prediction=prediction,
            scale_factor=float(config.params.get("scale_factor", 0.18215)),
            native_size=ldm.stated_size(header, config) or (768 if prediction == "v" else 512),
            latent_channels=vae.config["latent_channels"],
            ignored=(*ldm.LEFT_OVER, f"{TEXT}text_projection", "depth_model.", "embedder.", "noise_augmentor."),
            **ldm.schedule(header, config),
        )
