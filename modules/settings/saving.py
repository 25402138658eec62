"""What is written to disk: pictures, grids, their names and folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from modules.settings.option import Section, option

_TEMPORARY = "temporary files lie in the data folder, or where GRADIO_TEMP_DIR says"

PICTURE_FORMATS = ("png", "jpg", "webp", "avif")
"""What finished pictures and grids can be written as; further names of the same formats are understood too."""

_OTHER_NAMES = ("apng", "jpe", "jpeg", "jfif", "avifs")


def _picture_format(extension: str) -> str:
    """The extension as it was written, in capitals and with its dot or without."""
    if extension.lower().lstrip(".") not in (*PICTURE_FORMATS, *_OTHER_NAMES):
        raise PydanticCustomError("picture_format", f"pictures are written as {', '.join(PICTURE_FORMATS)}")
    return extension


PictureFormat = Annotated[str, AfterValidator(_picture_format)]


class SavingImages(Section, title="Saving images/grids", page="saving-images"):
    samples_save: bool = option(True, "Save every picture")
    samples_format: PictureFormat = option("png", "File format for images")
    samples_filename_pattern: str = option("", "Pattern of picture file names")
    save_images_add_number: bool = option(True, "Begin file names with a running number")
    save_images_replace_action: str = option(
        "Replace", "When the file name is taken already", choices=("Replace", "Add number suffix")
    )
    grid_save: bool = option(True, "Save every grid")
    grid_format: PictureFormat = option("png", "File format for grids")
    grid_extended_filename: bool = option(False, "Put seed and prompt into grid file names")
    grid_only_if_multiple: bool = option(True, "Make no grid of a single picture")
    grid_prevent_empty_spots: bool = option(False, "Choose grid rows so that no place stays empty")
    grid_zip_filename_pattern: str = option("", "Pattern of zip file names")
    n_rows: int = option(-1, "Grid rows (-1: about square, 0: as the batch size)", minimum=-1, maximum=16)
    font: str = option("", "Font file for grids with legends (empty: the built-in font)")
    grid_text_active_color: str = option("#000000", "Text color for image grids")
    grid_text_inactive_color: str = option("#999999", "Inactive text color for image grids")
    grid_background_color: str = option("#ffffff", "Background color for image grids")
    save_images_before_face_restoration: bool = option(False, "Also save the picture before face restoration")
    save_images_before_highres_fix: bool = option(False, "Also save the first pass of hires fix")
    save_images_before_color_correction: bool = option(False, "Also save the picture before colour correction")
    save_mask: bool = option(False, "Also save the mask of inpainting")
    save_mask_composite: bool = option(False, "Also save the repainted part on its own")
    jpeg_quality: int = option(80, "Quality of JPEG, WebP and AVIF files", minimum=1, maximum=100)
    webp_lossless: bool = option(False, "Save WebP without loss")
    export_for_4chan: bool = option(True, "Save a JPEG beside pictures that are too heavy or too large to pass on")
    img_downscale_threshold: float = option(4.0, "File size in MB that counts as too heavy")
    target_side_length: int = option(4000, "Side in pixels that counts as too large")
    img_max_size_mp: int = option(200, "Largest X/Y/Z plot, in megapixels")
    use_original_name_batch: bool = option(True, "Keep the source's file name in Extras batches")
    use_upscaler_name_as_suffix: bool = option(
        False, "Put the upscaler into file names", no_effect="A1111 does not use it either"
    )
    save_selected_only: bool = option(True, "The Save button saves the selected picture only")
    save_write_log_csv: bool = option(True, "The Save button adds a line to log.csv")
    save_init_img: bool = option(False, "Save the source pictures of img2img")
    temp_dir: str = option("", "Folder for temporary pictures (empty: chosen by Gradio)", no_effect=_TEMPORARY)
    clean_temp_dir_at_start: bool = option(False, "Empty that folder at start", no_effect=_TEMPORARY)
    save_incomplete_images: bool = option(False, "Save pictures of interrupted jobs")
    notification_audio: bool = option(True, "Play a sound when pictures are done", reload=True)
    notification_volume: int = option(100, "Volume of that sound", minimum=0, maximum=100)


class SavingPaths(Section, title="Paths for saving", page="saving-paths"):
    outdir_samples: str = option("", "One folder for all pictures (empty: the three below)")
    outdir_txt2img_samples: str = option("outputs/txt2img-images", "Folder for txt2img pictures")
    outdir_img2img_samples: str = option("outputs/img2img-images", "Folder for img2img pictures")
    outdir_extras_samples: str = option("outputs/extras-images", "Folder for pictures from Extras")
    outdir_grids: str = option("", "One folder for all grids (empty: the two below)")
    outdir_txt2img_grids: str = option("outputs/txt2img-grids", "Folder for txt2img grids")
    outdir_img2img_grids: str = option("outputs/img2img-grids", "Folder for img2img grids")
    outdir_save: str = option("log/images", "Folder of the Save button")
    outdir_init_images: str = option("outputs/init-images", "Folder for source pictures")


class SavingToDirectory(Section, title="Saving to a directory", page="saving-to-dirs"):
    save_to_dirs: bool = option(True, "Save pictures into sub-folders")
    grid_save_to_dirs: bool = option(True, "Save grids into sub-folders")
    use_save_to_dirs_for_ui: bool = option(False, "The Save button uses sub-folders too")
    directories_filename_pattern: str = option("[date]", "Pattern of sub-folder names")
    directories_max_prompt_words: int = option(
        8, "Words of the prompt that [prompt_words] takes", minimum=1, maximum=20
    )


class Infotext(Section, title="Infotext", page="infotext"):
    enable_pnginfo: bool = option(True, "Write the generation parameters into the files")
    save_txt: bool = option(False, "Write a text file with the parameters beside every picture")
    add_model_name_to_info: bool = option(True, "Write the model's name into the parameters")
    add_model_hash_to_info: bool = option(True, "Write the model's hash into the parameters")
    add_vae_name_to_info: bool = option(True, "Write the VAE's name into the parameters")
    add_vae_hash_to_info: bool = option(True, "Write the VAE's hash into the parameters")
    add_user_name_to_info: bool = option(False, "Write the login into the parameters")
    add_version_to_infotext: bool = option(True, "Write the program's version into the parameters")
    disable_weights_auto_swap: bool = option(True, "Do not change the model when parameters are pasted")
    infotext_skip_pasting: tuple[str, ...] = option((), "Parameters to ignore when pasting")
    infotext_styles: str = option(
        "Apply if any", "Styles found in a pasted prompt", choices=("Ignore", "Apply", "Discard", "Apply if any")
    )


class SavingOptions(SavingImages, SavingPaths, SavingToDirectory, Infotext):
    """Every setting about writing results, flat: what a plan's `saving.options` holds, defaults where it is silent."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> SavingOptions:
        """From a plan's options, whose values are checked already; keys of other sections are left out."""
        return cls.model_construct(**{key: value for key, value in options.items() if key in cls.model_fields})
