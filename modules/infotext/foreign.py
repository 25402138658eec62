"""What other programs write into their pictures, as infotext: ComfyUI, InvokeAI and Fooocus.

Each reader gives the infotext that would ask for the same here as far as the formats agree, or None for what is not
its own. Names of samplers and schedules are translated; one without a counterpart stays as it was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modules.images.formats import sound_text
from modules.infotext.write import last_line

Json = dict[str, Any]

_SAMPLERS = {
    "euler": "Euler", "euler_a": "Euler a", "euler_ancestral": "Euler a", "heun": "Heun", "lms": "LMS",
    "dpm_2": "DPM2", "dpm_2_ancestral": "DPM2 a", "kdpm_2": "DPM2", "kdpm_2_a": "DPM2 a", "dpm_fast": "DPM fast",
    "dpm_adaptive": "DPM adaptive", "dpmpp_2s": "DPM++ 2S a", "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE", "dpmpp_sde_gpu": "DPM++ SDE", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE", "dpmpp_3m_sde": "DPM++ 3M SDE", "dpmpp_3m_sde_gpu": "DPM++ 3M SDE",
    "dpmpp_3m": "DPM++ 3M SDE", "ddim": "DDIM", "plms": "PLMS", "pndm": "PLMS", "uni_pc": "UniPC", "unipc": "UniPC",
    "lcm": "LCM", "k_euler": "Euler", "k_euler_a": "Euler a", "k_heun": "Heun", "k_lms": "LMS", "k_dpm_2": "DPM2",
    "k_dpm_2_a": "DPM2 a", "k_dpmpp_2": "DPM++ 2M", "k_dpmpp_2_a": "DPM++ 2S a",
}  # fmt: skip
_SCHEDULES = {
    "normal": "Uniform", "karras": "Karras", "exponential": "Exponential", "sgm_uniform": "SGM Uniform",
    "simple": "Simple", "ddim_uniform": "DDIM", "beta": "Beta", "kl_optimal": "KL Optimal",
    "align_your_steps": "Align Your Steps", "ays": "Align Your Steps",
}  # fmt: skip


def foreign_infotext(items: Mapping[str, str], parameters: str | None) -> tuple[str, str] | None:
    """(program, infotext) of another program's texts; None when there are none that can be read.

    `items` are a file's texts by key, `parameters` what stands where A1111 writes its own.
    """
    readers: tuple[tuple[str, Callable[[Json], str | None], str | None], ...] = (
        ("Fooocus", fooocus, parameters),
        ("InvokeAI", invokeai, items.get("invokeai_metadata")),
        ("InvokeAI", invokeai_2, items.get("sd-metadata")),
        ("ComfyUI", comfyui, items.get("prompt")),
    )
    for program, read, text in readers:
        if not text or not text.lstrip().startswith("{"):
            continue
        try:
            found = read(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # damaged, or of a version that nobody knows: no metadata
        if found:
            return program, sound_text(found)
    return None


def comfyui(graph: Json) -> str | None:
    """From the graph of nodes that was run: the sampler nearest to what was saved, and what leads into it."""
    nodes = {str(key): node for key, node in graph.items() if isinstance(node, dict) and "class_type" in node}
    saved = [key for key, node in nodes.items() if re.match(r"(?:Save|Preview)", node["class_type"])]
    for start in (*saved, *nodes):
        for key in _upstream(nodes, start):
            found = _comfy_sampler(nodes, key)
            if found is not None:
                return found
    return None


def invokeai(said: Json) -> str | None:
    """Since version 3: one flat object."""
    if "positive_prompt" not in said and "steps" not in said:
        return None
    scheduler = str(said.get("scheduler") or "")
    model = said.get("model") or {}
    tags = []
    for lora in said.get("loras") or ():
        about = lora.get("model") or lora.get("lora") or {}
        tags.append(_tag(str(about.get("name") or about.get("model_name") or ""), lora.get("weight", 0.75)))
    return _infotext(
        " ".join([str(said.get("positive_prompt") or ""), *tags]).strip(),
        str(said.get("negative_prompt") or ""),
        {
            "Steps": said.get("steps"),
            "Sampler": _SAMPLERS.get(scheduler.removesuffix("_k"), scheduler),
            "Schedule type": "Karras" if scheduler.endswith("_k") else None,
            "CFG scale": said.get("cfg_scale"),
            "Seed": said.get("seed"),
            "Size": _size(said.get("width"), said.get("height")),
            "Model": model.get("name") or model.get("model_name"),
            "Denoising strength": said.get("strength") if said.get("init_image") else None,
            "Clip skip": said.get("clip_skip") or None,
        },
    )


def invokeai_2(said: Json) -> str | None:
    """Up to version 2: an object "image"; words of the negative prompt stand in square brackets."""
    image = said.get("image")
    if not isinstance(image, dict):
        return None
    prompt = image.get("prompt") or ""
    if isinstance(prompt, list):
        prompt = ", ".join(str(part.get("prompt", "")) for part in prompt)
    negative = ", ".join(re.findall(r"\[([^\[\]]*)\]", prompt))
    sampler = str(image.get("sampler") or "")
    return _infotext(
        re.sub(r"\s*\[[^\[\]]*\]", "", prompt).strip(),
        negative,
        {
            "Steps": image.get("steps"),
            "Sampler": _SAMPLERS.get(sampler, sampler),
            "CFG scale": image.get("cfg_scale"),
            "Seed": image.get("seed"),
            "Size": _size(image.get("width"), image.get("height")),
            "Model": said.get("model_weights"),
        },
    )


def fooocus(said: Json) -> str | None:
    """Its own scheme, an object in the place of A1111's text."""
    if "base_model" not in said or "prompt" not in said:
        return None
    size = re.findall(r"\d+", str(said.get("resolution", "")))
    loras = [lora for lora in said.get("loras") or () if isinstance(lora, (list, tuple)) and len(lora) >= 2]
    tags = [_tag(str(name), weight) for name, weight, *_ in loras]
    return _infotext(
        " ".join([_joined(said.get("full_prompt")) or str(said["prompt"]), *tags]).strip(),
        _joined(said.get("full_negative_prompt")) or str(said.get("negative_prompt") or ""),
        {
            "Steps": said.get("steps"),
            "Sampler": _SAMPLERS.get(str(said.get("sampler")), said.get("sampler")),
            "Schedule type": _SCHEDULES.get(str(said.get("scheduler")), said.get("scheduler")),
            "CFG scale": said.get("guidance_scale"),
            "Seed": said.get("seed"),
            "Size": _size(*size[:2]) if len(size) >= 2 else None,
            "Model hash": said.get("base_model_hash"),
            "Model": _stem(str(said["base_model"])),
        },
    )


# ── ComfyUI's graph ──────────────────────────────────────────────────────────────────────────────────────────────────


def _comfy_sampler(nodes: Mapping[str, Json], key: str) -> str | None:
    """The infotext of a sampling node; None for any other."""
    node = nodes[key]
    kind, given = str(node["class_type"]), node.get("inputs", {})
    if "sampl" not in kind.lower() or not ({"positive", "guider", "sampler_name"} & set(given)):
        return None
    guider = nodes.get(_link(given.get("guider")) or "", {}).get("inputs", {})
    texts = {**given, **guider}
    positive = texts.get("positive", texts.get("conditioning"))
    model = _link(texts.get("model"))
    names, tags = _comfy_models(nodes, model)
    sampler = _found(nodes, key, "sampler_name")
    schedule = _found(nodes, key, "scheduler")
    strength = _found(nodes, key, "denoise")
    return _infotext(
        " ".join([_comfy_text(nodes, positive), *tags]).strip(),
        _comfy_text(nodes, texts.get("negative")),
        {
            "Steps": _found(nodes, key, "steps"),
            "Sampler": _SAMPLERS.get(str(sampler), sampler),
            "Schedule type": _SCHEDULES.get(str(schedule), schedule),
            "CFG scale": _found(nodes, key, "cfg"),
            "Seed": _found(nodes, key, "seed", "noise_seed"),
            "Size": _comfy_size(nodes, _link(given.get("latent_image"))),
            "Model": _stem(names[0]) if names else None,
            "Denoising strength": strength if isinstance(strength, (int, float)) and strength < 1 else None,
        },
    )


def _link(value: object) -> str | None:
    """The node that an input comes from; None for a plain value."""
    return str(value[0]) if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int) else None


def _upstream(nodes: Mapping[str, Json], start: str) -> Iterator[str]:
    """`start` and everything that leads into it, the nearest first."""
    waiting, seen = [start], {start}
    while waiting:
        key = waiting.pop(0)
        yield key
        for value in nodes[key].get("inputs", {}).values():
            source = _link(value)
            if source in nodes and source not in seen:
                seen.add(source)
                waiting.append(source)


def _found(nodes: Mapping[str, Json], start: str, *names: str) -> Any:
    """The first plain value of an input with one of these names, at a node or on the way into it."""
    for key in _upstream(nodes, start):
        given = nodes[key].get("inputs", {})
        for name in names:
            if name in given and _link(given[name]) is None:
                return given[name]
            source = nodes.get(_link(given.get(name)) or "", {}).get("inputs", {})
            for value in source.values():  # a node that only holds a number
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    return value
    return None


def _comfy_text(nodes: Mapping[str, Json], value: object) -> str:
    """The words that lead into a conditioning, joined where several are combined."""
    start, texts = _link(value), []
    if start not in nodes:
        return value if isinstance(value, str) else ""
    for key in _upstream(nodes, start):
        for name in ("text", "text_g", "text_l", "clip_l", "t5xxl", "string", "value", "prompt"):
            text = nodes[key].get("inputs", {}).get(name)
            if isinstance(text, str) and text.strip() and text not in texts:
                texts.append(text)
    return ", ".join(texts)


def _comfy_models(nodes: Mapping[str, Json], start: str | None) -> tuple[list[str], list[str]]:
    """Names of checkpoints and tags of LoRAs on the way from a sampler to its model."""
    names: list[str] = []
    tags: list[str] = []
    seen: set[str] = set()
    while start in nodes and start not in seen:
        seen.add(start)
        given = nodes[start].get("inputs", {})
        names += [str(given[name]) for name in ("ckpt_name", "unet_name") if isinstance(given.get(name), str)]
        if isinstance(given.get("lora_name"), str):
            tags.insert(0, _tag(given["lora_name"], given.get("strength_model", 1)))
        start = _link(given.get("model"))
    return names, tags


def _comfy_size(nodes: Mapping[str, Json], start: str | None) -> str | None:
    """The size of the empty latents that a sampler starts from."""
    given = nodes.get(start or "", {}).get("inputs", {})
    sides = [given.get("width"), given.get("height")]
    return _size(*sides) if all(isinstance(side, int) for side in sides) else None


# ── infotext ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _infotext(prompt: str, negative: str, values: Mapping[str, Any]) -> str | None:
    """As A1111 lays it out; None when nothing was found."""
    line = last_line({key: value for key, value in values.items() if value not in (None, "")})
    if not prompt and not line:
        return None
    return "\n".join(part for part in (prompt, f"Negative prompt: {negative}" if negative else "", line) if part)


def _tag(name: str, weight: object) -> str:
    return f"<lora:{_stem(name)}:{weight}>"


def _stem(name: str) -> str:
    """A model's name without folder and extension."""
    return re.sub(r"\.(?:safetensors|ckpt|pt|pth|bin|sft|gguf)$", "", re.split(r"[/\\]", name)[-1], flags=re.IGNORECASE)


def _size(width: object, height: object) -> str | None:
    return f"{width}x{height}" if width and height else None


def _joined(texts: object) -> str:
    return ", ".join(str(text) for text in texts if str(text).strip()) if isinstance(texts, list) else ""
