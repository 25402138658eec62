"""A picture in words: BLIP (Li et al. 2022, arXiv:2201.12086), as Hugging Face keeps it in a folder.

A1111's "Interrogate CLIP" begins with BLIP's description. Its second half, words that CLIP picks out of lists of
artists and styles, is not here: neither the lists nor a whole CLIP come with a checkpoint. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from modules.errors import ModelFileBroken

if TYPE_CHECKING:
    import torch

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "vocab.txt")
MISSING = (
    'a BLIP model is needed: put the files of "Salesforce/blip-image-captioning-base" from Hugging Face (config.json, '
    "model.safetensors, tokenizer.json, vocab.txt) into the folder models/BLIP"
)

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, which BLIP was trained with
_STD = (0.26862954, 0.26130258, 0.27577711)


def find(folders: Iterable[Path]) -> Path | None:
    """The first folder, of these and those in them, that holds a BLIP model; None when there is none."""
    for folder in folders:
        if not folder.is_dir():
            continue
        for candidate in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
            has_all = (candidate / "config.json").is_file() and any((candidate / name).is_file() for name in WEIGHTS)
            if has_all and any((candidate / name).is_file() for name in TOKENIZERS):
                return candidate
    return None


class Captioner:
    """BLIP in memory. `describe` as often as wanted; drop it to free the memory."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        """Raises ModelFileBroken for a folder that transformers cannot read."""
        from safetensors import SafetensorError
        from transformers import AutoTokenizer, BlipForConditionalGeneration

        self.folder = folder
        try:
            self._model = BlipForConditionalGeneration.from_pretrained(folder, local_files_only=True).eval().to(device)
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelFileBroken(f"{folder}: not a BLIP model that can be read: {error}") from error

    def describe(self, image: Image.Image, *, beams: int = 1, shortest: int = 24, longest: int = 48) -> str:
        """A sentence about the picture, of `shortest` to `longest` tokens; the most likely one of `beams`."""
        import torch

        with torch.inference_mode():
            made = self._model.generate(
                pixel_values=self._pixels(image),
                num_beams=beams,
                do_sample=False,
                min_length=min(shortest, longest),
                max_length=longest,
            )
        return str(self._tokenizer.decode(made[0], skip_special_tokens=True)).strip()

    def _pixels(self, image: Image.Image) -> torch.Tensor:
        """(1, 3, side, side) float32: stretched to a square, as BLIP was trained, and normalised."""
        import numpy as np
        import torch

        side = self._model.config.vision_config.image_size
        square = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        values = (np.asarray(square, np.float32) / 255 - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
        return torch.from_numpy(values.transpose(2, 0, 1)[None]).to(self._model.device, self._model.dtype)
