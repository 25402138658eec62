"""All settings as one frozen, flat object whose keys are A1111's `config.json` keys."""

from __future__ import annotations

from modules.settings.interface import (
    CanvasHotkeys,
    ExtraNetworks,
    Gallery,
    InterfaceAlternatives,
    LivePreviews,
    PromptEditing,
    SettingsInInterface,
    UserInterface,
)
from modules.settings.option import Section
from modules.settings.postprocessing import FaceRestoration, Interrogate, Postprocessing, TiledUpscalers, Upscaling
from modules.settings.saving import Infotext, SavingImages, SavingPaths, SavingToDirectory
from modules.settings.stable_diffusion import (
    Comments,
    Compatibility,
    GenerationOptions,
    Hypertile,
    Img2Img,
    Lora,
    Optimizations,
    SamplerParameters,
    StableDiffusion,
    StableDiffusion3,
    StableDiffusionXL,
    Vae,
)
from modules.settings.system import ApiAccess, HiddenOptions, Profiler, System, Training

SECTIONS: tuple[type[Section], ...] = (
    SavingImages, SavingPaths, SavingToDirectory,
    StableDiffusion, StableDiffusionXL, StableDiffusion3, Vae, Img2Img, Optimizations, SamplerParameters, Compatibility,
    Lora, Hypertile, Comments,
    UserInterface, LivePreviews, Gallery, PromptEditing, InterfaceAlternatives, ExtraNetworks, CanvasHotkeys,
    SettingsInInterface, Infotext,
    Upscaling, TiledUpscalers, FaceRestoration, Postprocessing, Interrogate,
    System, ApiAccess, Training, Profiler, HiddenOptions,
)  # fmt: skip


class Settings(*SECTIONS):  # type: ignore[misc]
    """Every setting, flat, under A1111's keys; the sections are its bases, in the order of the Settings tab."""

    def generation(self) -> GenerationOptions:
        """The settings that can change a picture."""
        return GenerationOptions.model_construct(**{key: getattr(self, key) for key in GenerationOptions.model_fields})
