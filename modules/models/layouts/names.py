"""LDM's names for tensors that a file keeps under others: diffusers', transformers', and those of averaged weights.

Only names and how they belong together; what is read under them is `modules/models/views.py`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from modules.models.header import Header
from modules.models.layouts.unet import Level, longest_match, unet_modules

BARE_UNET = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")
"""How LDM's names for a UNet begin when nothing stands before them."""

_LABELS = ("add_embedding", "class_embedding")
_AVERAGED_PART = re.compile(
    r"(input_blocks|output_blocks)(\d+)(?=\d)|(transformer_blocks)(\d+)|middle_block|time_embed|label_emb|in_layers"
    r"|emb_layers|out_layers|skip_connection|proj_in|proj_out|to_q|to_k|to_v|to_out|attn[12]|norm[123]?|ff|net|proj|op"
    r"|conv|qkv|out|weight|bias|\d"
)


def unet_names(header: Header) -> dict[str, str]:
    """LDM's name, without prefix, for each tensor of a UNet in diffusers' naming; unknown names stay as they are."""
    levels, block = [], 1
    while (count := _count(header, f"down_blocks.{len(levels)}.resnets")) > 0:
        blocks = tuple(range(block, block + count))
        halves = f"down_blocks.{len(levels)}.downsamplers.0.conv.weight" in header
        block += count + halves
        has_attention = f"down_blocks.{len(levels)}.attentions.0.norm.weight" in header
        levels.append(Level(blocks, 0, int(has_attention), block - 1 if halves else None))
    label = next((name for name in _LABELS if f"{name}.linear_1.weight" in header), None)
    middle = int("mid_block.attentions.0.norm.weight" in header)
    theirs = {}
    for ldm, module in unet_modules(levels, middle, label=label).items():
        if module.endswith(".upsamplers.0.conv"):
            attention = module.replace(".upsamplers.0.conv", ".attentions.0.norm.weight")
            if not ldm.endswith(".2.conv" if attention in header else ".1.conv"):
                continue
        theirs[module] = ldm
    names = {}
    for key in header:
        split = longest_match(key, theirs)
        names[key] = key if split is None else split[0] + split[1]
    if "time_embedding.cond_proj.weight" in names:
        names["time_embedding.cond_proj.weight"] = "time_embed.cond_proj.weight"
    if "class_embedding.weight" in names:
        names["class_embedding.weight"] = "label_emb.weight"
    return names


def open_clip_names(keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """OpenCLIP's name → the tensors, in transformers' naming, that make it when put below each other.

    `text_projection` has its sides swapped in transformers. Unknown names stay as they are.
    """
    modules = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "self_attn.out_proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    single = {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
        "text_projection.weight": "text_projection",
    }
    names: dict[str, tuple[str, ...]] = {}
    joined: dict[str, dict[str, str]] = {}
    for key in keys:
        short = key.removeprefix("text_model.")
        match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", short)
        if match and (part := re.fullmatch(r"self_attn\.([qkv])_proj", match[2])):
            name = f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"
            joined.setdefault(name, {})[part[1]] = key
        elif match and match[2] in modules:
            names[f"transformer.resblocks.{match[1]}.{modules[match[2]]}.{match[3]}"] = (key,)
        else:
            names[single.get(short, key)] = (key,)
    for name, parts in joined.items():
        if len(parts) == 3:
            names[name] = (parts["q"], parts["k"], parts["v"])
        else:  # something is missing, and will be named
            names |= {key: (key,) for key in parts.values()}
    return names


def averaged_name(name: str) -> str:
    """A UNet's tensor, in LDM's naming, for the dotless name that its average has: "input_blocks00weight" …

    A name that cannot be taken apart stays as it is. LDM's `LitEma` makes these names by deleting every dot.
    """
    parts: list[str] = []
    at = 0
    while at < len(name):
        match = _AVERAGED_PART.match(name, at)
        if match is None:
            return name
        parts += [part for part in match.groups() if part] or [match[0]]
        at = match.end()
    return ".".join(parts)


def _count(header: Header, blocks: str) -> int:
    count = 0
    while f"{blocks}.{count}.conv1.weight" in header:
        count += 1
    return count
