"""The door of this folder: the prompts of a batch become a `BatchConditioning`, which the denoiser asks at every call.

conditioning = encode_batch(model, prompts, negative_prompts, steps=20, options=plan.options, clip_skip=1,
                            size=size, embeddings=table, cache=cache)
now = conditioning.at(call)             # call: model calls of this pass so far, from 0
now.positive.crossattn                  # (rows, T, C): every part of picture 1, of picture 2 …
now.parts[i]                            # picture i: ((row, weight), …); D = u + sum(weight * scale * (c[row] - u))
now.negative.crossattn                  # (pictures, T', C): T' may differ from T, then run two model calls
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from modules.conditioning.cache import ConditioningCache
from modules.conditioning.embeddings import EmbeddingTable
from modules.conditioning.encode import Encoder
from modules.conditioning.layouts import EncodedTexts, Row, Surroundings
from modules.generation.part import Size
from modules.models.embedding import Embedding
from modules.models.loaded import Conditioning, LoadedModel
from modules.prompts import composition, emphasis
from modules.prompts.schedule import Schedule, schedule, segment_at
from modules.settings.stable_diffusion import GenerationOptions

Padding = Literal["Pad conds", "Pad conds v0"]


@dataclass(frozen=True)
class StepConditioning:
    """What one model call is told.

    `positive` has one row for every AND part, pictures in order; `parts[i]` names picture i's rows and their weights.
    `negative` has one row for every picture. `padded` is the infotext key to write once this step has been used, or
    None. Calls that mean the same texts get the same object, so `is` tells whether anything changed.
    """

    positive: Conditioning
    parts: tuple[tuple[tuple[int, float], ...], ...]
    negative: Conditioning
    padded: Padding | None = None

    @property
    def same_length(self) -> bool:
        """Whether positive and negative can go through the network in one call."""
        return self.positive.crossattn.shape[1] == self.negative.crossattn.shape[1]


@dataclass(frozen=True)
class PromptPart:
    """One AND part of a positive prompt (or a whole negative prompt) with its distinct texts encoded.

    `rows[i]` is the row of `encoded` that holds the text of segment i of the schedule.
    """

    schedule: Schedule
    encoded: EncodedTexts
    rows: tuple[int, ...]
    weight: float = 1.0

    def row_at(self, call: int) -> int:
        return self.rows[segment_at(self.schedule, call)]


class BatchConditioning:
    """Every text that a pass over a batch of prompts can mean, encoded.

    What the run says about itself for the infotext: `emphasis_seen` (write `Emphasis: <mode>` when the mode is not
    Original), `old_timelines_differ` (write `Old prompt editing timelines: True`), `embeddings` (for `TI hashes`, in
    A1111's order: the positive prompts' first), `texts` (distinct texts in the order of use, for reports).
    """

    def __init__(
        self,
        positives: Sequence[Sequence[PromptPart]],
        negatives: Sequence[PromptPart],
        *,
        empty_chunk: Tensor | None,
        pad_v0: bool,
        emphasis_seen: bool,
        old_timelines_differ: bool,
        embeddings: tuple[Embedding, ...],
    ) -> None:
        self.positives = tuple(tuple(parts) for parts in positives)
        self.negatives = tuple(negatives)
        self.emphasis_seen = emphasis_seen
        self.old_timelines_differ = old_timelines_differ
        self.embeddings = embeddings
        self._empty_chunk = empty_chunk
        self._pad_v0 = pad_v0
        self._steps: dict[tuple[int, ...], StepConditioning] = {}

    def at(self, call: int) -> StepConditioning:
        """What model call `call` of the pass, counted from 0, is told; cheap when nothing changed."""
        everything = [part for parts in self.positives for part in parts] + list(self.negatives)
        rows = tuple(part.row_at(call) for part in everything)
        if rows not in self._steps:
            self._steps[rows] = self._assemble(rows)
        return self._steps[rows]

    @property
    def texts(self) -> tuple[str, ...]:
        everything = [part for parts in self.positives for part in parts] + list(self.negatives)
        return tuple(dict.fromkeys(segment.text for part in everything for segment in part.schedule))

    def _assemble(self, encoded_rows: tuple[int, ...]) -> StepConditioning:
        indices = iter(encoded_rows)
        positive_rows = [part.encoded.row(next(indices)) for parts in self.positives for part in parts]
        negative_rows = [part.encoded.row(next(indices)) for part in self.negatives]
        rows = iter(range(len(positive_rows)))
        parts = tuple(tuple((next(rows), part.weight) for part in parts) for parts in self.positives)
        crossattn = stack_padded([row.crossattn for row in positive_rows])
        negative = stack_padded([row.crossattn for row in negative_rows])
        padded: Padding | None = None
        if crossattn.shape[1] != negative.shape[1]:
            if self._pad_v0:
                negative, padded = repeat_or_cut(negative, crossattn.shape[1]), "Pad conds v0"
            elif self._empty_chunk is not None:
                crossattn, negative = pad_with_chunks(crossattn, negative, self._empty_chunk)
                padded = "Pad conds"
        positive = Conditioning(crossattn, _vectors(positive_rows))
        return StepConditioning(positive, parts, Conditioning(negative, _vectors(negative_rows)), padded)


def encode_batch(
    model: LoadedModel,
    prompts: Sequence[str],
    negative_prompts: Sequence[str],
    *,
    steps: int,
    first_pass_steps: int | None = None,
    options: GenerationOptions,
    clip_skip: int = 1,
    size: Size,
    embeddings: EmbeddingTable,
    cache: ConditioningCache | None = None,
    networks: Hashable = (),
) -> BatchConditioning:
    """Encode the prompts of one batch for one pass.

    `prompts` have their styles applied and comments and extra-network tags taken out; there are as many negative ones.
    `steps` is the number of model calls the schedules are made for: the asked steps, twice for second-order samplers
    (`SamplerInfo.calls_per_step`), even where img2img makes fewer. For the hires pass `steps` is that pass's number and
    `first_pass_steps` the first pass's; for a refiner or another checkpoint call again with that model.

    `size` is the size in pixels of this pass (SDXL is told it; hires: the upscaled size before cropping). `networks`
    is anything hashable that tells how the text towers are patched at the moment, such as the LoRAs with their
    text-encoder strengths: it is part of the cache's key. LoRAs must be applied before the call. Without `cache`, or
    with the setting `persistent_cond_cache` off, nothing is kept.

    Tensors come in the dtype of the text towers, on the model's device. Raises InvalidPrompt for a prompt such as
    "(a:1.2.3)", ValueError when the numbers of prompts differ.
    """
    if len(prompts) != len(negative_prompts):
        raise ValueError(f"{len(prompts)} prompts and {len(negative_prompts)} negative prompts; they must be as many")
    kept = cache if cache is not None and options.persistent_cond_cache else ConditioningCache()
    encoder = Encoder(model, options=options, clip_skip=clip_skip, embeddings=embeddings, cache=kept, networks=networks)

    def schedule_of(text: str, *, old: bool = options.use_old_scheduling) -> Schedule:
        return schedule(text, steps, first_pass_steps=first_pass_steps, old_timelines=old)

    around = Surroundings(
        size, options.sdxl_crop_top, options.sdxl_crop_left, options.sdxl_refiner_high_aesthetic_score
    )
    around_negatives = replace(around, aesthetic_score=options.sdxl_refiner_low_aesthetic_score)

    def part(text: str, around: Surroundings, weight: float = 1.0) -> PromptPart:
        timeline = schedule_of(text)
        texts = tuple(segment.text for segment in timeline)
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        encoded = encoder.layout.assemble(encoder.encode(texts), around)
        return PromptPart(timeline, encoded, tuple(row_of[text] for text in texts), weight)

    negatives = []
    for text in negative_prompts:  # A1111 zeroes a prompt's negative when all texts of its schedule are empty
        is_empty = all(segment.text == "" for segment in schedule_of(text))
        negatives.append(part(text, replace(around_negatives, zeroed=is_empty)))
    positives = [[part(text, around, weight) for text, weight in composition.split(prompt)] for prompt in prompts]
    differ = options.use_old_scheduling and any(
        schedule_of(text, old=True) != schedule_of(text, old=False) for text in (*prompts, *negative_prompts)
    )
    texts = [s.text for parts in (*positives, negatives) for p in parts for s in p.schedule]
    needs_empty = options.pad_cond_uncond and not options.pad_cond_uncond_v0
    return BatchConditioning(
        positives,
        negatives,
        empty_chunk=encoder.layout.assemble(encoder.encode(("",)), around).crossattn if needs_empty else None,
        pad_v0=options.pad_cond_uncond_v0,
        emphasis_seen=not encoder.is_legacy and any(emphasis.has_syntax(text) for text in texts),
        old_timelines_differ=differ,
        embeddings=encoder.used_embeddings(),
    )


def stack_padded(rows: Sequence[Tensor]) -> Tensor:
    """Rows (T_i, C) as one (rows, T, C); shorter ones go on with their last vector."""
    longest = max(row.shape[0] for row in rows)
    return torch.stack([torch.cat([row, row[-1:].expand(longest - row.shape[0], -1)]) for row in rows])


def repeat_or_cut(negative: Tensor, length: int) -> Tensor:
    """`pad_cond_uncond_v0`: (B, T', C) brought to `length` by repeating the last vector, or by cutting it off."""
    missing = max(0, length - negative.shape[1])
    return torch.cat([negative[:, :length], negative[:, -1:].expand(-1, missing, -1)], dim=1)


def pad_with_chunks(positive: Tensor, negative: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    """`pad_cond_uncond`: the encoded empty prompt (1, 77, C) is appended to the shorter one until both are as long."""
    chunks = (positive.shape[1] - negative.shape[1]) // empty.shape[1]

    def padded(tensor: Tensor, times: int) -> Tensor:
        return torch.cat([tensor, empty.repeat(tensor.shape[0], max(0, times), 1)], dim=1)

    return padded(positive, -chunks), padded(negative, chunks)


def _vectors(rows: Sequence[Row]) -> Tensor | None:
    vectors = [row.vector for row in rows if row.vector is not None]
    return torch.stack(vectors) if vectors else None
