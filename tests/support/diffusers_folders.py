"""Small pipelines as diffusers itself makes and saves them: random weights, real classes, real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DPTConfig,
    DPTForDepthEstimation,
)

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
WITH_PICTURES = ("sd2-depth", "sd2-unclip")
KINDS = ("sd1", "sd1-inpainting", "sd2-v", "sdxl", "sdxl-refiner")


def make_pipeline(kind: str, *, seed: int = 0, scheduler: dict[str, Any] | None = None) -> Any:
    """A pipeline of one of `KINDS` or `WITH_PICTURES`; its class depends on the kind, hence Any.

    As in diffusers' conversions SD 2's text encoder has lost its last layer, and heads are counted, not measured.
    """
    torch.manual_seed(seed)
    stated = {"prediction_type": "v_prediction" if kind == "sd2-v" else "epsilon", **(scheduler or {})}
    parts: dict[str, Any] = {
        "vae": _vae(0.13025 if kind.startswith("sdxl") else 0.18215),
        "scheduler": DDIMScheduler(**BETAS, clip_sample=False, steps_offset=1, **stated),
        "tokenizer": None,
    }
    if kind.startswith("sd1"):
        parts |= {
            "unet": _unet(in_channels=9 if "inpainting" in kind else 4),
            "text_encoder": _text(32, 2, "quick_gelu"),
        }
    elif kind == "sd2-depth":
        parts |= {"unet": _unet(in_channels=5, context=64, heads=(2, 4), linear=True)}
        parts |= {"text_encoder": _text(64, 2, "gelu"), "depth_estimator": tiny_dpt(), "feature_extractor": None}
        return StableDiffusionDepth2ImgPipeline(**parts)
    elif kind == "sd2-unclip":
        vector = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 64}
        normalizer = StableUnCLIPImageNormalizer(32)
        normalizer.mean.data, normalizer.std.data = torch.randn(1, 32), torch.rand(1, 32) + 0.5
        vision = CLIPVisionConfig(
            hidden_size=64, intermediate_size=128, projection_dim=32, num_hidden_layers=2, num_attention_heads=4,
            image_size=32, patch_size=8, hidden_act="gelu",
        )  # fmt: skip
        parts |= {"unet": _unet(context=64, heads=(2, 4), linear=True, **vector), "text_encoder": _text(64, 2, "gelu")}
        return StableUnCLIPImg2ImgPipeline(
            feature_extractor=None,
            image_encoder=CLIPVisionModelWithProjection(vision).eval(),
            image_normalizer=normalizer,
            image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
            **parts,
        )
    elif kind == "sd2-v":
        parts |= {"unet": _unet(context=64, heads=(2, 4), linear=True), "text_encoder": _text(64, 2, "gelu")}
    else:
        is_refiner = kind == "sdxl-refiner"
        vector = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}
        vector["projection_class_embeddings_input_dim"] = 32 + (5 if is_refiner else 6) * 256
        parts["unet"] = _unet(
            context=32 if is_refiner else 64,
            heads=(2, 4),
            linear=True,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            **vector,
        )
        parts |= {"text_encoder": None if is_refiner else _text(32, 3, "quick_gelu"), "tokenizer_2": None}
        parts["text_encoder_2"] = CLIPTextModelWithProjection(_text_config(32, 3, "gelu", heads=4))
    if kind.startswith("sdxl"):
        cls = StableDiffusionXLImg2ImgPipeline if kind == "sdxl-refiner" else StableDiffusionXLPipeline
        return cls(**parts, add_watermarker=False)
    cls = StableDiffusionInpaintPipeline if "inpainting" in kind else StableDiffusionPipeline
    return cls(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def tiny_dpt(*, is_hybrid: bool = True) -> DPTForDepthEstimation:
    """A DPT for pictures of 64 pixels with random weights."""
    backbone = {
        "global_padding": "same", "layer_type": "bottleneck", "depths": [1, 1, 1], "hidden_sizes": [128, 128, 128],
        "embedding_size": 32, "out_features": ["stage1", "stage2", "stage3"], "embedding_dynamic_padding": True,
    }  # fmt: skip
    config = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 1, "intermediate_size": 256}
    config |= {"image_size": 64, "fusion_hidden_size": 32, "backbone_out_indices": [0, 1, 2, 3]}
    if is_hybrid:
        config |= {"reassemble_factors": [1, 1, 1, 0.5], "neck_hidden_sizes": [128, 128, 64, 64]}
        config |= {"is_hybrid": True, "backbone_featmap_shape": [1, 128, 4, 4], "backbone_config": backbone}
    else:
        config |= {"neck_hidden_sizes": [32, 32, 64, 64]}
    return DPTForDepthEstimation(DPTConfig(**config)).eval()


def save_folder(path: Path, kind: str, **options: Any) -> Any:
    """Save a new pipeline into `path` and return it; `options` go to `make_pipeline` and to `save_pretrained`."""
    made = {name: options.pop(name) for name in ("seed", "scheduler") if name in options}
    pipeline = make_pipeline(kind, **made)
    pipeline.save_pretrained(path, **options)
    return pipeline


def _unet(
    *, in_channels: int = 4, context: int = 32, heads: int | tuple[int, ...] = 8, linear: bool = False, **more: Any
) -> UNet2DConditionModel:
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=context,
        attention_head_dim=heads,
        use_linear_projection=linear,
        **{**blocks, **more},
    ).eval()


def _vae(scale: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        scaling_factor=scale,
    ).eval()


def _text(width: int, layers: int, activation: str) -> CLIPTextModel:
    return CLIPTextModel(_text_config(width, layers, activation, heads=4)).eval()


def _text_config(width: int, layers: int, activation: str, *, heads: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=width * 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_act=activation,
        projection_dim=width,
        bos_token_id=49406,
        eos_token_id=49407,
        vocab_size=49408,
    )
