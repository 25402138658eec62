"""Metadata of ComfyUI, InvokeAI and Fooocus, in the forms in which these programs write it, as infotext."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from modules.images import formats
from modules.infotext.files import read_metadata
from modules.infotext.foreign import foreign_infotext
from modules.infotext.parse import parse

COMFY = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 156680208700286, "steps": 20, "cfg": 8.0, "sampler_name": "euler_ancestral", "scheduler": "karras",
            "denoise": 1.0, "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15/v1-5-pruned.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a glass bottle", "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["10", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "styles/ink.safetensors", "strength_model": 0.8, "strength_clip": 1.0,
            "model": ["4", 0], "clip": ["4", 1],
        },
    },
}  # fmt: skip

COMFY_CUSTOM = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.sft", "weight_dtype": "default"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["11", 0]}},
    "3": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["2", 0]}},
    "4": {"class_type": "BasicGuider", "inputs": {"model": ["1", 0], "conditioning": ["3", 0]}},
    "5": {"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
    "6": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "7": {
        "class_type": "BasicScheduler",
        "inputs": {"scheduler": "simple", "steps": 28, "denoise": 1, "model": ["1", 0]},
    },
    "8": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1}},
    "9": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["5", 0], "guider": ["4", 0], "sampler": ["6", 0], "sigmas": ["7", 0], "latent_image": ["8", 0],
        },
    },
    "10": {"class_type": "SaveImage", "inputs": {"images": ["12", 0]}},
    "11": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "t5xxl.safetensors", "type": "flux"}},
    "12": {"class_type": "VAEDecode", "inputs": {"samples": ["9", 0], "vae": ["13", 0]}},
    "13": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.sft"}},
}  # fmt: skip

INVOKE = {
    "app_version": "5.4.2", "generation_mode": "sdxl_txt2img",
    "positive_prompt": "a red barn", "negative_prompt": "fog",
    "width": 1024, "height": 832, "seed": 77, "cfg_scale": 5.5, "steps": 30, "scheduler": "dpmpp_2m_sde_k",
    "model": {"key": "x", "hash": "blake3:aa", "name": "Juggernaut XL v9", "base": "sdxl", "type": "main"},
    "loras": [{"model": {"key": "y", "name": "ink", "type": "lora"}, "weight": 0.6}], "strength": 0.7,
}  # fmt: skip

INVOKE_2 = {
    "model": "stable diffusion", "model_weights": "stable-diffusion-1.5", "app_version": "2.3.5",
    "image": {
        "prompt": [{"prompt": "a fox in snow [blurry, dark]", "weight": 1}], "steps": 40, "cfg_scale": 7.5, "seed": 9,
        "sampler": "k_dpmpp_2", "width": 512, "height": 640, "type": "txt2img",
    },
}  # fmt: skip

FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "juggernautXL_v8Rundiffusion.safetensors",
    "base_model_hash": "aeb7e9e689", "clip_skip": 2, "full_negative_prompt": ["blurry", "unreal"],
    "full_prompt": ["cinematic still a knight", "film grain"], "guidance_scale": 4, "prompt": "a knight",
    "negative_prompt": "blurry", "loras": [["sd_xl_offset_example-lora_1.0.safetensors", 0.1, "4852686128"]],
    "performance": "Speed", "resolution": "(1152, 896)", "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras",
    "seed": "5417203154", "steps": 30, "styles": "['Fooocus V2']", "version": "Fooocus v2.5.5",
}  # fmt: skip


def read(**texts: object) -> tuple[str, str]:
    items = {key.replace("_", "-", 1) if key == "sd_metadata" else key: json.dumps(text) for key, text in texts.items()}
    found = foreign_infotext(items, items.pop("parameters", None))
    assert found is not None
    return found


def test_comfyuis_graph_is_followed_from_the_saved_picture_to_what_made_it():
    assert read(prompt=COMFY, workflow={"nodes": []}) == (
        "ComfyUI",
        "a glass bottle <lora:ink:0.8>\nNegative prompt: text, watermark\nSteps: 20, Sampler: Euler a, Schedule type: "
        "Karras, CFG scale: 8.0, Seed: 156680208700286, Size: 512x768, Model: v1-5-pruned",
    )


def test_comfyuis_samplers_in_parts_are_put_together():
    program, text = read(prompt=COMFY_CUSTOM)
    assert program == "ComfyUI"
    assert (
        text
        == "a lighthouse\nSteps: 28, Sampler: Euler, Schedule type: Simple, Seed: 42, Size: 1024x1024, Model: flux1-dev"
    )


def test_a_number_that_comes_from_a_node_of_its_own_is_found():
    graph = json.loads(json.dumps(COMFY))
    graph["3"]["inputs"]["seed"] = ["20", 0]
    graph["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 11}}
    assert "Seed: 11" in read(prompt=graph)[1]


def test_invokeai_of_both_generations():
    assert read(invokeai_metadata=INVOKE) == (
        "InvokeAI",
        "a red barn <lora:ink:0.6>\nNegative prompt: fog\nSteps: 30, Sampler: DPM++ 2M SDE, Schedule type: Karras, "
        "CFG scale: 5.5, Seed: 77, Size: 1024x832, Model: Juggernaut XL v9",
    )
    assert read(sd_metadata=INVOKE_2) == (
        "InvokeAI",
        "a fox in snow\nNegative prompt: blurry, dark\nSteps: 40, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 9, "
        "Size: 512x640, Model: stable-diffusion-1.5",
    )


def test_fooocus_writes_its_object_where_a1111_writes_its_text():
    program, text = read(parameters=FOOOCUS)
    assert program == "Fooocus"
    assert text.splitlines() == [
        "cinematic still a knight, film grain <lora:sd_xl_offset_example-lora_1.0:0.1>",
        "Negative prompt: blurry, unreal",
        "Steps: 30, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 4, Seed: 5417203154, Size: 1152x896, "
        "Model hash: aeb7e9e689, Model: juggernautXL_v8Rundiffusion",
    ]


@pytest.mark.parametrize(
    "items, parameters",
    [
        ({"prompt": "{broken"}, None),
        ({"prompt": json.dumps({"1": {"class_type": "LoadImage", "inputs": {}}})}, None),
        ({"prompt": json.dumps([1, 2])}, None),
        (
            {
                "prompt": json.dumps(
                    {"1": {"class_type": "KSampler", "inputs": {"positive": ["1", 0], "steps": ["1", 0]}}}
                )
            },
            None,
        ),
        ({"sd-metadata": json.dumps({"image": 5}), "invokeai_metadata": "[]"}, None),
        ({}, '{"a": 1}'),
        ({}, "a cat\nSteps: 20"),
        ({"prompt": "a cat that somebody named so"}, None),
    ],
)
def test_what_is_broken_or_somebody_elses_is_no_metadata(items: dict[str, str], parameters: str | None):
    assert foreign_infotext(items, parameters) is None


def test_a_file_tells_the_translation_and_keeps_what_was_written():
    texts = {"prompt": json.dumps(COMFY), "workflow": "{}"}
    said = read_metadata(formats.encode(Image.new("RGB", (8, 8)), "png", texts=texts))
    assert said.infotext is None and said.items["prompt"] == texts["prompt"], "as A1111's API answers"
    assert said.program == "ComfyUI" and parse(said.meant).values["Seed"] == "156680208700286"
    plain = read_metadata(formats.encode(Image.new("RGB", (8, 8)), "png", texts={"parameters": "a cat\nSteps: 20"}))
    assert plain.meant == plain.infotext == "a cat\nSteps: 20" and not plain.program


def webp(tags: dict[int, str], comment: str = "") -> bytes:
    """A WebP picture with these tags in its EXIF block."""
    picture = Image.new("RGB", (8, 8))
    exif = picture.getexif()
    exif.update(tags)
    if comment:
        exif.get_ifd(formats.EXIF_IFD)[formats.USER_COMMENT] = b"UNICODE\0" + comment.encode("utf-16-be")
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "tags, comment",
    [
        ({0x0110: f"prompt:{json.dumps(COMFY)}", 0x010F: 'workflow:{"nodes": []}'}, ""),  # ComfyUI's own nodes
        ({0x010F: f"Prompt: {json.dumps(COMFY)}", 0x010E: 'Workflow: {"nodes": []}'}, ""),
        ({}, json.dumps({"prompt": COMFY, "workflow": {"nodes": []}})),
    ],
)
def test_comfyuis_graph_is_found_in_the_exif_block_of_a_webp(tags: dict[int, str], comment: str):
    said = read_metadata(webp(tags, comment))
    assert said.program == "ComfyUI" and parse(said.meant).values["Seed"] == "156680208700286"
    assert json.loads(said.items["prompt"]) == COMFY and json.loads(said.items["workflow"]) == {"nodes": []}


@pytest.mark.parametrize(
    "text", ["prompt:{broken", "prompt: a cat", "Canon", '{"prompt": "a cat"}', '{"prompt": {', "{}"]
)
def test_an_exif_block_with_something_else_in_it_is_no_graph(text: str):
    for said in (read_metadata(webp({0x0110: text})), read_metadata(webp({}, text))):
        assert said.program == "" and said.translated is None
