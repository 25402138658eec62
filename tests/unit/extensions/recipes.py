"""Runs a script's recipe without a worker: every request is answered with pictures that say what was asked."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from modules.errors import InvalidRequest, UnknownName
from modules.extensions.api import Ask, GenerationRequest, Made, NewPicture, Script
from modules.extensions.loader import Extensions
from modules.settings.schema import Settings

ROOT = Path(__file__).parents[3]

EXTENSIONS = Extensions((ROOT / "extensions",))


def script(name: str) -> Script:
    return EXTENSIONS.scripts.get(name)


def module(name: str) -> ModuleType:
    """A file of an extension: "xyz_plot.values"."""
    return sys.modules[f"webui_extensions.{name}"]


@dataclass
class FakeTools:
    """Settings at their defaults, and a planner that knows three samplers."""

    changed: dict[str, Any] = field(default_factory=dict)
    checked: list[GenerationRequest] = field(default_factory=list)

    def setting(self, key: str) -> Any:
        return self.changed.get(key, getattr(Settings(), key))

    def check(self, request: GenerationRequest) -> None:
        self.checked.append(request)
        if request.sampling.sampler not in ("DPM++ 2M", "Euler", "Heun"):
            raise UnknownName(f'no sampler named "{request.sampling.sampler}"')

    def upscale(self, image: Image.Image, upscaler: str, scale: float) -> Image.Image:
        return image.resize((round(image.width * scale), round(image.height * scale)))

    def upscaler_name(self, asked: int | str) -> str:
        return str(asked)


@dataclass
class Run:
    """What a recipe asked for and what it gave."""

    requests: list[GenerationRequest]
    asks: list[Ask]
    shown: list[Made | NewPicture]


def made(request: GenerationRequest, image: Image.Image, place: int) -> Made:
    content = io.BytesIO()
    image.save(content, "PNG")
    seed = request.seed.value + place
    return Made(
        infotext=f"{request.prompt}\nSteps: {request.sampling.steps}, Seed: {seed}, Version: v1.10.1",
        seed=seed, subseed=0, prompt=request.prompt, negative_prompt=request.negative_prompt, role="sample",
        index=place, read=content.getvalue,
    )  # fmt: skip


def grey(request: GenerationRequest, place: int) -> Image.Image:
    return Image.new("RGB", (request.size.width, request.size.height), (request.sampling.steps,) * 3)


def run(
    name: str,
    request: GenerationRequest,
    arguments: dict[str, Any],
    *,
    tools: FakeTools | None = None,
    paint: Callable[[GenerationRequest, int], Image.Image | None] = grey,
) -> Run:
    """Settle and run; `paint` makes each picture, None fails its request."""
    tools = tools or FakeTools()
    one = script(name)
    args = one.Args(**arguments)
    settled = one.settle(request, args, tools)
    recipe = one.recipe(settled, args, tools)
    requests: list[GenerationRequest] = []
    asks: list[Ask] = []
    try:
        ask = next(recipe)
        while True:
            asks.append(ask)
            answers = []
            for asked in ask.asked:
                requests.append(asked.request)
                batch = asked.request.batch
                images = [paint(asked.request, place) for place in range(batch.size * batch.count)]
                answers.append(
                    tuple(made(asked.request, image, place) for place, image in enumerate(images) if image is not None)
                )
            ask = recipe.send(tuple(answers))
    except StopIteration as end:
        return Run(requests, asks, list(end.value))


__all__ = ["FakeTools", "InvalidRequest", "module", "run", "script"]
