"""Checkpoints distilled to need a handful of steps, told by their names, and what they want: said, never forced.

Their tensors are those of their base (SD 1, SD 2, SDXL), so that nothing but the name tells them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from modules.generation.plan import SamplingPlan

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_STEPS = re.compile(r"(?<!\d)([1-8])[ _-]?steps?(?![a-z])", re.IGNORECASE)
_MOST_GUIDANCE = 3.0
"""Above it pictures of distilled models come out burnt; their makers advise 1 to 2, some merges take a little more."""


@dataclass(frozen=True)
class Distillation:
    """What a kind of distilled model is made for, in the names that the page has."""

    title: str
    steps: str
    cfg_scale: str
    sampler: str
    suggested: Suggestion


@dataclass(frozen=True)
class Suggestion:
    """Values for the page's fields that suit a kind of distilled model."""

    sampler: str
    schedule: str
    steps: int
    cfg_scale: float


DISTILLATIONS = {
    "turbo": Distillation(
        "Turbo", "1 to 8", "1 to 2", "Euler a or DPM++ SDE", Suggestion("Euler a", "Automatic", 6, 1.5)
    ),
    "lightning": Distillation(
        "Lightning", "2 to 8", "1 to 2", "Euler with the schedule SGM Uniform",
        Suggestion("Euler", "SGM Uniform", 6, 1.5),
    ),
    "lcm": Distillation("LCM", "4 to 8", "1 to 2", "LCM", Suggestion("LCM", "Automatic", 6, 1.5)),
    "hyper": Distillation(
        "Hyper-SD", "1 to 8", "1 to 2", "DDIM or Euler with the schedule SGM Uniform",
        Suggestion("Euler", "SGM Uniform", 6, 1.0),
    ),
}  # fmt: skip


def distillation(name: str) -> Distillation | None:
    """The kind of distilled model that a checkpoint's name says it is: "dreamshaperXL_lightningDPMSDE" is Lightning."""
    words = (word.lower() for word in _WORDS.findall(name))
    return next((DISTILLATIONS[word] for word in words if word in DISTILLATIONS), None)


def suggestion(name: str) -> Suggestion | None:
    """What suits a checkpoint that is distilled by its name; the steps that the name itself says ("4step") go first."""
    kind = distillation(name)
    if kind is None:
        return None
    said = _STEPS.search(name)
    return kind.suggested if said is None else replace(kind.suggested, steps=int(said[1]))


def advice(name: str, sampling: SamplingPlan) -> str | None:
    """What to say about a job of this checkpoint; None where there is nothing."""
    kind = distillation(name)
    if kind is None or sampling.cfg_scale <= _MOST_GUIDANCE:
        return None
    return (
        f'"{name}" is a {kind.title} model by its name, made for {kind.steps} steps at a CFG scale of {kind.cfg_scale} '
        f"with {kind.sampler}; at {sampling.cfg_scale:g} its pictures come out burnt"
    )
