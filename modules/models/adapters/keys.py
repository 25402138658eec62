"""The many spellings of an adapter's tensors, brought to one: (the module's name as kohya writes it, which tensor).

kohya: `lora_unet_down_blocks_0_…to_q.lora_down.weight`; diffusers: `unet.down_blocks.0.….to_q.lora.down.weight`; peft:
`unet.….to_q.lora_A.weight`; old diffusers: `….processor.to_q_lora.down.weight`. kohya's SDXL files use LDM's own block
names (`lora_unet_input_blocks_4_1_…`), which `names.py` knows as well. peft's own files name the adapter before the
last word (`lora_A.default.weight`); LyCORIS' own begin with `lycoris_`.
"""

from __future__ import annotations

import re

TENSORS = {
    "lora_up.weight": "up",
    "lora_down.weight": "down",
    "lora_mid.weight": "mid",
    "lora_B.weight": "up",
    "lora_A.weight": "down",
    "lora.up.weight": "up",
    "lora.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_magnitude_vector": "dora_scale",
    "lora_magnitude_vector.weight": "dora_scale",
    "alpha": "alpha",
    "scale": "scale",
    "dora_scale": "dora_scale",
    "diff": "diff",
    "diff_b": "diff_b",
    "w_norm": "w_norm",
    "b_norm": "b_norm",
    "weight": "weight",
    "on_input": "on_input",
    "oft_blocks": "oft_blocks",
    "oft_diag": "oft_diag",
    "rescale": "rescale",
    **{name: name for name in ("a1.weight", "a2.weight", "b1.weight", "b2.weight")},
    **{name: name for n in "12" for name in (f"hada_w{n}_a", f"hada_w{n}_b", f"hada_t{n}")},
    **{name: name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")},
}
_ENDINGS = re.compile(r"\.(" + "|".join(re.escape(name) for name in sorted(TENSORS, key=len, reverse=True)) + r")$")
_ADAPTER = re.compile(r"(?<=\.)(lora_[AB]|lora_magnitude_vector)\.\w+\.weight$")
_OLD_DIFFUSERS = re.compile(r"\.processor\.(to_[qkv]|to_out)_lora\.(up|down)\.weight$")
_PREFIXES = (
    ("base_model.model.", ""),
    ("transformer.text_encoder", "text_encoder"),
    ("lora_te1_", "lora_te_"),
    ("lycoris_", "lora_unet_"),
    ("text_encoder_3.", "lora_te3_"),
    ("text_encoder_2.", "lora_te2_"),
    ("text_encoder.", "lora_te_"),
    ("unet.", "lora_unet_"),
    ("transformer.", "lora_unet_"),
    ("diffusion_model.", "lora_unet_"),
)


def split_key(key: str) -> tuple[str, str] | None:
    """(module, tensor) such as ("lora_unet_mid_block_attentions_0_proj_in", "up"); None for keys of another kind."""
    if match := _OLD_DIFFUSERS.search(key):
        module = f"{key[: match.start()]}.{'to_out.0' if match[1] == 'to_out' else match[1]}"
        return _module(module), match[2]
    if match := _ENDINGS.search(_ADAPTER.sub(r"\1.weight", key)):
        return _module(key[: match.start()]), TENSORS[match[1]]
    return None


def _module(name: str) -> str:
    for prefix, ours in _PREFIXES:
        if name.startswith(prefix):
            name = ours + name[len(prefix) :]
    return name.replace(".", "_")
