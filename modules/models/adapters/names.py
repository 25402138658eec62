"""Which module of a model an adapter's module name means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import nn

if TYPE_CHECKING:
    from modules.models.model import Model

_KINDS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.Embedding)


@dataclass(frozen=True)
class Target:
    """A layer that adapters may change, and which of the two multipliers governs it.

    Several layers where the file has them in one, rows below each other (SD 3's queries, keys and values).
    """

    modules: tuple[nn.Module, ...]
    part: Literal["unet", "te"]


T5 = "lora_te3_"
"""What kohya's names of SD 3's third text encoder begin with."""


def targets(model: Model) -> dict[str, Target]:
    """Every layer of the model under kohya's names for it: diffusers' block names, and LDM's own."""
    found: dict[str, Target] = {}
    modules = {name: module for name, module in model.unet.named_modules() if isinstance(module, _KINDS)}
    found |= {"lora_unet_" + name.replace(".", "_"): Target((module,), "unet") for name, module in modules.items()}
    for theirs, ours in _ldm_modules(model).items():
        if all(name in modules for name in ours):
            target = Target(tuple(modules[name] for name in ours), "unet")
            found["lora_unet_" + theirs.replace(".", "_")] = target
    for number, tower in enumerate(model.towers, start=1):
        # the refiner's only tower is SDXL's second
        prefixes = ("lora_te_",) if number == 1 and tower.name != "clip_g" else (f"lora_te{max(number, 2)}_",)
        for name, module in tower.network.named_modules():
            if isinstance(module, _KINDS):
                short = name.removeprefix("text_model.").replace(".", "_")
                for prefix in prefixes:
                    found[f"{prefix}text_model_{short}"] = Target((module,), "te")
    for tower in model.passage_towers:
        for name, module in tower.network.named_modules():
            if isinstance(module, _KINDS):
                found[f"{T5}encoder_{name.replace('.', '_')}"] = Target((module,), "te")
    return found


def _ldm_modules(model: Model) -> dict[str, tuple[str, ...]]:
    """diffusers' names of the layers that each of the file's is, from where the weights were found in it."""
    prefix = "model.diffusion_model."
    found: dict[str, dict[int, str]] = {}
    for ours, source in model.parts.blueprint.unet.sources.items():
        if not source.swapped:  # its rows are in another order than an adapter's
            theirs = source.key.removeprefix(prefix).rpartition(".")[0]
            found.setdefault(theirs, {})[source.third or 0] = ours.rpartition(".")[0]
    return {theirs: tuple(names[place] for place in sorted(names)) for theirs, names in found.items()}
