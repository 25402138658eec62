"""The texts of a pass: prompts without their tags, the networks that the tags name, and the encoded result."""

from __future__ import annotations

from dataclasses import dataclass

from modules.conditioning.batch import BatchConditioning, encode_batch
from modules.conditioning.cache import ConditioningCache
from modules.conditioning.embeddings import EmbeddingTable
from modules.engine.networks import Wanted
from modules.engine.passes import PassPlan
from modules.generation.plan import ImagePlan, Plan
from modules.models.loaded import LoadedModel
from modules.prompts import extra_networks
from modules.prompts.extra_networks import ExtraNetwork


@dataclass(frozen=True)
class PassTexts:
    """A batch's prompts for one pass. `tags` are the first prompt's: of a batch, only those count (A1111)."""

    prompts: list[str]
    negative_prompts: list[str]
    tags: tuple[ExtraNetwork, ...] = ()


def texts_of(images: tuple[ImagePlan, ...], *, hires: bool, with_networks: bool = True) -> PassTexts:
    """The prompts of some pictures for the first or the hires pass; without networks their tags stay text."""
    positive = [image.hires_prompt or image.prompt if hires else image.prompt for image in images]
    negative = [
        image.hires_negative_prompt or image.negative_prompt if hires else image.negative_prompt for image in images
    ]
    if not with_networks:
        return PassTexts(positive, negative)
    parsed = [extra_networks.parse(prompt) for prompt in positive]
    return PassTexts([text for text, _ in parsed], negative, parsed[0][1])


def encode(
    plan: Plan,
    model: LoadedModel,
    passing: PassPlan,
    texts: PassTexts,
    *,
    hires: bool,
    asked: Wanted,
    embeddings: EmbeddingTable,
    cache: ConditioningCache,
) -> BatchConditioning:
    """The texts of a pass as the model is told them; the networks `asked` for act on it already."""
    first = PassPlan.of(plan.sampling, plan.options)
    return encode_batch(
        model,
        texts.prompts,
        texts.negative_prompts,
        steps=passing.prompt_steps,
        first_pass_steps=first.prompt_steps if hires else None,
        options=plan.options,
        clip_skip=plan.clip_skip,
        size=plan.hires.upscaled if hires else plan.size,
        embeddings=embeddings,
        cache=cache,
        networks=tuple(adapter for adapter in asked.adapters if adapter.te),
    )
