"""Loopback: each result is the next run's source, the denoising strength follows a curve (A1111's script)."""

from __future__ import annotations

import math
from typing import Any, Literal

from modules.extensions.api import (
    Arguments,
    Ask,
    Asked,
    Field,
    GenerationRequest,
    Made,
    Recipe,
    Registration,
    Script,
    Tools,
    changed,
    sheet_of,
    with_seed_drawn,
)

CURVES = {
    "Aggressive": lambda progress: math.sin(progress * math.pi / 2),
    "Linear": lambda progress: progress,
    "Lazy": lambda progress: 1 - math.cos(progress * math.pi / 2),
}


class LoopbackArguments(Arguments):
    loops: int = Field(4, ge=1, le=32, title="Loops")
    final_denoising_strength: float = Field(0.5, ge=0, le=1, title="Final denoising strength")
    curve: Literal["Aggressive", "Linear", "Lazy"] = Field("Linear", title="Denoising strength curve")
    append_interrogation: Any = Field("None", title="Append interrogated prompt at each iteration")


class Loopback(Script):
    """Repeats img2img on its own result. With several repeats only the last picture of each is kept."""

    name = "Loopback"
    tabs = frozenset({"img2img"})
    is_selectable = True
    Args = LoopbackArguments

    def recipe(self, request: GenerationRequest, args: LoopbackArguments, tools: Tools) -> Recipe:
        request = with_seed_drawn(request)
        repeats = request.batch.count
        infotext = {"Final denoising strength": str(args.final_denoising_strength), "Denoising curve": args.curve}
        source = request.source
        assert source is not None  # `tabs` says img2img
        source = changed(source, color_reference=source.images[0])  # each step is matched to the first picture
        seed = request.seed.value
        kept: list[Made] = []
        for _ in range(repeats):
            last: Made | None = None
            for loop in range(args.loops):
                step = changed(source, denoising_strength=strength(source.denoising_strength, args, loop))
                if last is not None:
                    inpaint = step.inpaint and changed(step.inpaint, content="original")
                    step = changed(step, images=(last.data(),), inpaint=inpaint)
                once = changed(
                    request,
                    source=step,
                    seed=changed(request.seed, value=seed),
                    batch=changed(request.batch, size=1, count=1),
                )
                (made,) = yield Ask((Asked(once, infotext),), expected=repeats * args.loops)
                if not made:  # stopped before there was a picture
                    break
                last = made[0]
                seed = last.seed + 1
                if repeats == 1:
                    kept.append(last)
            if repeats > 1 and last is not None:
                kept.append(last)
        if not kept:
            return []
        return [*sheet_of([one.open() for one in kept], kept[0], tools, rows=1), *kept]


def strength(initial: float, args: LoopbackArguments, loop: int) -> float:
    """The denoising strength of loop 0, 1 …: from the initial one to the final one along the curve."""
    if args.loops == 1:
        return initial
    progress = CURVES[args.curve](loop / (args.loops - 1))
    return min(1.0, max(0.0, initial + (args.final_denoising_strength - initial) * progress))


def register(to: Registration) -> None:
    to.script(Loopback())
