"""Handing requests and plans through the scripts that have arguments in them, and reading those arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from modules.engine.stages import Stage
from modules.errors import InvalidRequest, UnknownName, WebuiError
from modules.extensions.api import Arguments, Script, tab_of
from modules.extensions.loader import Extensions
from modules.generation.plan import Plan
from modules.generation.request import GenerationRequest
from modules.registry import did_you_mean


def arguments(script: Script, given: dict[str, Any]) -> Arguments:
    """A script's arguments from a request; raises InvalidRequest naming the argument that does not fit."""
    try:
        return script.Args(**given)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InvalidRequest(
            f"{script.name}: {where}: {problem['msg']}", field=f"scripts.{script.name}.{where}"
        ) from error


def from_list(script: Script, values: Sequence[Any]) -> dict[str, Any]:
    """Arguments by name from A1111's list: surplus ones are ignored, missing ones keep their defaults."""
    return dict(zip(script.Args.model_fields, values, strict=False))


def selected(extensions: Extensions, request: GenerationRequest) -> tuple[Script, Arguments] | None:
    """The selectable script that a request names, with its arguments; None for a plain job.

    Raises InvalidRequest when it names two, or one that is not for this kind of job.
    """
    found = [(script, given) for script, given in _named(extensions, request) if script.is_selectable]
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(f'"{script.name}"' for script, _ in found)
        raise InvalidRequest(f"{names} each run instead of the plain job; choose one", field="scripts")
    script, given = found[0]
    if tab_of(request) not in script.tabs:
        raise InvalidRequest(f'the script "{script.name}" does not work in {tab_of(request)}', field="scripts")
    return script, arguments(script, given)


def on_request(extensions: Extensions, request: GenerationRequest) -> GenerationRequest:
    """The request after every always-on script that has arguments in it, scripts under their registered names.

    Raises UnknownName for a script that is not there.
    """
    named = {script.name: given for script, given in _named(extensions, request)}
    request = request.model_copy(update={"scripts": named})
    for script, given in tuple(_named(extensions, request)):
        if not script.is_selectable:
            args = arguments(script, given)
            request = _guarded(extensions, script, "on_request", request, args)
    return request


def on_plan(extensions: Extensions, plan: Plan) -> Plan:
    """The plan after every always-on script that has arguments in it."""
    for name, given in plan.scripts.items():
        script = extensions.scripts.get(name)
        if not script.is_selectable:
            plan = _guarded(extensions, script, "on_plan", plan, arguments(script, given))
    return plan


def stages(extensions: Extensions, plan: Plan) -> Iterator[Stage]:
    """The stages of a plan's scripts, for the engine; called in the worker."""
    for name, given in plan.scripts.items():
        if name in extensions.scripts:
            script = extensions.scripts.get(name)
            if (stage := script.stage(plan, arguments(script, given))) is not None:
                yield stage


def _named(extensions: Extensions, request: GenerationRequest) -> Iterator[tuple[Script, dict[str, Any]]]:
    for name, given in request.scripts.items():
        try:
            yield extensions.scripts.get(name), given
        except UnknownName as error:
            names = extensions.scripts.names()
            raise UnknownName(
                f'no script named "{name}"{did_you_mean(name, names)}', field=f"scripts.{name}"
            ) from error


def _guarded(extensions: Extensions, script: Script, method: str, value: Any, args: Arguments) -> Any:
    """The script's answer; one that raises anything but our own errors is disabled, and the job goes on without it."""
    try:
        return getattr(script, method)(value, args)
    except WebuiError:
        raise
    except Exception as error:  # the boundary: a broken extension must not take the job with it
        extensions.fail(script, error, method)
        return value
