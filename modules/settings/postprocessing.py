"""Upscaling, face restoration, interrogation and the operations of the Extras tab."""

from modules.settings.option import Section, option

_OFFERED = "every upscaler whose file is in its folder is offered"
_BLIP = "pictures are described by BLIP alone, without lists of words"
_DEEPBOORU = "DeepBooru is not part of this program"


class Postprocessing(Section, title="Postprocessing", page="postprocessing"):
    postprocessing_enable_in_main_ui: tuple[str, ...] = option(
        (), "Operations also offered in txt2img and img2img", reload=True
    )
    postprocessing_disable_in_extras: tuple[str, ...] = option((), "Operations hidden in Extras")
    postprocessing_operation_order: tuple[str, ...] = option((), "Order of operations")
    upscaling_max_images_in_cache: int = option(5, "Upscaled pictures kept for the next try", minimum=0, maximum=10)
    postprocessing_existing_caption_action: str = option(
        "Ignore", "When a picture has a caption already", choices=("Ignore", "Keep", "Prepend", "Append")
    )


class Upscaling(Section, title="Upscaling", page="upscaling"):
    ESRGAN_tile: int = option(192, "Tile size of ESRGAN upscalers (0: whole picture)", minimum=0, maximum=512, step=16)
    ESRGAN_tile_overlap: int = option(8, "Tile overlap of ESRGAN upscalers", minimum=0, maximum=48)
    realesrgan_enabled_models: tuple[str, ...] = option(
        ("R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B"), "Real-ESRGAN models offered", no_effect=_OFFERED
    )
    dat_enabled_models: tuple[str, ...] = option(
        ("DAT x2", "DAT x3", "DAT x4"), "DAT models offered", no_effect=_OFFERED
    )
    DAT_tile: int = option(192, "Tile size of DAT upscalers (0: whole picture)", minimum=0, maximum=512, step=16)
    DAT_tile_overlap: int = option(8, "Tile overlap of DAT upscalers", minimum=0, maximum=48)
    upscaler_for_img2img: str | None = option(None, "Upscaler for img2img")
    set_scale_by_when_changing_upscaler: bool = option(False, "Extras: take the factor from the upscaler's name")


class FaceRestoration(Section, title="Face restoration", page="face-restoration"):
    face_restoration: bool = option(False, "Restore faces", infotext="Face restoration")
    face_restoration_model: str = option("CodeFormer", "Face restoration model")
    code_former_weight: float = option(0.5, "CodeFormer weight", minimum=0.0, maximum=1.0, step=0.01)
    face_restoration_unload: bool = option(False, "Free the face restoration model after use")


class Interrogate(Section, title="Interrogate", page="interrogate"):
    interrogate_keep_models_in_memory: bool = option(False, "Keep interrogation models loaded")
    interrogate_return_ranks: bool = option(False, "Write scores beside tags", no_effect=_BLIP)
    interrogate_clip_num_beams: int = option(1, "BLIP: beams", minimum=1, maximum=16)
    interrogate_clip_min_length: int = option(24, "BLIP: shortest description", minimum=1, maximum=128)
    interrogate_clip_max_length: int = option(48, "BLIP: longest description", minimum=1, maximum=256)
    interrogate_clip_dict_limit: int = option(1500, "CLIP: lines read of each list (0: all)", no_effect=_BLIP)
    interrogate_clip_skip_categories: tuple[str, ...] = option((), "CLIP: lists left out", no_effect=_BLIP)
    interrogate_deepbooru_score_threshold: float = option(
        0.5, "Deepbooru: lowest score", minimum=0.0, maximum=1.0, step=0.01, no_effect=_DEEPBOORU
    )
    deepbooru_sort_alpha: bool = option(True, "Deepbooru: sort tags by name", no_effect=_DEEPBOORU)
    deepbooru_use_spaces: bool = option(True, "Deepbooru: spaces instead of underscores", no_effect=_DEEPBOORU)
    deepbooru_escape: bool = option(True, "Deepbooru: escape brackets", no_effect=_DEEPBOORU)
    deepbooru_filter_tags: str = option("", "Deepbooru: tags left out", no_effect=_DEEPBOORU)


class TiledUpscalers(Section, title="Tiled upscalers", page="tiled_upscalers"):
    SCUNET_tile: int = option(256, "Tile size of ScuNET (0: whole picture)", minimum=0, maximum=512, step=16)
    SCUNET_tile_overlap: int = option(8, "Tile overlap of ScuNET", minimum=0, maximum=64)
    SWIN_tile: int = option(192, "Tile size of SwinIR", minimum=16, maximum=512, step=16)
    SWIN_tile_overlap: int = option(8, "Tile overlap of SwinIR", minimum=0, maximum=48)
    SWIN_torch_compile: bool = option(False, "Compile SwinIR for speed", no_effect="upscalers are never compiled")
    ldsr_steps: int = option(100, "LDSR: steps", minimum=1, maximum=200)
    ldsr_cached: bool = option(
        False,
        "LDSR: keep the model in memory",
        no_effect="memory is managed for all models alike: Stable Diffusion, Models kept loaded at most",
    )
