"""X/Y/Z plot: one picture for every combination of values, on one sheet with legends (A1111's script).

Every cell is an ordinary job whose picture is saved like any other. A plot that was stopped goes on where it was when
it is run again: cells that were made with the very same plan are taken from where they were saved.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image
from pydantic import ConfigDict, ValidationError

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
    draw_seed,
    grids,
    infotext_with,
    legend_style,
    tab_of,
    with_seed_drawn,
)

from .axes import AXES, Axis, axes_of

AT_ONCE = 8
"""Cells that are queued together: the worker always has a next one, and stopping leaves few behind."""

_SWAPS = [
    {"label": f"Swap {one.upper()}/{other.upper()}",
     "fields": [[f"{one}_{name}", f"{other}_{name}"] for name in ("type", "values")]}
    for one, other in (("x", "y"), ("y", "z"), ("x", "z"))
]  # fmt: skip


def _axis_field(name: str, default: str) -> Any:
    choices = {tab: [axis.label for axis in axes_of(tab)] for tab in ("txt2img", "img2img")}
    return Field(default, title=f"{name} type", json_schema_extra={"choices": choices, "row": name, "is_narrow": True})


def _values_field(name: str) -> Any:
    suggestions = {axis.label: axis.choices for axis in AXES if axis.choices}
    extra = {"row": name, "suggestions": {"by": f"{name.lower()}_type", "lists": suggestions}}
    return Field("", title=f"{name} values", json_schema_extra=extra)


def _list_field(name: str) -> Any:
    return Field((), title=f"{name} values", json_schema_extra={"is_hidden": True})  # for A1111's clients


class XyzArguments(Arguments):
    """An axis type is a label, or a place in the list of the tab's axes as A1111's clients send it."""

    model_config = ConfigDict(json_schema_extra={"swaps": _SWAPS})

    x_type: int | str = _axis_field("X", "Seed")
    x_values: str = _values_field("X")
    x_list: tuple[str, ...] | str | None = _list_field("X")
    y_type: int | str = _axis_field("Y", "Nothing")
    y_values: str = _values_field("Y")
    y_list: tuple[str, ...] | str | None = _list_field("Y")
    z_type: int | str = _axis_field("Z", "Nothing")
    z_values: str = _values_field("Z")
    z_list: tuple[str, ...] | str | None = _list_field("Z")
    draw_legend: bool = Field(True, title="Draw legend")
    include_sub_images: bool = Field(False, title="Include Sub Images")
    include_sub_grids: bool = Field(False, title="Include Sub Grids")
    keeps_random_seeds: bool = Field(False, title="Keep -1 for seeds")
    vary_seeds_x: bool = Field(False, title="Vary seeds for X")
    vary_seeds_y: bool = Field(False, title="Vary seeds for Y")
    vary_seeds_z: bool = Field(False, title="Vary seeds for Z")
    margin: int = Field(0, ge=0, le=500, title="Grid margins (px)", json_schema_extra={"step": 2})
    values_as_text: bool = Field(
        False, title="Use text inputs instead of dropdowns", json_schema_extra={"is_hidden": True}
    )


@dataclass(frozen=True)
class Side:
    """An axis with its values, and what was written for them."""

    axis: Axis
    values: tuple[Any, ...]
    written: str
    drew: bool = False  # whether seeds were drawn in place of -1

    def labels(self) -> list[list[grids.Label]]:
        return [[grids.Label(self.axis.show(self.axis, value))] for value in self.values]


@dataclass(frozen=True)
class Cell:
    """One combination: its place on the three axes and what is asked for it."""

    x: int
    y: int
    z: int
    request: GenerationRequest


class XyzPlot(Script):
    """Up to three things varied against each other."""

    name = "X/Y/Z plot"
    is_selectable = True
    Args = XyzArguments

    def settle(self, request: GenerationRequest, args: XyzArguments, tools: Tools) -> GenerationRequest:
        """Draws the seed and plans every cell, so that a plot of hours does not end at its last value's slip."""
        settled = request if args.keeps_random_seeds else with_seed_drawn(request)
        sides = sides_of(settled, args)
        if request.seed.variation == -1 and any(side.axis.label == "Var. strength" for side in sides):
            settled = changed(settled, seed=changed(settled.seed, variation=draw_seed()))
        _check_size(settled, sides, tools)
        for cell in cells(settled, args, sides, tools):
            tools.check(cell.request)
        return settled

    def recipe(self, request: GenerationRequest, args: XyzArguments, tools: Tools) -> Recipe:
        x, y, z = sides = sides_of(request, args)
        made: dict[tuple[int, int, int], tuple[Made, ...]] = {}
        todo = list(cells(request, args, sides, tools))
        for start in range(0, len(todo), AT_ONCE):
            batch = todo[start : start + AT_ONCE]
            asked = tuple(Asked(cell.request) for cell in batch)
            answers = yield Ask(asked, expected=len(todo), reuses=True, skips_failures=True)
            for cell, pictures in zip(batch, answers, strict=True):
                made[cell.x, cell.y, cell.z] = pictures
        first = next((made[place][0] for place in sorted(made, key=lambda place: place[::-1]) if made[place]), None)
        if first is None:
            return []  # stopped before there was a picture, or none could be made: the notices say why
        sheets = Sheets(x, y, z, args, tools, made)
        planes = [sheets.plane(number) for number in range(len(z.values))]
        main = sheets.whole(planes)
        shown: list[Made | NewPicture] = [
            NewPicture(main, like=first, role="grid", infotext=described(first, (x, y, z)), basename="xyz_grid")
        ]
        if len(planes) > 1:
            for number, plane in enumerate(planes):
                like = next((made[place][0] for place in sorted(made) if place[2] == number and made[place]), first)
                text = described(like, (x, y))
                shown.append(
                    NewPicture(
                        plane,
                        like=like,
                        role="grid",
                        infotext=text,
                        basename="xyz_grid",
                        is_shown=args.include_sub_grids,
                    )
                )
        if args.include_sub_images:
            shown += [picture for place in sorted(made, key=lambda place: place[::-1]) for picture in made[place]]
        return shown


def sides_of(request: GenerationRequest, args: XyzArguments) -> tuple[Side, Side, Side]:
    """The three axes with their values; raises InvalidRequest in words for what cannot be read."""
    return tuple(  # type: ignore[return-value]
        _side(request, name, getattr(args, f"{name}_type"), getattr(args, f"{name}_values"),
              getattr(args, f"{name}_list"), args)
        for name in ("x", "y", "z")
    )  # fmt: skip


def _side(
    request: GenerationRequest, name: str, asked: int | str, written: str, listed: tuple[str, ...] | str | None,
    args: XyzArguments,
) -> Side:  # fmt: skip
    axis = _axis(request, name, asked)
    if axis.label == "Nothing":
        return Side(axis, (0,), "")
    where = f"scripts.X/Y/Z plot.{name}_values"
    if axis.choices and listed and not args.values_as_text:
        chosen = (listed,) if isinstance(listed, str) else listed
        written = ", ".join(f'"{value}"' if "," in value else value for value in chosen)
    try:
        values = axis.read(written)
    except ValueError as error:
        raise InvalidRequest(f"{name.upper()} axis, {axis.label}: {error}", field=where) from error
    if not values:
        raise InvalidRequest(f"{name.upper()} axis, {axis.label}: write its values, separated by commas", field=where)
    drawn = list(values)
    if axis.is_seed and not args.keeps_random_seeds:
        drawn = [_seed(request, name, place) if value == -1 else value for place, value in enumerate(values)]
    return Side(axis, tuple(drawn), written, drew=drawn != list(values))


def _axis(request: GenerationRequest, name: str, asked: int | str) -> Axis:
    offered = axes_of(tab_of(request))
    if isinstance(asked, int):
        if 0 <= asked < len(offered):
            return offered[asked]
        raise InvalidRequest(f"there is no axis number {asked}; there are {len(offered)}, from 0")
    found = next((axis for axis in offered if axis.label.casefold() == asked.strip().casefold()), None)
    if found is None:
        raise InvalidRequest(
            f'{name.upper()} axis: {tab_of(request)} has no axis "{asked}"; '
            f"there is {', '.join(axis.label for axis in offered)}",
            field=f"scripts.X/Y/Z plot.{name}_type",
        )
    return found


def _seed(request: GenerationRequest, name: str, place: int) -> int:
    """A seed in place of -1 on an axis; it follows from the plot's own, so that a rerun draws the same."""
    return random.Random(f"{request.seed.value} {name} {place}").randrange(4294967294)


def cells(
    request: GenerationRequest, args: XyzArguments, sides: tuple[Side, Side, Side], tools: Tools
) -> Iterator[Cell]:
    """Every combination, in an order that changes the dear axes least. Raises InvalidRequest naming the axis."""
    base = request
    if not tools.setting("return_grid"):
        base = changed(base, batch=changed(base.batch, size=1))  # a cell shows one picture then
    loops = sorted(((side.axis.cost, number) for number, side in enumerate(sides)), key=lambda one: (-one[0], -one[1]))
    order = [number for _, number in loops]
    for places in itertools.product(*(range(len(sides[number].values)) for number in order)):
        at = dict(zip(order, places, strict=True))
        cell = base
        for number, side in enumerate(sides):
            cell = _put(cell, side, at[number], "XYZ"[number])
        yield Cell(at[0], at[1], at[2], _with_varied_seed(cell, args, at, sides))


def _put(request: GenerationRequest, side: Side, place: int, name: str) -> GenerationRequest:
    value = side.values[place]
    try:
        return side.axis.put(request, value, side.values)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name} axis, {side.axis.label}: {error}", field=error.field) from error
    except ValidationError as error:
        raise InvalidRequest(f"{name} axis, {side.axis.label}, {value}: {error.errors()[0]['msg']}") from error


def _with_varied_seed(
    request: GenerationRequest, args: XyzArguments, at: dict[int, int], sides: tuple[Side, Side, Side]
) -> GenerationRequest:
    if request.seed.value == -1:
        return request
    across, down = len(sides[0].values), len(sides[1].values)
    steps = (
        at[0] if args.vary_seeds_x else 0,
        at[1] * (across if args.vary_seeds_x else 1) if args.vary_seeds_y else 0,
        at[2] * (across if args.vary_seeds_x else 1) * (down if args.vary_seeds_y else 1) if args.vary_seeds_z else 0,
    )
    return changed(request, seed=changed(request.seed, value=request.seed.value + sum(steps)))


def _check_size(request: GenerationRequest, sides: tuple[Side, Side, Side], tools: Tools) -> None:
    count = math.prod(len(side.values) for side in sides)
    megapixels = count * request.size.width * request.size.height / 1e6
    limit = tools.setting("img_max_size_mp")
    if megapixels > limit:
        raise InvalidRequest(
            f"{count} cells of {request.size} make a sheet of {megapixels:.0f} megapixels, the limit is {limit}; "
            "use fewer values, smaller pictures, or raise the setting img_max_size_mp",
            field="scripts.X/Y/Z plot",
        )


class Sheets:
    """The pictures put together: a plane for each value of Z, and the whole."""

    def __init__(
        self,
        x: Side,
        y: Side,
        z: Side,
        args: XyzArguments,
        tools: Tools,
        made: dict[tuple[int, int, int], tuple[Made, ...]],
    ) -> None:
        self.x, self.y, self.z, self.args, self.tools, self.made = x, y, z, args, tools, made
        self.style = legend_style(tools)

    def plane(self, z: int) -> Image.Image:
        """X across, Y down; a cell without a picture stays empty."""
        places = [(x, y, z) for y in range(len(self.y.values)) for x in range(len(self.x.values))]
        pictures = [self._cell(self.made.get(place, ())) for place in places]
        size = next((picture.size for picture in pictures if picture is not None), (64, 64))
        filled = [picture or Image.new("RGB", size, self.style.background) for picture in pictures]
        sheet = grids.image_grid(
            filled, rows=len(self.y.values), background=self.style.background, margin=self.args.margin
        )
        if not self.args.draw_legend:
            return sheet
        return grids.annotated_grid(sheet, self.x.labels(), self.y.labels(), style=self.style, margin=self.args.margin)

    def whole(self, planes: list[Image.Image]) -> Image.Image:
        """The planes side by side under the values of Z."""
        if self.z.axis.label == "Nothing":
            return planes[0]
        sheet = grids.image_grid(planes, rows=1, background=self.style.background)
        if not self.args.draw_legend:
            return sheet
        return grids.annotated_grid(sheet, self.z.labels(), [[grids.Label("")]], style=self.style)

    def _cell(self, pictures: tuple[Made, ...]) -> Image.Image | None:
        """The cell's picture; a grid of them when its job made several."""
        opened = [picture.open().convert("RGB") for picture in pictures]
        if len(opened) < 2 or not self.tools.setting("return_grid"):
            return opened[0] if opened else None
        rows = grids.grid_rows(
            len(opened), n_rows=self.tools.setting("n_rows"), batch_size=len(opened),
            prevent_empty_spots=self.tools.setting("grid_prevent_empty_spots"),
        )  # fmt: skip
        return grids.image_grid(opened, rows, background=self.style.background)


def described(first: Made, sides: tuple[Side, ...]) -> str:
    """The infotext of a sheet: that of its first cell, with the axes and their values."""
    keys = {"Script": XyzPlot.name}
    for name, side in zip("XYZ", sides, strict=False):
        if side.axis.label == "Nothing":
            continue
        keys[f"{name} Type"], keys[f"{name} Values"] = side.axis.label, side.written
        if side.drew:
            keys[f"Fixed {name} Values"] = ", ".join(str(value) for value in side.values)
    return infotext_with(first.infotext, keys)


def register(to: Registration) -> None:
    to.script(XyzPlot())
