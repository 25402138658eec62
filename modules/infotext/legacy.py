"""What missing keys and old versions' keys mean: A1111's fill-ins and backward compatibility, step by step."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

from modules.errors import InvalidPrompt
from modules.infotext.parse import Infotext
from modules.prompts import emphasis

SAME_SAMPLER = "Use same sampler"
SAME_SCHEDULE = "Use same scheduler"
SAME_CHECKPOINT = "Use same checkpoint"

_MISSING = {
    "Clip skip": "1",
    "Hires resize-1": "0",
    "Hires resize-2": "0",
    "Hires sampler": SAME_SAMPLER,
    "Hires schedule type": SAME_SCHEDULE,
    "Hires checkpoint": SAME_CHECKPOINT,
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": "32",
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": "0",
    "Schedule min sigma": "0",
    "Schedule rho": "0",
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Refiner switch by sampling steps": "False",
}

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:-(\d+)|-?(rc|a|b|alpha|beta|pre)[.\d]*)?", re.IGNORECASE)
_LORA_TAG = re.compile(r"<lora:([^:>]+):")
_HASH_PAIR = re.compile(r"\s*([^:,]+?)\s*:\s*([0-9a-fA-F]+)\s*(?:,|$)")
_ADDNET = re.compile(r"AddNet (Module|Model|Weight A|Weight B) (\d+)")

Version = tuple[int, int, int, int]
"""Major, minor, patch and the number of commits after it (-1 for what came before the release)."""


def understood(
    text: Infotext,
    *,
    backward_compatible: bool = True,
    old_hires_sizes: bool = False,
    lora_named: Callable[[str], str | None] = lambda digest: None,
) -> Infotext:
    """`text` with everything said outright that its keys, its missing keys and its version imply.

    `backward_compatible` is the setting `auto_backcompat`, `old_hires_sizes` is `use_old_hires_fix_width_height`.
    `lora_named` gives this machine's name of a LoRA by its hash. All steps but the last only add keys.
    """
    text = with_hypernetwork_tag(text)
    text = with_first_pass_size(text, old_hires_sizes=old_hires_sizes)
    text = with_missing_keys(text)
    if backward_compatible:
        text = with_version_rules(text)
    return with_network_tags(text, lora_named)


def with_hypernetwork_tag(text: Infotext) -> Infotext:
    """The old key `Hypernet` as a tag at the end of the prompt."""
    name = text.values.get("Hypernet")
    if name is None:
        return text
    strength = text.values.get("Hypernet strength", "1.0")
    return replace(text, prompt=f"{text.prompt}<hypernet:{name}:{strength}>")


def with_first_pass_size(text: Infotext, *, old_hires_sizes: bool = False) -> Infotext:
    """The old key `First pass size` as today's pair: `Size` is the first pass, `Hires resize` the final size.

    "0x0" meant about 512 by 512 pixels in the picture's proportions. With `old_hires_sizes` it is the other way round:
    a `Hires resize` takes the place of `Size`.
    """
    values = dict(text.values)
    if old_hires_sizes:
        final = _number(values, "Hires resize-1"), _number(values, "Hires resize-2")
        if all(final):
            values["Size-1"], values["Size-2"] = (str(side) for side in final)
        return replace(text, values=values)
    if "First pass size-1" not in values or "First pass size-2" not in values:
        return text
    first = _number(values, "First pass size-1"), _number(values, "First pass size-2")
    width, height = _number(values, "Size-1", 512), _number(values, "Size-2", 512)
    if not all(first):
        factor = math.sqrt(512 * 512 / max(1, width * height))
        first = math.ceil(factor * width / 64) * 64, math.ceil(factor * height / 64) * 64
    values["Size-1"], values["Size-2"] = (str(side) for side in first)
    values["Hires resize-1"], values["Hires resize-2"] = str(width), str(height)
    return replace(text, values=values)


def with_missing_keys(text: Infotext) -> Infotext:
    """Missing keys with the value that their absence means."""
    values = {**text.values, **{key: value for key, value in _MISSING.items() if key not in text.values}}
    if values["FP8 weight"] != "Disable":
        values.setdefault("Cache FP16 weight for LoRA", "False")
    if "Emphasis" not in values and (_has_weights(text.prompt) or _has_weights(text.negative_prompt)):
        values["Emphasis"] = "Original"
    return replace(text, values=values)


def with_version_rules(text: Infotext) -> Infotext:
    """The settings that make this version's picture again with today's code; nothing for an unknown version."""
    version = version_of(text.values.get("Version", ""))
    if version is None:
        return text
    values = dict(text.values)
    if version < (1, 6, 0, 0) and "[" in text.prompt:
        values["Old prompt editing timelines"] = "True"
    if version < (1, 6, 0, 0) and values.get("Sampler") in ("DDIM", "PLMS"):
        values["Pad conds v0"] = "True"
    if version < (1, 7, 0, 225):
        values["Downcast alphas_cumprod"] = "True"
    if version < (1, 8, 0, 0) and "Refiner" in values:
        values["Refiner switch by sampling steps"] = "True"
    return replace(text, values=values)


def version_of(text: str) -> Version | None:
    """`v1.7.0-225-gabcdef` as (1, 7, 0, 225); None for anything that is no version of A1111."""
    match = _VERSION.fullmatch("-".join(text.strip().split("-")[:2]))
    if match is None:
        return None
    major, minor, patch, after, before = match.groups()
    return int(major), int(minor), int(patch or 0), -1 if before else int(after or 0)


def with_network_tags(text: Infotext, lora_named: Callable[[str], str | None]) -> Infotext:
    """LoRA tags with the names their files have here, by the hashes in the text; additional-networks keys as tags."""
    hashes = dict(_HASH_PAIR.findall(text.values.get("Lora hashes", "")))

    def renamed(tag: re.Match[str]) -> str:
        digest = hashes.get(tag[1])
        name = lora_named(digest) if digest else None
        return f"<lora:{name}:" if name else tag[0]

    prompt = _LORA_TAG.sub(renamed, text.prompt)
    values = dict(text.values)
    for key in ("Hires prompt",):
        if values.get(key):
            values[key] = _LORA_TAG.sub(renamed, values[key])
    return replace(text, prompt=prompt + _additional_networks(text.values, lora_named), values=values)


def _additional_networks(values: dict[str, str], lora_named: Callable[[str], str | None]) -> str:
    """Tags for the keys of the old additional-networks extension: `AddNet Model 1: name(hash)`."""
    if values.get("AddNet Enabled") != "True":
        return ""
    numbered: dict[int, dict[str, str]] = {}
    for key, value in values.items():
        if match := _ADDNET.fullmatch(key):
            numbered.setdefault(int(match[2]), {})[match[1]] = value
    tags = ""
    for _, entry in sorted(numbered.items()):
        if entry.get("Module") != "LoRA" or not entry.get("Model"):
            continue
        name, _, digest = entry["Model"].rstrip(")").rpartition("(")
        known = lora_named(digest) if name else None
        tags += f"<lora:{known or name or entry['Model']}:{entry.get('Weight A', '1')}>"
    return f"\n{tags}" if tags else ""


def _has_weights(prompt: str) -> bool:
    try:
        return any(piece.weight != 1.0 and piece.text != "BREAK" for piece in emphasis.parse(prompt))
    except InvalidPrompt:
        return True


def _number(values: dict[str, str], key: str, default: int = 0) -> int:
    text = values.get(key, "")
    return int(text) if text.isascii() and text.isdigit() else default
