"""Settings that can change a picture; a plan carries all of them as `GenerationOptions`."""

from modules.settings.option import Colour, Number, Section, option


class StableDiffusion(Section, title="Stable Diffusion", page="sd"):
    sd_model_checkpoint: str | None = option(None, "Stable Diffusion checkpoint", infotext="Model hash")
    sd_checkpoints_limit: int = option(
        1, "Models kept loaded at most (1: as many as fit into half of the memory)", minimum=1, maximum=10
    )
    sd_checkpoints_keep_in_cpu: bool = option(True, "Keep only one of them on the device, the others in RAM")
    sd_checkpoint_cache: int = option(0, "Checkpoints to cache in RAM, beyond these", minimum=0, maximum=10)
    sd_unet: str = option(
        "Automatic",
        "Replacement UNet",
        no_effect="such replacements came with extensions of A1111 that build on its own network code",
    )
    enable_quantization: bool = option(False, "Round the sampler's noise levels to the model's 1000 steps", reload=True)
    emphasis: str = option(
        "Original", "Emphasis mode", choices=("None", "Ignore", "Original", "No norm"), infotext="Emphasis"
    )
    enable_batch_seeds: bool = option(
        True, "Different seeds within a batch", no_effect="every picture of a batch gets the noise of its own seed"
    )
    comma_padding_backtrack: int = option(
        20, "Prompt words moved to the next chunk at a comma, at most", minimum=0, maximum=74
    )
    sdxl_clip_l_skip: bool = option(False, "Clip skip also acts on SDXL's first text encoder")
    CLIP_stop_at_last_layers: int = option(1, "Clip skip", minimum=1, maximum=12, infotext="Clip skip")
    upcast_attn: bool = option(False, "Compute attention in float32")
    randn_source: str = option("GPU", "Random number generator source", choices=("GPU", "CPU", "NV"), infotext="RNG")
    tiling: bool = option(False, "Tiling", infotext="Tiling")
    hires_fix_refiner_pass: str = option(
        "second pass",
        "With hires fix, the refiner runs in the",
        choices=("first pass", "second pass", "both passes"),
        infotext="Hires refiner",
    )


class StableDiffusionXL(Section, title="Stable Diffusion XL", page="sdxl"):
    sdxl_crop_top: int = option(0, "SDXL crop coordinate, top")
    sdxl_crop_left: int = option(0, "SDXL crop coordinate, left")
    sdxl_refiner_low_aesthetic_score: Number = option(2.5, "SDXL refiner: aesthetic score of the negative prompt")
    sdxl_refiner_high_aesthetic_score: Number = option(6.0, "SDXL refiner: aesthetic score of the prompt")


class StableDiffusion3(Section, title="Stable Diffusion 3", page="sd3"):
    sd3_enable_t5: bool = option(False, "Use the T5 text encoder of SD3")


class Vae(Section, title="VAE", page="vae"):
    sd_vae_checkpoint_cache: int = option(0, "VAE files to cache in RAM", minimum=0, maximum=10)
    sd_vae: str = option("Automatic", "SD VAE", infotext="VAE")
    sd_vae_overrides_per_model_preferences: bool = option(True, "The VAE chosen here beats those chosen per model")
    auto_vae_precision_bfloat16: bool = option(False, "Decode again in bfloat16 when a picture has NaN")
    auto_vae_precision: bool = option(True, "Decode again in float32 when a picture has NaN")
    sd_vae_encode_method: str = option("Full", "VAE for encoding", choices=("Full", "TAESD"), infotext="VAE Encoder")
    sd_vae_decode_method: str = option("Full", "VAE for decoding", choices=("Full", "TAESD"), infotext="VAE Decoder")


class Img2Img(Section, title="img2img", page="img2img"):
    inpainting_mask_weight: Number = option(
        1.0,
        "Inpainting conditioning mask strength",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
        infotext="Conditional mask weight",
    )
    initial_noise_multiplier: Number = option(
        1.0,
        "Noise multiplier for img2img",
        minimum=0.0,
        maximum=1.5,
        limit=10.0,
        step=0.001,
        infotext="Noise multiplier",
    )
    img2img_extra_noise: Number = option(
        0.0,
        "Extra noise for img2img and hires fix",
        minimum=0.0,
        maximum=1.0,
        limit=10.0,
        step=0.01,
        infotext="Extra noise",
    )
    img2img_color_correction: bool = option(False, "Match the colours of the result to the source")
    img2img_fix_steps: bool = option(False, "With img2img, do exactly the number of steps the slider says")
    img2img_background_color: str = option("#ffffff", "Colour behind transparent sources")
    img2img_editor_height: int = option(720, "Height of the image editor", minimum=80, maximum=1600, reload=True)
    # A1111's are white, which is not seen on its white sheet nor on many pictures
    img2img_sketch_default_brush_color: Colour = option("#000000", "Sketch initial brush color", reload=True)
    img2img_inpaint_mask_brush_color: Colour = option("#ff4040", "Inpaint mask brush color", reload=True)
    img2img_inpaint_sketch_default_brush_color: Colour = option(
        "#000000", "Inpaint sketch initial brush color", reload=True
    )
    return_mask: bool = option(False, "Show the mask of inpainting in the gallery")
    return_mask_composite: bool = option(False, "Show the repainted part on its own in the gallery")
    img2img_batch_show_results_limit: int = option(
        32, "Results of an img2img batch shown at most (-1: all, 0: none)", minimum=-1, maximum=1000
    )
    overlay_inpaint: bool = option(True, "Lay the source over the result outside the mask")


class Optimizations(Section, title="Optimizations", page="optimizations"):
    cross_attention_optimization: str = option("Automatic", "Cross attention optimization")
    s_min_uncond: Number = option(
        0.0, "Negative Guidance minimum sigma", minimum=0.0, maximum=15.0, limit=1000.0, step=0.01, infotext="NGMS"
    )
    s_min_uncond_all: bool = option(
        False, "Leave out the negative prompt on every such step, not every second", infotext="NGMS all steps"
    )
    token_merging_ratio: Number = option(
        0.0, "Token merging ratio", minimum=0.0, maximum=0.9, step=0.1, infotext="Token merging ratio"
    )
    token_merging_ratio_img2img: Number = option(
        0.0, "Token merging ratio for img2img", minimum=0.0, maximum=0.9, step=0.1
    )
    token_merging_ratio_hr: Number = option(
        0.0,
        "Token merging ratio for high-res pass",
        minimum=0.0,
        maximum=0.9,
        step=0.1,
        infotext="Token merging ratio hr",
    )
    pad_cond_uncond: bool = option(
        False, "Pad the shorter of prompt and negative prompt with empty chunks", infotext="Pad conds"
    )
    pad_cond_uncond_v0: bool = option(
        False, "Pad as versions before 1.6 did (repeats or cuts tokens)", infotext="Pad conds v0"
    )
    persistent_cond_cache: bool = option(True, "Keep encoded prompts between jobs")
    batch_cond_uncond: bool = option(True, "Compute prompt and negative prompt in one call")
    fp8_storage: str = option("Disable", "FP8 weight", choices=("Disable", "Enable for SDXL", "Enable"))
    cache_fp16_weight: bool = option(
        False,
        "Cache FP16 weight for LoRA",
        no_effect="LoRA are added to the 8-bit weights in float32; no second copy is kept",
    )


class Compatibility(Section, title="Compatibility", page="compatibility"):
    auto_backcompat: bool = option(True, "Honour the version that pasted parameters were written by")
    use_old_emphasis_implementation: bool = option(False, "Emphasis as in the first versions")
    use_old_karras_scheduler_sigmas: bool = option(False, "Karras schedule from 0.1 to 10")
    no_dpmpp_sde_batch_determinism: bool = option(False, "SDE samplers share one noise for the whole batch")
    use_old_hires_fix_width_height: bool = option(False, "Width and height mean the final size of hires fix")
    hires_fix_use_firstpass_conds: bool = option(False, "Encode hires prompts with the networks of the first pass")
    use_old_scheduling: bool = option(
        False, "Use old prompt editing timelines", infotext="Old prompt editing timelines"
    )
    use_downcasted_alpha_bar: bool = option(
        False,
        "Round the noise schedule to half precision (pictures from before 1.7)",
        infotext="Downcast alphas_cumprod",
    )
    refiner_switch_by_sample_steps: bool = option(
        False, "The refiner takes over by steps, not by noise level", infotext="Refiner switch by sampling steps"
    )


class SamplerParameters(Section, title="Sampler parameters", page="sampler-params"):
    hide_samplers: tuple[str, ...] = option((), "Hide samplers in user interface", reload=True)
    eta_ddim: Number = option(0.0, "Eta for DDIM", minimum=0.0, maximum=1.0, limit=10.0, step=0.01, infotext="Eta DDIM")
    eta_ancestral: Number = option(
        1.0, "Eta for k-diffusion samplers", minimum=0.0, maximum=1.0, limit=10.0, step=0.01, infotext="Eta"
    )
    ddim_discretize: str = option(
        "uniform",
        "Timestep spacing of img2img DDIM",
        choices=("uniform", "quad"),
        no_effect="A1111 does not use it either",
    )
    s_churn: Number = option(0.0, "Sigma churn", minimum=0.0, maximum=100.0, step=0.01, infotext="Sigma churn")
    s_tmin: Number = option(
        0.0, "Sigma tmin", minimum=0.0, maximum=10.0, limit=1000.0, step=0.01, infotext="Sigma tmin"
    )
    s_tmax: Number = option(
        0.0, "Sigma tmax (0: no limit)", minimum=0.0, maximum=999.0, step=0.01, infotext="Sigma tmax"
    )
    s_noise: Number = option(
        1.0, "Sigma noise", minimum=0.0, maximum=1.1, limit=10.0, step=0.001, infotext="Sigma noise"
    )
    sigma_min: Number = option(0.0, "Lowest noise level (0: the model's)", infotext="Schedule min sigma")
    sigma_max: Number = option(0.0, "Highest noise level (0: the model's)", infotext="Schedule max sigma")
    rho: Number = option(0.0, "Rho of the schedule (0: its default)", infotext="Schedule rho")
    eta_noise_seed_delta: int = option(0, "Eta noise seed delta", infotext="ENSD")
    always_discard_next_to_last_sigma: bool = option(
        False, "Leave out the last but one noise level with every sampler", infotext="Discard penultimate sigma"
    )
    sgm_noise_multiplier: bool = option(
        False, "Scale start noise as the SGM code base does", infotext="SGM noise multiplier"
    )
    uni_pc_variant: str = option("bh1", "UniPC variant", choices=("bh1", "bh2", "vary_coeff"), infotext="UniPC variant")
    uni_pc_skip_type: str = option(
        "time_uniform",
        "UniPC skip type",
        choices=("time_uniform", "time_quadratic", "logSNR"),
        infotext="UniPC skip type",
    )
    uni_pc_order: int = option(3, "UniPC order", minimum=1, maximum=50, infotext="UniPC order")
    uni_pc_lower_order_final: bool = option(True, "UniPC lower order final", infotext="UniPC lower order final")
    sd_noise_schedule: str = option(
        "Default", "Noise schedule for sampling", choices=("Default", "Zero Terminal SNR"), infotext="Noise Schedule"
    )
    skip_early_cond: Number = option(
        0.0,
        "Share of first steps without the negative prompt",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
        infotext="Skip Early CFG",
    )
    beta_dist_alpha: Number = option(
        0.6,
        "Beta scheduler - alpha",
        minimum=0.01,
        maximum=1.0,
        limit=100.0,
        step=0.01,
        infotext="Beta scheduler alpha",
    )
    beta_dist_beta: Number = option(
        0.6, "Beta scheduler - beta", minimum=0.01, maximum=1.0, limit=100.0, step=0.01, infotext="Beta scheduler beta"
    )


class Lora(Section, title="Lora", page="lora"):
    sd_lora: str = option("None", "Network added to every prompt")
    lora_preferred_name: str = option(
        "Alias from file", "Name used in <lora:…>", choices=("Alias from file", "Filename")
    )
    lora_add_hashes_to_infotext: bool = option(True, "Write hashes of LoRA files into the parameters")
    lora_bundled_ti_to_infotext: bool = option(True, "Write hashes of embeddings bundled in LoRA files too")
    lora_show_all: bool = option(False, "Show LoRA cards made for other kinds of models")
    lora_hide_unknown_for_versions: tuple[str, ...] = option(
        (), "Hide LoRA cards of unknown kind for these models", choices=("SD1", "SD2", "SDXL")
    )
    lora_in_memory_limit: int = option(
        0, "LoRA files kept in RAM", no_effect="LoRA files are read when they are needed; the system keeps them at hand"
    )
    lora_not_found_warning_console: bool = option(False, "Say in the console when a LoRA is not found")
    lora_not_found_gradio_warning: bool = option(
        False, "Say on the page when a LoRA is not found", no_effect="the page always says which LoRA is not found"
    )
    lora_functional: bool = option(
        False,
        "Add LoRA at every call instead of into the weights",
        no_effect="LoRA are added into the weights in float32 and taken out without a trace",
    )


class Hypertile(Section, title="Hypertile", page="hypertile"):
    hypertile_enable_unet: bool = option(False, "Hypertile for the UNet", infotext="Hypertile U-Net")
    hypertile_enable_unet_secondpass: bool = option(
        False, "Hypertile for the UNet in hires fix", infotext="Hypertile U-Net second pass"
    )
    hypertile_max_depth_unet: int = option(
        3, "UNet: deepest level", minimum=0, maximum=3, infotext="Hypertile U-Net max depth"
    )
    hypertile_max_tile_unet: int = option(
        256, "UNet: largest tile", minimum=0, maximum=512, step=16, infotext="Hypertile U-Net max tile size"
    )
    hypertile_swap_size_unet: int = option(
        3, "UNet: tile sizes to vary between", minimum=0, maximum=64, infotext="Hypertile U-Net swap size"
    )
    hypertile_enable_vae: bool = option(False, "Hypertile for the VAE", infotext="Hypertile VAE")
    hypertile_max_depth_vae: int = option(
        3, "VAE: deepest level", minimum=0, maximum=3, infotext="Hypertile VAE max depth"
    )
    hypertile_max_tile_vae: int = option(
        128, "VAE: largest tile", minimum=0, maximum=512, step=16, infotext="Hypertile VAE max tile size"
    )
    hypertile_swap_size_vae: int = option(
        3, "VAE: tile sizes to vary between", minimum=0, maximum=64, infotext="Hypertile VAE swap size"
    )


class Comments(Section, title="Comments", page="comments"):
    enable_prompt_comments: bool = option(True, "Lines and line ends after # in a prompt are comments")


class GenerationOptions(
    StableDiffusion,
    StableDiffusionXL,
    StableDiffusion3,
    Vae,
    Img2Img,
    Optimizations,
    Compatibility,
    SamplerParameters,
    Lora,
    Hypertile,
    Comments,
):
    """Every setting that can change a picture, flat, under A1111's keys, with a request's overrides applied."""
