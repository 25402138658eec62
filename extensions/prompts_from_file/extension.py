"""Prompts from file or textbox: one job a line; a line may set parameters as `--name value` (A1111's script)."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, Literal

from modules.extensions.api import (
    Arguments,
    Ask,
    Asked,
    Field,
    GenerationRequest,
    InvalidRequest,
    Recipe,
    Registration,
    Script,
    Tools,
    changed,
    draw_seed,
)


class PromptsArguments(Arguments):
    iterate_seed: bool = Field(False, title="Iterate seed every line")
    same_seed: bool = Field(False, title="Use same random seed for all lines")
    position: Literal["start", "end"] = Field("start", title="Insert prompts at the")
    prompts: str = Field("", title="List of prompt inputs", json_schema_extra={"lines": 5})


class PromptsFromFile(Script):
    """Runs every line; the lines' prompts are joined with the main prompt."""

    name = "Prompts from file or textbox"
    is_selectable = True
    Args = PromptsArguments

    def recipe(self, request: GenerationRequest, args: PromptsArguments, tools: Tools) -> Recipe:
        lines = [line.strip() for line in args.prompts.splitlines() if line.strip()]
        if not lines:
            raise InvalidRequest(
                "there is no line to run; write one prompt a line", field=f"scripts.{self.name}.prompts"
            )
        seed = request.seed.value
        if (args.iterate_seed or args.same_seed) and seed == -1:
            seed = draw_seed()
        asked = []
        for line in lines:
            base = changed(request, seed=changed(request.seed, value=seed), **_joined(request, read_line(line), args))
            one = applied(base, read_line(line))
            asked.append(Asked(one))
            if args.iterate_seed:
                seed += request.batch.size * request.batch.count
        made = yield Ask(tuple(asked), expected=len(asked))
        return [picture for pictures in made for picture in pictures]


def read_line(line: str) -> dict[str, Any]:
    """The parameters in a line, by A1111's names; the whole line is the prompt when it cannot be read as parameters."""
    if "--" not in line:
        return {"prompt": line}
    try:
        return _parameters(line)
    except ValueError:
        return {"prompt": line}


def _parameters(line: str) -> dict[str, Any]:
    words = shlex.split(line)
    values: dict[str, Any] = {}
    at = 0
    while at < len(words):
        if not words[at].startswith("--"):
            raise ValueError(f'"{words[at]}" stands where a --name was expected')
        name = words[at][2:]
        at += 1
        if name in ("prompt", "negative_prompt"):
            end = next((place for place in range(at, len(words)) if words[place].startswith("--")), len(words))
            values[name] = " ".join(words[at:end])
            at = end
        else:
            if name not in READERS or at == len(words):
                raise ValueError(f"--{name} is not a parameter, or has no value")
            values[name] = READERS[name](words[at])
            at += 1
    return values


def _is_true(text: str) -> bool:
    return text == "true"


READERS: dict[str, Callable[[str], Any]] = {
    "sd_model": str, "prompt_for_display": str, "outpath_samples": str, "outpath_grids": str,
    "styles": str, "seed": int, "subseed": int, "subseed_strength": float,
    "seed_resize_from_h": int, "seed_resize_from_w": int, "sampler_index": int, "sampler_name": str,
    "batch_size": int, "n_iter": int, "steps": int, "cfg_scale": float, "width": int, "height": int,
    "restore_faces": _is_true, "tiling": _is_true, "do_not_save_samples": _is_true, "do_not_save_grid": _is_true,
}  # fmt: skip
"""How a value is read; booleans are true only when they are exactly "true", as in A1111."""

PLACES = {
    "prompt": "prompt", "negative_prompt": "negative_prompt", "seed": "seed.value", "subseed": "seed.variation",
    "subseed_strength": "seed.variation_strength", "sampler_name": "sampling.sampler", "batch_size": "batch.size",
    "n_iter": "batch.count", "steps": "sampling.steps", "cfg_scale": "sampling.cfg_scale", "width": "size.width",
    "height": "size.height", "restore_faces": "restore_faces", "tiling": "tiling",
}  # fmt: skip


def applied(request: GenerationRequest, values: dict[str, Any]) -> GenerationRequest:
    """The request with a line's parameters, but for the prompts. Raises InvalidRequest for what a line may not set."""
    for name in ("outpath_samples", "outpath_grids"):
        if name in values:
            raise InvalidRequest(f"--{name}: a line cannot choose the output folder; set it in the settings")
    for name, value in values.items():
        if name in ("prompt", "negative_prompt") or name not in PLACES:
            continue
        part, _, leaf = PLACES[name].partition(".")
        update = {part: changed(getattr(request, part), **{leaf: value})} if leaf else {part: value}
        request = changed(request, **update)
    if "sd_model" in values:
        request = changed(request, overrides={**request.overrides, "sd_model_checkpoint": values["sd_model"]})
    if "styles" in values:
        request = changed(request, styles=tuple(name.strip() for name in values["styles"].split(",")))
    if values.get("seed_resize_from_w", 0) > 0 and values.get("seed_resize_from_h", 0) > 0:
        size = {"width": values["seed_resize_from_w"], "height": values["seed_resize_from_h"]}
        request = changed(request, seed=changed(request.seed, resize_from=size))
    return changed(request, save=False) if values.get("do_not_save_samples") else request


def _joined(request: GenerationRequest, values: dict[str, Any], args: PromptsArguments) -> dict[str, str]:
    """Main texts and the line's, side by side; a line that says nothing leaves the main text."""
    joined = {}
    for name in ("prompt", "negative_prompt"):
        main, own = getattr(request, name), values.get(name) or ""
        parts = (own, main) if args.position == "start" else (main, own)
        joined[name] = " ".join(part for part in parts if part)
    return joined


def register(to: Registration) -> None:
    to.script(PromptsFromFile())
