"""What the Models and Extensions tabs show of this installation and may change: model files, the worker, extensions.

Like `services.py` this knows App, and nothing else of `ui` does.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
from typing import Any

from modules.errors import InvalidRequest, ModelError, NotPermitted, UnknownName, WebuiError, WorkerDied
from modules.extensions import states
from modules.extensions.install import check_may_install, install, uninstall, update, updates
from modules.extensions.loader import Extension, found_in
from modules.extensions.origin import origin_of
from modules.models.catalog import Catalog
from modules.models.family import identify
from modules.models.files import CheckpointFile
from modules.models.views import view_checkpoint

METADATA_LIMIT = 20_000
"""Characters of one metadata entry that are shown; training tags may be megabytes."""

WAIT_S = 20.0
"""How long a button waits for a worker that is busy."""


class Installation:
    """The installation of one App."""

    def __init__(self, app: Any) -> None:  # App, whose layer may not be imported for its type at start
        self._app = app

    # ── models ──────────────────────────────────────────────────────────────────────────────────────────────────

    def worker(self) -> dict[str, Any]:
        """What the worker last said of itself."""
        return dict(self._app.supervisor.report)

    def checkpoints(self) -> list[dict[str, Any]]:
        """Every checkpoint's names, hash and size, from memory; quick for thousands."""
        return [
            {"title": file.title, "name": file.name, "hash": file.short_hash, "bytes": file.size}
            for file in self._app.catalog.checkpoints
        ]

    def other_files(self) -> dict[str, int]:
        """How many files there are of the other kinds."""
        catalog = self._app.catalog
        return {
            "VAE": len(catalog.vaes),
            "LoRA": len(catalog.loras),
            "Textual inversion": len(catalog.embeddings),
            "Hypernetwork": len(catalog.hypernetworks),
            "Upscaler": sum(len(files) for files in catalog.upscalers.values()),
            "Face restoration": catalog.faces.count,
        }

    def architectures(self, titles: list[str]) -> dict[str, str]:
        """The architecture of some checkpoints by title, or why there is none; reads their headers."""
        wanted = set(titles)
        return {file.title: self._architecture(file) for file in self._app.catalog.checkpoints if file.title in wanted}

    def details(self, title: str) -> dict[str, Any]:
        """Everything known about one checkpoint; raises UnknownName."""
        catalog: Catalog = self._app.catalog
        file = catalog.find_checkpoint_file(title)
        metadata = {key: text[:METADATA_LIMIT] for key, text in sorted(catalog.metadata(file).items())}
        return {
            "title": file.title,
            "path": str(file.path),
            "sha256": file.sha256,
            "legacy_hash": catalog.legacy_hash(file),
            "native_size": catalog.native_size(file),
            "architecture": self._architecture(file),
            "precision": self._precision(file),
            "metadata": metadata,
        }

    def look_again(self) -> None:
        """Look at the model folders again."""
        self._app.catalog.refresh()

    def unload(self) -> str | None:
        """Let go of every model; returns why it could not be done."""
        return self._asked(lambda: self._app.supervisor.call("unload", timeout=WAIT_S))

    def load(self) -> str | None:
        """Load the configured checkpoint; returns why it could not be done."""
        return self._asked(self._app.checkpoint.load)

    def _asked(self, call: Any) -> str | None:
        try:
            call()
        except TimeoutError:
            return "the worker is busy; it will be done when the job in hand has ended"
        except (WorkerDied, RuntimeError) as error:
            return str(error)
        return None

    # ── extensions ──────────────────────────────────────────────────────────────────────────────────────────────

    def extensions(self) -> list[dict[str, Any]]:
        """Every extension found: what it is, whether it runs, what it brought, and what went wrong."""
        off = set(self._app.settings.current.disabled_extensions)
        return [
            {
                "name": extension.name,
                "about": _first_words(extension.folder),
                "folder": str(extension.folder),
                "is_builtin": extension.is_builtin,
                "is_active": extension.is_active,
                "is_wanted": extension.name not in off,
                "problem": extension.problem,
                "scripts": self._scripts_of(extension.name),
                **_origin_words(extension.folder),
            }
            for extension in self._app.extensions.all
        ]

    def new_extensions(self) -> list[str]:
        """Folders that came since the program started, to be loaded by the next start; what is gone is not told."""
        known = {extension.name for extension in self._app.extensions.all}
        place = self._extensions_folder
        return [one.name for one in found_in(place) if one.name not in known]

    def why_not_install(self, *, is_administrator: bool, is_public: bool) -> str:
        """Why the asker may not install, update or remove extensions; "" when they may."""
        try:
            check_may_install(self._app.flags, is_administrator=is_administrator, is_public=is_public)
        except NotPermitted as error:
            return str(error)
        return ""

    def install_extension(self, source: str, name: str, branch: str) -> str:
        """Bring an extension from a git address, a folder or a zip file; gives its name. Raises WebuiError."""
        return install(source, self._extensions_folder, name=name, branch=branch).name

    def extension_updates(self) -> dict[str, str]:
        """What each clone's origin has that it has not, in words, by name; asks the network."""
        said = {}
        for extension in self._app.extensions.all:
            if extension.is_builtin or not extension.folder.is_dir():
                continue
            try:
                count = updates(extension)
            except WebuiError as error:
                said[extension.name] = str(error)
                continue
            if count is not None:
                said[extension.name] = f"{count} behind" if count else "latest"
        return said

    def update_extension(self, name: str) -> str:
        """Bring a clone to its newest commit; gives its version then. Raises WebuiError."""
        return update(self._extension(name))

    def remove_extension(self, name: str) -> None:
        """Take a person's extension out; raises WebuiError."""
        uninstall(self._extension(name), self._extensions_folder)

    def saved_states(self) -> list[dict[str, Any]]:
        """Saved states of the extensions, the newest first."""
        return [
            {"file": one.file, "name": one.name, "created": one.created, "count": len(one.extensions)}
            for one in states.states(self._states_folder)
        ]

    def save_state(self, name: str) -> None:
        """Keep which extensions there are, which are on and at which commit."""
        states.save(self._states_folder, name, self._app.extensions.all)

    def restore_state(self, file: str) -> list[str]:
        """Switches and commits as they were saved; gives what could not be done. Raises WebuiError."""
        off, problems = states.restore(self._states_folder, file, self._app.extensions.all)
        self.switch_extensions(off)
        return problems

    def switch_extensions(self, off: list[str]) -> None:
        """Keep in the settings which extensions are switched off; it takes effect when the program starts again."""
        known = {extension.name for extension in self._app.extensions.all}
        before = self._app.settings.current.disabled_extensions
        kept = [name for name in before if name not in known]  # those of a folder that is not there at the moment
        self._app.settings.set_many({"disabled_extensions": [*kept, *(name for name in off if name in known)]})

    @property
    def _extensions_folder(self) -> Path:
        return self._app.data_dir / "extensions"

    @property
    def _states_folder(self) -> Path:
        return self._app.data_dir / "config_states"

    def _extension(self, name: str) -> Extension:
        for extension in self._app.extensions.all:
            if extension.name == name and extension.folder.is_dir():
                return extension
        raise InvalidRequest(f'there is no extension "{name}"')

    def _scripts_of(self, name: str) -> list[str]:
        package = f"webui_extensions.{name}"
        return [
            script.name
            for script in self._app.extensions.scripts
            if f"{type(script).__module__}.".startswith(f"{package}.")
        ]

    def _architecture(self, file: CheckpointFile) -> str:
        if not file.is_header_readable:
            return "known when loaded (a pickle)"
        try:
            base = str(self._app.catalog.overrides(file).get("base", ""))
            return _identified(str(file.path), file.size, file.mtime_ns, base)
        except (ModelError, UnknownName, OSError) as error:
            return f"not usable: {error}"

    def _precision(self, file: CheckpointFile) -> str:
        """The number types of a file's tensors by their share of the bytes: "F16" or "F32 90 %, I64 10 %"."""
        if not file.is_header_readable:
            return ""
        try:
            header = view_checkpoint(file.path).header
        except (ModelError, OSError):
            return ""
        shares: dict[str, int] = {}
        for key in header:
            tensor = header.tensors[key]
            shares[tensor.dtype] = shares.get(tensor.dtype, 0) + tensor.nbytes
        total = sum(shares.values()) or 1
        large = sorted(((size / total, name) for name, size in shares.items() if size / total > 0.01), reverse=True)
        return ", ".join(name if len(large) == 1 else f"{name} {share:.0%}" for share, name in large)


@lru_cache(maxsize=20_000)
def _identified(path: str, size: int, mtime_ns: int, base: str) -> str:
    return identify(view_checkpoint(path, base=base or None).header)[0].title


def _origin_words(folder: Path) -> dict[str, Any]:
    """Where an extension was cloned from, for its row; `is_there` False for one removed since the start."""
    origin = origin_of(folder)
    said = {"is_there": folder.is_dir(), "remote": "", "branch": "", "version": ""}
    return said if origin is None else {**said, **{name: getattr(origin, name) for name in said if name != "is_there"}}


@lru_cache(maxsize=256)
def _first_words(folder: Path) -> str:
    """The first sentence of an extension's docstring; "" when it has none or cannot be read."""
    try:
        text = ast.get_docstring(ast.parse((folder / "extension.py").read_text("utf-8"))) or ""
    except (OSError, SyntaxError, ValueError):
        return ""
    return " ".join(text.split("\n\n", 1)[0].split())[:300]
