"""What a model family is, the registry of families, and finding the one a file belongs to.

Every family is asked about every file. It answers with a `Match` or with the reason why the file is not its own; the
most specific match wins and two equally specific ones are a mistake in the families, so their order never matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from modules.errors import ModelUnsupported
from modules.models.header import Header
from modules.models.layouts.blueprint import Blueprint, Variant
from modules.models.ldm_config import LdmConfig
from modules.registry import Registry

UNET = "model.diffusion_model."

HOW_TO_COMPLETE = (
    'choose a whole checkpoint of the same family as its "Base checkpoint" (edit it among the checkpoint cards) to '
    "take what is missing from"
)


@dataclass(frozen=True)
class Match:
    """A family's claim: `specificity` says how much of what it needs is peculiar to it (a tower it alone has: 2)."""

    variant: Variant
    specificity: int = 1


@dataclass(frozen=True)
class NotMine:
    """Why a file does not belong to a family, as half a sentence: "its text width is 1024, not 768"."""

    reason: str


class Family(Protocol):
    """One architecture and everything peculiar to it; torch-free."""

    name: str
    title: str

    def matches(self, header: Header) -> Match | NotMine:
        """Whether the file with this header is of this family; reads names and shapes only."""
        ...

    def blueprint(self, header: Header, config: LdmConfig, match: Match) -> Blueprint:
        """What to build for the file; raises ModelFileBroken or ModelUnsupported when it cannot be built."""
        ...


FAMILIES: Registry[Family] = Registry("model family")


def identify(header: Header) -> tuple[Family, Match]:
    """The family of a checkpoint and its claim.

    Raises ModelUnsupported with what the file seems to be, or with every family's reason for not taking it.
    """
    from modules.models import families

    families.register_all()
    answers = [(family, family.matches(header)) for family in FAMILIES]
    claims = [(family, answer) for family, answer in answers if isinstance(answer, Match)]
    if not claims:
        raise ModelUnsupported(f"{header.path}: {kind_of(header) or _reasons(answers)}")
    best = max(match.specificity for _, match in claims)
    winners = [(family, match) for family, match in claims if match.specificity == best]
    if len(winners) > 1:
        names = " and ".join(family.name for family, _ in winners)
        raise AssertionError(f"{header.path}: families {names} claim it with equal right; one must be more specific")
    return winners[0]


def kind_of(header: Header) -> str | None:
    """What a file that is no checkpoint is, and where it belongs, in words; None when it may be a checkpoint."""
    keys = list(header)
    if not keys:
        return "holds no tensors at all"
    if (foreign := _other_family(header)) is not None:
        return f"is {foreign}, a family that is not supported"
    if any(key.startswith(UNET) for key in keys):
        has_text = any(key.startswith(("cond_stage_model.", "conditioner.")) for key in keys)
        return None if has_text else f"holds a UNet without text encoder; {HOW_TO_COMPLETE}"
    if any(".lora_down." in key or ".lora_A." in key or ".hada_w1" in key or ".lokr_w" in key for key in keys):
        return "is a LoRA, not a checkpoint; put it into models/Lora and write <lora:name:1> in the prompt"
    if any(key.startswith(("control_model.", "controlnet_", "input_hint_block.")) for key in keys):
        return "is a ControlNet, not a checkpoint"
    if "emb_params" in header or "clip_l" in header or "clip_g" in header:
        return "is a textual inversion, not a checkpoint; put it into embeddings"
    if any(key.startswith(("decoder.conv_in", "first_stage_model.decoder.conv_in")) for key in keys):
        return "is a VAE, not a checkpoint; put it into models/VAE"
    return None


def _other_family(header: Header) -> str | None:
    """The name of a family that is known but not supported."""
    inside = [key.removeprefix(UNET) for key in header]
    channels = header.shape(f"{UNET}input_blocks.0.0.weight")
    if any(key.startswith("double_blocks.") for key in inside):
        return "a Flux model"
    if any(key.startswith(("cond_stage_model.roberta.", "cond_stage_model.transformation")) for key in header):
        return "an AltDiffusion model"
    if channels is not None and "first_stage_model.quantize.embedding.weight" in header:
        return "a latent diffusion model of CompVis with a VQ autoencoder"
    if any(key.startswith(("cascaded_diffusion.", "clf.")) or ".effnet_mapper." in key for key in header):
        return "a Stable Cascade model"
    return None


def _reasons(answers: list[tuple[Family, Match | NotMine]]) -> str:
    reasons = "; ".join(f"{family.title}: {answer.reason}" for family, answer in answers if isinstance(answer, NotMine))
    return f"is of no family known here ({reasons})"
