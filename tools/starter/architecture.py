"""The starter's networks: diffusers' and transformers' own classes in a small size, and that size in LDM's words."""

from dataclasses import dataclass
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

SCALE_FACTOR = 0.18215
DOWNSCALE = 8
LATENT_CHANNELS = 4
VOCABULARY = 49408
START_TOKEN, END_TOKEN = 49406, 49407
POSITIONS = 77


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the three networks. The defaults are the shipped checkpoint; tests use smaller ones."""

    size_px: int = 128
    vae_channels: tuple[int, ...] = (16, 32, 64, 128)
    vae_groups: int = 4
    unet_channels: tuple[int, ...] = (48, 96, 192)
    unet_attention: tuple[bool, ...] = (False, True, False)
    unet_heads: int = 4
    unet_groups: int = 12
    text_width: int = 128
    text_layers: int = 3
    text_heads: int = 2

    @property
    def latent_px(self) -> int:
        return self.size_px // DOWNSCALE

    def autoencoder(self) -> AutoencoderKL:
        return AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * len(self.vae_channels),
            up_block_types=("UpDecoderBlock2D",) * len(self.vae_channels),
            block_out_channels=self.vae_channels,
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=self.vae_groups,
            sample_size=self.size_px,
            scaling_factor=SCALE_FACTOR,
        )

    def unet(self) -> UNet2DConditionModel:
        down = tuple("CrossAttnDownBlock2D" if on else "DownBlock2D" for on in self.unet_attention)
        up = tuple("CrossAttnUpBlock2D" if on else "UpBlock2D" for on in reversed(self.unet_attention))
        return UNet2DConditionModel(
            sample_size=self.latent_px,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            down_block_types=down,
            up_block_types=up,
            mid_block_type="UNetMidBlock2DCrossAttn",
            block_out_channels=self.unet_channels,
            layers_per_block=1,
            cross_attention_dim=self.text_width,
            attention_head_dim=self.unet_heads,
            norm_num_groups=self.unet_groups,
        )

    def text_encoder(self, vocabulary: int = VOCABULARY) -> CLIPTextModel:
        return CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=self.text_width,
                intermediate_size=4 * self.text_width,
                num_hidden_layers=self.text_layers,
                num_attention_heads=self.text_heads,
                max_position_embeddings=POSITIONS,
                hidden_act="quick_gelu",
                projection_dim=self.text_width,
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
            )
        )

    def ldm_config(self) -> dict[str, Any]:
        """The sizes as LDM's `v1-inference.yaml` spells them; `norm_num_groups` stands where LDM has 32."""
        multipliers = [channels // self.unet_channels[0] for channels in self.unet_channels]
        attention = [2**level for level, on in enumerate(self.unet_attention) if on]
        return {
            "model": {
                "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
                "params": {
                    "linear_start": 0.00085,
                    "linear_end": 0.012,
                    "timesteps": 1000,
                    "image_size": self.latent_px,
                    "channels": LATENT_CHANNELS,
                    "conditioning_key": "crossattn",
                    "scale_factor": SCALE_FACTOR,
                    "unet_config": {
                        "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                        "params": {
                            "image_size": self.latent_px,
                            "in_channels": LATENT_CHANNELS,
                            "out_channels": LATENT_CHANNELS,
                            "model_channels": self.unet_channels[0],
                            "attention_resolutions": attention,
                            "num_res_blocks": 1,
                            "channel_mult": multipliers,
                            "num_heads": self.unet_heads,
                            "use_spatial_transformer": True,
                            "transformer_depth": 1,
                            "context_dim": self.text_width,
                            "legacy": False,
                            "norm_num_groups": self.unet_groups,
                        },
                    },
                    "first_stage_config": {
                        "target": "ldm.models.autoencoder.AutoencoderKL",
                        "params": {
                            "embed_dim": LATENT_CHANNELS,
                            "ddconfig": {
                                "double_z": True,
                                "z_channels": LATENT_CHANNELS,
                                "resolution": self.size_px,
                                "in_channels": 3,
                                "out_ch": 3,
                                "ch": self.vae_channels[0],
                                "ch_mult": [channels // self.vae_channels[0] for channels in self.vae_channels],
                                "num_res_blocks": 1,
                                "attn_resolutions": [],
                                "dropout": 0.0,
                                "norm_num_groups": self.vae_groups,
                            },
                        },
                    },
                    "cond_stage_config": {
                        "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                        "params": {
                            "text_config": {
                                "vocab_size": VOCABULARY,
                                "hidden_size": self.text_width,
                                "intermediate_size": 4 * self.text_width,
                                "num_hidden_layers": self.text_layers,
                                "num_attention_heads": self.text_heads,
                                "max_position_embeddings": POSITIONS,
                                "hidden_act": "quick_gelu",
                            }
                        },
                    },
                },
            }
        }
