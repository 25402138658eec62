"""Pictures in words: the real BLIP made small, in Hugging Face's layout, against transformers' own path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modules.errors import ModelFileBroken
from modules.models.caption import Captioner, find

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *"abcdefghijklmnopqrstuvwxyz", "cat", "boat", "red")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

    place = tmp_path_factory.mktemp("models") / "BLIP" / "tiny"
    place.mkdir(parents=True)
    (place / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(place / "vocab.txt")).save_pretrained(place)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(WORDS), "encoder_hidden_size": 16, "bos_token_id": 5, "eos_token_id": 3,
            "sep_token_id": 3, "pad_token_id": 0}  # fmt: skip
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(
        BlipConfig(text_config={**tower, **text}, vision_config={**tower, "image_size": 32, "patch_size": 16})
    )
    model.save_pretrained(place)
    return place


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8))


@pytest.mark.parametrize("beams", [1, 3])
def test_a_description_is_what_transformers_own_preprocessing_and_model_make(folder, beams):
    from transformers import BertTokenizer, BlipForConditionalGeneration
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    processor = BlipImageProcessorPil(size={"height": 32, "width": 32})
    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    pixels = processor(images=picture(1), return_tensors="pt")["pixel_values"]
    made = model.generate(pixel_values=pixels, num_beams=beams, do_sample=False, min_length=6, max_length=12)
    wanted = BertTokenizer.from_pretrained(folder).decode(made[0], skip_special_tokens=True).strip()
    captioner = Captioner(folder)
    assert captioner.describe(picture(1), beams=beams, shortest=6, longest=12) == wanted
    assert len(wanted.split()) >= 4
    difference = (captioner._pixels(picture(1)) - pixels).abs().max()
    assert difference < 1e-5


def test_the_model_is_found_in_its_folder_or_in_one_below_and_only_when_it_is_whole(folder, tmp_path):
    assert find([tmp_path / "nowhere", folder.parent]) == folder
    assert find([folder]) == folder
    (tmp_path / "config.json").write_text("{}")
    assert find([tmp_path]) is None


def test_a_folder_of_something_else_is_refused_by_name(tmp_path):
    for name, text in (("config.json", "{}"), ("vocab.txt", "a"), ("model.safetensors", "")):
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelFileBroken, match="not a BLIP model"):
        Captioner(tmp_path)
