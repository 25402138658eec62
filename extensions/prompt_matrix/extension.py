"""Prompt matrix: the parts after the first `|` of a prompt in every combination, on one sheet (A1111's script)."""

from __future__ import annotations

import math
from typing import Literal

from PIL import Image

from modules.extensions.api import (
    Arguments,
    Ask,
    Asked,
    Field,
    GenerationRequest,
    InvalidRequest,
    Made,
    NewPicture,
    Recipe,
    Registration,
    Script,
    Tools,
    changed,
    grids,
    legend_style,
    with_seed_drawn,
)

PARTS_LIMIT = 10
"""Every further part doubles the pictures: ten make 1024."""

AT_ONCE = 8
"""Pictures that are queued together."""


class MatrixArguments(Arguments):
    put_at_start: bool = Field(False, title="Put variable parts at start of prompt")
    different_seeds: bool = Field(False, title="Use different seed for each picture")
    prompt_type: Literal["positive", "negative"] = Field("positive", title="Select prompt")
    delimiter: Literal["comma", "space"] = Field("comma", title="Select joining char")
    margin: int = Field(0, ge=0, le=500, title="Grid margins (px)", json_schema_extra={"step": 2})


class PromptMatrix(Script):
    """`a street|at night|in the rain` makes four pictures: plain, at night, in the rain, and both."""

    name = "Prompt matrix"
    is_selectable = True
    Args = MatrixArguments

    def settle(self, request: GenerationRequest, args: MatrixArguments, tools: Tools) -> GenerationRequest:
        parts_of(_prompt(request, args))
        return with_seed_drawn(request)

    def recipe(self, request: GenerationRequest, args: MatrixArguments, tools: Tools) -> Recipe:
        parts = parts_of(_prompt(request, args))
        prompts = combinations(parts, at_start=args.put_at_start, joint=", " if args.delimiter == "comma" else " ")
        name = "prompt" if args.prompt_type == "positive" else "negative_prompt"
        asked = [
            Asked(
                changed(
                    request,
                    batch=changed(request.batch, size=1, count=1),
                    seed=changed(request.seed, value=request.seed.value + (number if args.different_seeds else 0)),
                    **{name: prompt},
                )
            )
            for number, prompt in enumerate(prompts)
        ]
        made: list[Made] = []
        for start in range(0, len(asked), AT_ONCE):
            answers = yield Ask(tuple(asked[start : start + AT_ONCE]), expected=len(asked), reuses=True)
            made += [pictures[0] for pictures in answers if pictures]
        if len(made) < len(asked):  # stopped: a matrix with holes would be read wrongly
            return made
        sheet = matrix([one.open().convert("RGB") for one in made], parts[1:], args.margin, tools)
        return [NewPicture(sheet, like=made[0], role="grid", basename="prompt_matrix"), *made]


def parts_of(prompt: str) -> list[str]:
    """The fixed part and the variable ones, trimmed; raises InvalidRequest for too many."""
    first, *variable = prompt.split("|")
    parts = [first.strip(), *(part.strip().strip(",").strip() for part in variable)]
    if len(parts) - 1 > PARTS_LIMIT:
        raise InvalidRequest(
            f"{len(parts) - 1} variable parts make {2 ** (len(parts) - 1)} pictures; {PARTS_LIMIT} parts are the most",
            field="prompt",
        )
    return parts


def combinations(parts: list[str], *, at_start: bool, joint: str) -> list[str]:
    """All subsets of the variable parts in binary order (bit i is part i + 1), each with the fixed part."""
    fixed, *variable = parts
    prompts = []
    for number in range(2 ** len(variable)):
        chosen = [part for place, part in enumerate(variable) if number >> place & 1]
        prompts.append(joint.join([*chosen, fixed] if at_start else [fixed, *chosen]))
    return prompts


def matrix(images: list[Image.Image], variable: list[str], margin: int, tools: Tools) -> Image.Image:
    """The pictures with a legend: the first half of the parts across, the rest down, absent parts struck out."""
    across = math.ceil(len(variable) / 2)
    style = legend_style(tools)
    sheet = grids.image_grid(images, rows=2 ** (len(variable) - across), background=style.background, margin=margin)
    return grids.annotated_grid(
        sheet, _legend(variable[:across]), _legend(variable[across:]), style=style, margin=margin
    )


def _legend(parts: list[str]) -> list[list[grids.Label]]:
    return [
        [grids.Label(part, is_active=bool(number >> place & 1)) for place, part in enumerate(parts)]
        for number in range(2 ** len(parts))
    ]


def _prompt(request: GenerationRequest, args: MatrixArguments) -> str:
    return request.prompt if args.prompt_type == "positive" else request.negative_prompt


def register(to: Registration) -> None:
    to.script(PromptMatrix())
