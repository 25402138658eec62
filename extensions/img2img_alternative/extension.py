"""img2img alternative test: start from the noise that the source itself would have come from (A1111's script).

What follows the original prompt in the source then follows the new one, and the rest stays where it was.
"""

from __future__ import annotations

from typing import Any

from modules.extensions.api import (
    Arguments,
    Ask,
    Asked,
    Field,
    GenerationRequest,
    Plan,
    Recipe,
    Registration,
    Script,
    Stage,
    Tools,
    changed,
    with_seed_drawn,
)

from .reverse_euler import ReverseEuler


class AlternativeArguments(Arguments):
    caption: Any = Field(None, json_schema_extra={"is_hidden": True})  # A1111's clients send a heading in this place
    override_sampler: bool = Field(True, title="Override the sampling method to Euler (the search is its reverse)")
    override_prompt: bool = Field(True, title="Override the prompts with the original ones below")
    original_prompt: str = Field("", title="Original prompt", json_schema_extra={"lines": 1})
    original_negative_prompt: str = Field("", title="Original negative prompt", json_schema_extra={"lines": 1})
    override_steps: bool = Field(True, title="Override the sampling steps with the decode steps")
    steps: int = Field(50, ge=1, le=150, title="Decode steps", json_schema_extra={"row": "numbers"})
    override_strength: bool = Field(True, title="Override the denoising strength to 1")
    cfg_scale: float = Field(
        1.0, ge=0, le=15, title="Decode CFG scale", json_schema_extra={"step": 0.1, "row": "numbers"}
    )
    randomness: float = Field(0.0, ge=0, le=1, title="Randomness", json_schema_extra={"step": 0.01, "row": "numbers"})
    sigma_adjustment: bool = Field(False, title="Sigma adjustment for finding noise for image")


class Img2ImgAlternative(Script):
    """Best with a low CFG scale and an original prompt that says what the source shows."""

    name = "img2img alternative test"
    tabs = frozenset({"img2img"})
    is_selectable = True
    Args = AlternativeArguments

    def settle(self, request: GenerationRequest, args: AlternativeArguments, tools: Tools) -> GenerationRequest:
        return with_seed_drawn(request)

    def recipe(self, request: GenerationRequest, args: AlternativeArguments, tools: Tools) -> Recipe:
        changes: dict[str, Any] = {}
        sampling = request.sampling
        if args.override_sampler:
            sampling = changed(sampling, sampler="Euler", schedule="Automatic")
        if args.override_steps:
            sampling = changed(sampling, steps=args.steps)
        if args.override_prompt:
            changes |= {"prompt": args.original_prompt, "negative_prompt": args.original_negative_prompt}
        source = request.source
        assert source is not None  # `tabs` says img2img
        if args.override_strength:
            source = changed(source, denoising_strength=1.0)
        scripts = {**request.scripts, self.name: args.model_dump(mode="json")}
        once = changed(request, **changes, sampling=sampling, source=source, scripts=scripts)
        infotext = {
            "Decode prompt": args.original_prompt, "Decode negative prompt": args.original_negative_prompt,
            "Decode CFG scale": f"{args.cfg_scale:g}", "Decode steps": str(args.steps),
            "Randomness": f"{args.randomness:g}", "Sigma Adjustment": str(args.sigma_adjustment),
        }  # fmt: skip
        (made,) = yield Ask((Asked(once, infotext),), expected=1)
        return made

    def stage(self, plan: Plan, args: AlternativeArguments) -> Stage:
        return _FromFoundNoise(args)


class _FromFoundNoise(Stage):
    def __init__(self, args: AlternativeArguments) -> None:
        self.args = args

    def noise_search(self) -> ReverseEuler:
        args = self.args
        return ReverseEuler(
            prompt=args.original_prompt,
            negative_prompt=args.original_negative_prompt,
            cfg_scale=args.cfg_scale,
            steps=args.steps,
            randomness=args.randomness,
            adjusts_sigma=args.sigma_adjustment,
        )


def register(to: Registration) -> None:
    to.script(Img2ImgAlternative())
