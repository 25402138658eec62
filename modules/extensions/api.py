"""All that an extension imports: `from modules.extensions.api import Script, Ask, …`. Our own scripts use nothing else.

An extension is a folder in `extensions/` with `extension.py`, whose function `register(to)` hands things over:

    def register(to: Registration) -> None:
        to.script(PromptsFromFile())
        to.sampler(...), to.schedule(...), to.upscaler(...), to.settings(MySection), to.tab(...), to.route(...)

Disabling an extension takes back exactly what it registered. One that fails is disabled and named; the rest goes on.
Code at a file's top level is run in the front, which has no torch: import it inside functions, as the samplers do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from modules.engine.stages import FinishedImage, NoiseSearch, SearchStart, Stage, StageContext
from modules.errors import InvalidRequest, WebuiError
from modules.extensions.sides import SIDES, Side, growth, rounded_up
from modules.faces.mixing import faces_restored
from modules.generation.extras import UpscalePart
from modules.generation.plan import Plan
from modules.generation.request import GenerationRequest
from modules.images import grids
from modules.images.compose import flatten
from modules.images.data import ImageData
from modules.infotext.write import with_keys as infotext_with
from modules.sampling.sampler import Step, Steps
from modules.settings.option import Section, option
from modules.upscaling.mixing import enlarged

__all__ = [
    "SIDES",
    "Arguments",
    "Ask",
    "Asked",
    "Field",
    "FinishedImage",
    "GenerationRequest",
    "ImageData",
    "InvalidRequest",
    "Made",
    "NewPicture",
    "NoiseSearch",
    "Plan",
    "Recipe",
    "Registration",
    "Script",
    "SearchStart",
    "Section",
    "Side",
    "Stage",
    "StageContext",
    "Step",
    "Steps",
    "Tab",
    "Tools",
    "UpscalePart",
    "WebuiError",
    "changed",
    "draw_seed",
    "enlarged",
    "faces_restored",
    "flatten",
    "grids",
    "growth",
    "infotext_with",
    "legend_style",
    "option",
    "rounded_up",
    "sheet_of",
    "tab_of",
    "with_seed_drawn",
]  # fmt: skip

Model = TypeVar("Model", bound=BaseModel)

Tab = Literal["txt2img", "img2img"]


class Arguments(BaseModel):
    """A script's arguments, in the order in which A1111's clients send them; controls and REST names follow from it.

    A field named `_…` is no argument; one that holds a place that A1111 gives to a caption is a plain `Any` field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Asked:
    """One request of a recipe, with what it adds to the pictures' infotext."""

    request: GenerationRequest
    infotext: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """Requests to carry out now, in this order; `expected` is how many the recipe will make altogether, if known.

    `reuses` answers a request whose very plan was carried out before with those pictures, while their files are there:
    what was stopped in the middle goes on where it was. `skips_failures` answers one that fails with no pictures and
    leaves a notice, instead of ending the script.
    """

    asked: tuple[Asked, ...]
    expected: int | None = None
    reuses: bool = False
    skips_failures: bool = False


@dataclass(frozen=True)
class Made:
    """A picture that one of the requests made; `open()` decodes it. `handle` is for the program."""

    infotext: str
    seed: int
    subseed: int
    prompt: str
    negative_prompt: str
    role: str
    index: int
    read: Callable[[], bytes]
    handle: Any = None  # the program's own record of it

    def data(self) -> ImageData:
        return ImageData(self.read())

    def open(self) -> Image.Image:
        return self.data().open()


@dataclass(frozen=True)
class NewPicture:
    """A picture that the recipe composed itself: a grid, a joined upscale. Saved and shown as its `role` is.

    `like` is the picture whose seed, prompt and infotext it takes over where it has none of its own. `basename` stands
    in front of its file's name ("xyz_grid"); one that is not `is_shown` is only saved.
    """

    image: Image.Image
    like: Made
    role: str = "sample"
    infotext: str | None = None
    basename: str = ""
    is_shown: bool = True


Recipe = Generator[Ask, "tuple[tuple[Made, ...], ...]", "Sequence[Made | NewPicture]"]
"""Yields requests, is sent the pictures of each (samples first, in order), and returns what is shown in the end."""


def with_seed_drawn(request: GenerationRequest) -> GenerationRequest:
    """The request with seeds in place of -1, for recipes whose pictures hang together or should come out again.

    A variation seed that has no say in the picture is the seed itself, so that asking again asks for the same.
    """
    seed = request.seed
    value = draw_seed() if seed.value == -1 else seed.value
    variation = seed.variation
    if variation == -1:
        variation = draw_seed() if seed.variation_strength > 0 else value
    return request.model_copy(update={"seed": seed.model_copy(update={"value": value, "variation": variation})})


def draw_seed() -> int:
    """A random seed, 0 … 4294967293, as A1111 draws them."""
    return random.SystemRandom().randrange(4294967294)


def changed(part: Model, **changes: Any) -> Model:
    """A request or one of its parts with some fields changed; checked, so it may raise ValidationError."""
    return type(part).model_validate({**dict(part), **changes})


def tab_of(request: GenerationRequest) -> Tab:
    """Which of A1111's two tabs a request belongs to; inpainting is img2img there."""
    return "txt2img" if request.source is None else "img2img"


def legend_style(tools: Tools) -> grids.LegendStyle:
    """How grids with legends look by the settings."""
    return grids.LegendStyle(
        font=tools.setting("font"),
        active_color=tools.setting("grid_text_active_color"),
        inactive_color=tools.setting("grid_text_inactive_color"),
        background=tools.setting("grid_background_color"),
    )


def sheet_of(images: Sequence[Image.Image], like: Made, tools: Tools, *, rows: int) -> list[NewPicture]:
    """A grid of a script's results where the settings want one shown or saved; nothing for a single picture."""
    if len(images) < 2 or not (tools.setting("return_grid") or tools.setting("grid_save")):
        return []
    sheet = grids.image_grid(images, rows, background=tools.setting("grid_background_color"))
    return [NewPicture(sheet, like=like, role="grid", is_shown=tools.setting("return_grid"))]


class Tools(Protocol):
    """What a recipe may ask of the program."""

    def upscale(self, image: Image.Image, upscaler: str, scale: float) -> Image.Image:
        """`image` by an upscaler of this installation; raises UnknownName."""
        ...

    def upscaler_name(self, asked: int | str) -> str:
        """An upscaler's name from a name in any case or, as A1111's clients send it, a place in the list."""
        ...

    def setting(self, key: str) -> Any:
        """A setting's value, the request's overrides applied; raises UnknownName."""
        ...

    def check(self, request: GenerationRequest) -> None:
        """Plan a request without carrying it out; raises InvalidRequest for what cannot be done as asked."""
        ...


class Script:
    """Something that changes or multiplies jobs. Override what is needed; every method's default does nothing.

    A script with a `recipe` is *selectable*: one of them runs instead of the plain job (A1111's Script drop-down).
    The others are *always on* and run in every job that has arguments for them in `request.scripts[name]`.
    """

    name: ClassVar[str]
    """The title; REST and `request.scripts` know it by this name, case aside."""
    tabs: ClassVar[frozenset[Tab]] = frozenset({"txt2img", "img2img"})
    is_selectable: ClassVar[bool] = False
    needs_mask: ClassVar[bool] = False
    """Whether the script has nothing to do without a mask: of the page's tabs, inpaint alone shows it."""
    operation: ClassVar[str] = ""
    """The operation of Extras that this script brings to the generation tabs: they show it where the setting
    `postprocessing_enable_in_main_ui` names it. Programs may always ask for it."""
    Args: ClassVar[type[Arguments]] = Arguments

    def on_request(self, request: GenerationRequest, args: Any) -> GenerationRequest:
        """The request to plan instead of `request`."""
        return request

    def on_plan(self, plan: Plan, args: Any) -> Plan:
        """The plan to run instead of `plan`."""
        return plan

    def settle(self, request: GenerationRequest, args: Any, tools: Tools) -> GenerationRequest:
        """The request as it is queued for the recipe: with everything drawn that chance decides, so that a retry makes
        the same pictures. Raises InvalidRequest for arguments that cannot work; nothing is queued then.
        Selectable scripts only."""
        return request

    def recipe(self, request: GenerationRequest, args: Any, tools: Tools) -> Recipe:
        """The requests that this script makes of one. Selectable scripts only."""
        raise NotImplementedError
        yield  # makes this a generator for the type checker

    def stage(self, plan: Plan, args: Any) -> Stage | None:
        """The script's part inside the worker, or None.

        That of a selectable script takes part in the jobs of its recipe whose request names the script.
        """
        return None


class Registration(Protocol):
    """Where an extension hands its things over."""

    def script(self, script: Script) -> None: ...

    def sampler(self, info: Any) -> None:
        """A `modules.sampling.sampler.SamplerInfo`."""

    def schedule(self, info: Any) -> None:
        """A `modules.sampling.schedules.ScheduleInfo`."""

    def upscaler(self, upscaler: Any) -> None:
        """A `modules.upscaling.upscaler.Upscaler`."""

    def settings(self, section: type[Section]) -> None: ...

    def tab(self, tab: Any) -> None:
        """A tab of the page, as `modules/ui/page.py` draws it."""

    def route(self, router: Any) -> None:
        """A fastapi router; it is behind the same gate as ours."""
