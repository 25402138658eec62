"""Finding extensions, loading them, and taking back what they registered."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from modules.extensions.api import Script, Section
from modules.registry import Registry
from modules.sampling.sampler import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from modules.upscaling.upscaler import UPSCALERS

log = logging.getLogger(__name__)

ENTRY = "extension.py"


@dataclass
class Extension:
    """An extension folder and what became of it: loaded, disabled by the user, or disabled because of `problem`."""

    name: str
    folder: Path
    is_builtin: bool
    enabled: bool = True
    problem: str = ""

    @property
    def is_active(self) -> bool:
        return self.enabled and not self.problem


class Collected:
    """What extensions have registered beyond the registries of samplers, schedules and upscalers."""

    def __init__(self) -> None:
        self.scripts: Registry[Script] = Registry("script")
        self.sections: list[type[Section]] = []
        self.tabs: list[Any] = []
        self.routes: list[Any] = []


class _To:
    """`Registration` for one extension: remembers how to take everything back."""

    def __init__(self, into: Collected) -> None:
        self._into = into
        self._undo: list[Callable[[], None]] = []

    def script(self, script: Script) -> None:
        self._add(self._into.scripts, script.name, script)

    def sampler(self, info: Any) -> None:
        self._add(SAMPLERS, info.name, info, info.aliases)

    def schedule(self, info: Any) -> None:
        own = (info.name,) if info.name.casefold() != info.label.casefold() else ()
        self._add(SCHEDULES, info.label, info, (*own, *info.aliases))

    def upscaler(self, upscaler: Any) -> None:
        self._add(UPSCALERS, upscaler.name, upscaler)

    def settings(self, section: type[Section]) -> None:
        self._append(self._into.sections, section)

    def tab(self, tab: Any) -> None:
        self._append(self._into.tabs, tab)

    def route(self, router: Any) -> None:
        self._append(self._into.routes, router)

    def take_back(self) -> None:
        """Undo everything, the last thing first."""
        while self._undo:
            self._undo.pop()()

    def _add(self, registry: Registry[Any], name: str, item: Any, aliases: tuple[str, ...] = ()) -> None:
        registry.add(name, item, aliases=aliases)
        self._undo.append(lambda: registry.remove(name))

    def _append(self, things: list[Any], thing: Any) -> None:
        things.append(thing)
        self._undo.append(lambda: things.remove(thing))


BUILTIN = frozenset(
    {
        "img2img_alternative", "loopback", "outpainting_mk2", "poor_mans_outpainting", "prompt_matrix",
        "prompts_from_file", "sd_upscale", "soft_inpainting", "upscale", "xyz_plot",
    }
)  # fmt: skip
"""The folders that ship with the program; all others are the user's."""


class Extensions:
    """The extensions found in `folders`, the first of a name counts.

    `disabled` are names that the user switched off; `only` is "all" (load every one), "builtin" or "none".
    """

    def __init__(self, folders: Sequence[Path], *, disabled: Iterable[str] = (), only: str = "all") -> None:
        self.collected = Collected()
        self._registrations: dict[str, _To] = {}
        off = set(disabled)
        self.all: list[Extension] = []
        for found in (found for folder in folders for found in found_in(folder)):
            if any(found.name == known.name for known in self.all):
                continue
            is_builtin = found.name in BUILTIN
            wanted = found.name not in off and only != "none" and (is_builtin or only == "all")
            self.all.append(Extension(found.name, found, is_builtin, wanted))
        for extension in self.all:
            if extension.enabled:
                self._load(extension)

    @property
    def scripts(self) -> Registry[Script]:
        return self.collected.scripts

    def fail(self, script: Script, error: BaseException, doing: str) -> None:
        """Disable the extension of a script that raised, and say so; the others go on."""
        for extension in self.all:
            if f"{type(script).__module__}.".startswith(f"{_module_name(extension)}."):
                extension.problem = f"{doing} failed: {type(error).__name__}: {error}"
                log.error("extension %s is disabled: %s", extension.name, extension.problem, exc_info=error)
                self.disable(extension)

    def disable(self, extension: Extension) -> None:
        """Take back exactly what an extension registered."""
        if (registration := self._registrations.pop(extension.name, None)) is not None:
            registration.take_back()

    def _load(self, extension: Extension) -> None:
        registration = _To(self.collected)
        try:
            _import(extension).register(registration)
        except Exception as error:  # the boundary: whatever an extension does wrong, the program starts
            registration.take_back()
            extension.problem = f"{type(error).__name__}: {error}"
            log.error("extension %s is disabled: %s", extension.name, extension.problem, exc_info=error)
            return
        self._registrations[extension.name] = registration


def found_in(folder: Path) -> list[Path]:
    """The folders of extensions in a folder, by name."""
    if not folder.is_dir():
        return []
    found = [entry for entry in folder.iterdir() if (entry / ENTRY).is_file() and not entry.name.startswith(".")]
    return sorted(found, key=lambda entry: entry.name.lower())


def _module_name(extension: Extension) -> str:
    return f"webui_extensions.{extension.name}"


def _import(extension: Extension) -> ModuleType:
    name = _module_name(extension)
    # a package, so that extension.py may import its neighbours: `from .axes import AXES`
    spec = importlib.util.spec_from_file_location(
        name, extension.folder / ENTRY, submodule_search_locations=[str(extension.folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for loaded in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
            del sys.modules[loaded]
        raise
    return module
