"""Every family made small: the real classes in the real file layout, with 32 to 64 channels and a few layers."""

from __future__ import annotations

from tests.support import layouts
from tests.support.layouts import Layout


def tiny_vae_layout() -> Layout:
    network = layouts.autoencoder(channels=32, multipliers=(1, 1, 1, 1), residual_blocks=1)
    return layouts.prefixed("first_stage_model.", network)


def tiny_layout(**unet: int) -> Layout:
    """Stable Diffusion 1 with one UNet level of 32 and one of 64 channels, two text layers 32 wide."""
    network = layouts.unet(channels=32, multipliers=(1, 2), residual_blocks=1, depths=(1, 1), context=32, **unet)
    return (
        layouts.prefixed("model.diffusion_model.", network)
        | tiny_vae_layout()
        | layouts.prefixed("cond_stage_model.transformer.", layouts.clip_text(width=32, layers=2))
    )


def tiny_sd2_layout(**unet: int) -> Layout:
    """Stable Diffusion 2 with three OpenCLIP layers 64 wide."""
    network = layouts.unet(
        channels=32, multipliers=(1, 2), residual_blocks=1, depths=(1, 1), context=64, linear_projection=True, **unet
    )
    return (
        layouts.prefixed("model.diffusion_model.", network)
        | tiny_vae_layout()
        | layouts.prefixed("cond_stage_model.model.", layouts.open_clip_text(width=64, layers=3))
    )


def tiny_sdxl_layout(**unet: int) -> Layout:
    """SDXL with both text encoders 32 wide and six sinusoids of 256 numbers for the sizes."""
    network = layouts.unet(
        channels=32,
        multipliers=(1, 2),
        residual_blocks=1,
        depths=(0, 2),
        context=64,
        linear_projection=True,
        vector=32 + 6 * 256,
        **unet,
    )
    return (
        layouts.prefixed("model.diffusion_model.", network)
        | tiny_vae_layout()
        | layouts.prefixed("conditioner.embedders.0.transformer.", layouts.clip_text(width=32, layers=3))
        | layouts.prefixed("conditioner.embedders.1.model.", layouts.open_clip_text(width=32, layers=3))
    )


def tiny_refiner_layout() -> Layout:
    """The SDXL refiner: bigG alone, five sinusoids (sizes and the aesthetic score)."""
    network = layouts.unet(
        channels=32,
        multipliers=(1, 2),
        residual_blocks=1,
        depths=(0, 2),
        context=32,
        linear_projection=True,
        vector=32 + 5 * 256,
    )
    return (
        layouts.prefixed("model.diffusion_model.", network)
        | tiny_vae_layout()
        | layouts.prefixed("conditioner.embedders.0.model.", layouts.open_clip_text(width=32, layers=3))
    )


def tiny_ldm_layout() -> Layout:
    """CompVis' text-to-image model with two text layers 64 wide."""
    network = layouts.unet(channels=32, multipliers=(1, 2), residual_blocks=1, depths=(1, 1), context=64)
    return (
        layouts.prefixed("model.diffusion_model.", network)
        | tiny_vae_layout()
        | layouts.prefixed("cond_stage_model.transformer.", layouts.ldm_text(width=64, layers=2, heads=2))
    )


def tiny_x4_upscaler_layout() -> Layout:
    """The x4 upscaler with an autoencoder that shrinks by 4, and text 64 wide."""
    network = layouts.unet(
        channels=32,
        multipliers=(1, 2),
        residual_blocks=1,
        depths=(1, 1),
        context=64,
        in_channels=7,
        linear_projection=True,
        without_self_attention=(0,),
    )
    vae = layouts.autoencoder(channels=32, multipliers=(1, 1, 1), residual_blocks=1)
    return (
        layouts.prefixed("model.diffusion_model.", network | {"label_emb.weight": (1000, 128)})
        | layouts.prefixed("first_stage_model.", vae)
        | layouts.prefixed("cond_stage_model.model.", layouts.open_clip_text(width=64, layers=3))
    )


def tiny_ldsr_layout() -> Layout:
    """CompVis' super-resolution model with attention of two heads in its deeper level."""
    network = layouts.unet(
        channels=32,
        multipliers=(1, 2),
        residual_blocks=1,
        depths=(0, 1),
        in_channels=6,
        out_channels=3,
        has_text=False,
    )
    vae = layouts.vq_autoencoder(words=64, channels=32, multipliers=(1, 1, 1), residual_blocks=1)
    return layouts.prefixed("model.diffusion_model.", network) | layouts.prefixed("first_stage_model.", vae)


def tiny_sd3_texts(*, t5: bool = True) -> Layout:
    """CLIP-L and bigG 32 wide, T5 96 wide, under SD 3's names."""
    big = layouts.clip_text(width=32, layers=3) | {"text_projection.weight": (32, 32)}
    texts = layouts.prefixed("text_encoders.clip_l.transformer.", layouts.clip_text(width=32, layers=3))
    texts |= layouts.prefixed("text_encoders.clip_g.transformer.", big)
    small = layouts.t5_text(width=96, inner=128, layers=2, heads=4, head=16)
    return texts | (layouts.prefixed("text_encoders.t5xxl.transformer.", small) if t5 else {})


def tiny_sd3_layout(*, t5: bool = True, **sizes: int) -> Layout:
    """Stable Diffusion 3 with two blocks 128 wide, for pictures of up to 256 pixels a side."""
    network = layouts.mmdit(depth=2, context=96, pooled=64, side=16, **sizes)
    vae = layouts.sd3_autoencoder(channels=32, multipliers=(1, 1, 1, 1), residual_blocks=1)
    return (
        layouts.prefixed("model.diffusion_model.", network)
        | layouts.prefixed("first_stage_model.", vae)
        | tiny_sd3_texts(t5=t5)
    )


def tiny_depth_layout() -> Layout:
    """MiDaS' DPT-hybrid for pictures of 64 pixels, four layers 64 wide behind three blocks of ResNet."""
    network = layouts.dpt_hybrid(
        width=64, layers=4, stem=32, stages=(128, 128, 128), blocks=(1, 1, 1), grid=4, fusion=32
    )
    return layouts.prefixed("depth_model.model.", network)


def tiny_vision_layout() -> Layout:
    """OpenCLIP's vision tower for pictures of 32 pixels, two layers 64 wide; embeddings of 32 numbers."""
    network = layouts.open_clip_vision(width=64, layers=2, projection=32, patch=8, grid=4, inner=128)
    return layouts.prefixed("embedder.model.visual.", network)


TINY: dict[str, tuple[Layout, dict[str, str]]] = {
    "sd1": (tiny_layout(), {}),
    "sd1-inpainting": (tiny_layout(in_channels=9), {}),
    "sd1-pix2pix": (tiny_layout(in_channels=8), {}),
    "sd2": (tiny_sd2_layout(), {"modelspec.prediction_type": "epsilon"}),
    "sd2-v": (tiny_sd2_layout(), {"modelspec.prediction_type": "v"}),
    "sd2-inpainting": (tiny_sd2_layout(in_channels=9), {}),
    "sd2-unclip": (tiny_sd2_layout(vector=64) | tiny_vision_layout(), {}),
    "sd2-depth": (tiny_sd2_layout(in_channels=5) | tiny_depth_layout(), {}),
    "sdxl": (tiny_sdxl_layout(), {}),
    "sdxl-v": (tiny_sdxl_layout() | {"v_pred": (), "ztsnr": ()}, {}),
    "sdxl-inpainting": (tiny_sdxl_layout(in_channels=9), {}),
    "sdxl-refiner": (tiny_refiner_layout(), {}),
    "ldm": (tiny_ldm_layout(), {}),
    "sd3": (tiny_sd3_layout(t5=False), {}),
    "sd3.5": (tiny_sd3_layout(normed=True, second_attention=1), {}),
}
"""Layout and metadata of a small checkpoint of every family and variant that is supported."""
