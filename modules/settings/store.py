"""The settings in use: read from `config.json`, the environment and the flags, changed all or none, saved safely.

The file is A1111's: one flat object of the keys that were ever set. What it holds beyond our settings stays in it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from modules.errors import InvalidRequest, NotPermitted, SettingsError
from modules.settings.check import check, section_of
from modules.settings.flags import Flags
from modules.settings.option import Section
from modules.settings.schema import SECTIONS, Settings

log = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "SD_WEBUI_"
"""`SD_WEBUI_JPEG_QUALITY=95` sets jpeg_quality: the key in capitals, the value as JSON or plain text."""

PLACES = frozenset({"save_images_replace_action", "temp_dir", "clean_temp_dir_at_start"})
"""Settings about places that `--hide-ui-dir-config` locks, beside all `outdir_…` and `…_pattern`."""

Subscriber = Callable[[Settings, tuple[str, ...]], None]
"""Called with the new settings and the keys that changed."""


def is_place(key: str) -> bool:
    """Whether a setting says where or under which names files are written."""
    return key in PLACES or key.startswith("outdir_") or key.endswith("_pattern")


class SettingsStore:
    """The current settings and the only way to change them; may be used from any thread.

    Order: file, then environment, then flags; what environment or flags decide cannot be changed meanwhile and is not
    written to the file. `problems` says in words what was wrong with the file and the environment at start.
    """

    def __init__(self, path: Path, *, flags: Flags | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self.path = path
        self.problems: tuple[str, ...] = ()
        self._flags = flags or Flags()
        self._lock = threading.RLock()
        self._sections: tuple[type[Section], ...] = SECTIONS
        self._fields: dict[str, FieldInfo] = dict(Settings.model_fields)
        self._subscribers: list[Subscriber] = []
        self._environment = environment
        self._pinned: dict[str, str] = {}  # key → who decides it, in words
        self._file = self._read_file()
        self._values = {key: field.get_default() for key, field in self._fields.items()}
        self._take_all(self._fields)
        self._current = self._built()

    @property
    def current(self) -> Settings:
        """The settings as they are now; a value that never changes under the reader."""
        return self._current

    @property
    def sections(self) -> tuple[type[Section], ...]:
        """The pages of the Settings tab, extensions' after ours."""
        return self._sections

    @property
    def unknown(self) -> dict[str, Any]:
        """What the file holds under keys that nothing here knows; kept as it is."""
        with self._lock:
            return {key: value for key, value in self._file.items() if key not in self._fields}

    def get(self, key: str) -> Any:
        """One value, extensions' settings included; raises UnknownName."""
        with self._lock:
            if key not in self._values:
                check(key, None, among=self._fields)
            return self._values[key]

    def all(self) -> dict[str, Any]:
        """All values by key, extensions' settings included."""
        with self._lock:
            return dict(self._values)

    def changed_from_defaults(self) -> dict[str, Any]:
        """The values that differ from their defaults, by key."""
        with self._lock:
            return {key: value for key, value in self._values.items() if value != self._fields[key].get_default()}

    def why_locked(self, key: str) -> str | None:
        """Why a setting cannot be changed now, in words, or None."""
        flags = self._flags
        if key in self._pinned:
            return f"setting {key} is decided by {self._pinned[key]}; change it there"
        if flags.freeze_settings:
            return "settings are frozen by --freeze-settings"
        if key in _listed(flags.freeze_specific_settings):
            return f"setting {key} is frozen by --freeze-specific-settings"
        section = section_of(key, self._sections)
        frozen = _listed(flags.freeze_settings_in_sections)
        if section is not None and {section.section_page, section.section_title} & frozen:
            return f"setting {key} is frozen by --freeze-settings-in-sections"
        if flags.hide_ui_dir_config and is_place(key):
            return f"setting {key} is locked by --hide-ui-dir-config"
        return None

    def set_many(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Change settings, all or none, and save; returns the keys whose value is new.

        Raises UnknownName, InvalidRequest for a value that does not fit, NotPermitted for a frozen or pinned setting
        that would change, SettingsError when the file cannot be written (nothing is changed then).
        """
        with self._lock:
            checked = {key: check(key, value, among=self._fields) for key, value in values.items()}
            changed = tuple(key for key, value in checked.items() if not _same(value, self._values[key]))
            for key in changed:
                if reason := self.why_locked(key):
                    raise NotPermitted(reason)
            if not changed:
                return ()
            self._save({**self._file, **{key: _json(checked[key]) for key in changed}})
            self._values.update({key: checked[key] for key in changed})
            self._current = self._built()
            current, subscribers = self._current, tuple(self._subscribers)
        for subscriber in subscribers:
            subscriber(current, changed)
        return changed

    def reset(self, *keys: str) -> tuple[str, ...]:
        """Give settings their defaults back; returns the keys that changed."""
        return self.set_many({key: self._default(key) for key in keys})

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after every change, in the changing thread; returns the function that ends it."""
        with self._lock:
            self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            with self._lock:
                if subscriber in self._subscribers:
                    self._subscribers.remove(subscriber)

        return unsubscribe

    def add_section(self, section: type[Section]) -> None:
        """Make an extension's settings known; values already in the file or the environment apply.

        Raises SettingsError for a key that is taken.
        """
        with self._lock:
            taken = [key for key in section.model_fields if key in self._fields]
            if taken:
                raise SettingsError(f'settings {", ".join(taken)} of "{section.section_title}" exist already')
            self._sections = (*self._sections, section)
            self._fields.update(section.model_fields)
            self._values.update({key: field.get_default() for key, field in section.model_fields.items()})
            self._take_all(section.model_fields)

    def remove_section(self, section: type[Section]) -> None:
        """Forget what `add_section` made known; its values stay in the file."""
        with self._lock:
            self._sections = tuple(one for one in self._sections if one is not section)
            for key in section.model_fields:
                del self._fields[key], self._values[key]
                self._pinned.pop(key, None)

    def _default(self, key: str) -> Any:
        with self._lock:
            return self._fields[key].get_default() if key in self._fields else None

    def _built(self) -> Settings:
        return Settings.model_construct(**{key: self._values[key] for key in Settings.model_fields})

    def _take_all(self, fields: Mapping[str, FieldInfo]) -> None:
        """Bring in what file, environment and flags say about these settings, in that order."""
        for key in fields:
            if key in self._file:
                self._take(key, self._file[key], f"{self.path.name}")
            name = ENVIRONMENT_PREFIX + key.upper()
            if name in self._environment and self._take(key, _from_text(self._environment[name]), name):
                self._pinned[key] = f"the environment variable {name}"
        for key, value in self._flags.settings().items():
            if key in fields and self._take(key, value, "the command line"):
                self._pinned[key] = "the command line"

    def _take(self, key: str, value: Any, source: str) -> bool:
        """Use a value if it fits; else say so and stay with what was there."""
        try:
            self._values[key] = check(key, value, among=self._fields)
        except InvalidRequest as error:
            self._report(f"{source}: {error}; the default is used")
            return False
        return True

    def _report(self, problem: str) -> None:
        self.problems = (*self.problems, problem)
        log.warning("%s", problem)

    def _read_file(self) -> dict[str, Any]:
        """The file's object with old keys' values under their new ones; a damaged file is moved aside."""
        backup = self.path.with_name(self.path.name + ".bak")
        try:
            return _migrated(_load(self.path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            aside = self.path.with_name(f"{self.path.name}.broken-{time.strftime('%Y%m%d%H%M%S')}")
            self.path.replace(aside)
            told = f"{self.path} was damaged ({error}) and moved to {aside.name}"
        try:
            read = _migrated(_load(backup))
        except (OSError, ValueError):
            self._report(f"{told}; defaults are used")
            return {}
        self._report(f"{told}; the settings before the last change are used, from {backup.name}")
        return read

    def _save(self, content: dict[str, Any]) -> None:
        """Write the file whole or not at all, keeping the former one as `.bak`."""
        text = json.dumps(content, indent=4, ensure_ascii=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                _write_whole(self.path.with_name(self.path.name + ".bak"), self.path.read_bytes())
            _write_whole(self.path, text.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be written: {error.strerror or error}; nothing changed") from error
        self._file = content


def _load(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError("not an object of settings")
    return content


def _migrated(content: dict[str, Any]) -> dict[str, Any]:
    """Settings of older A1111 versions also under the keys they have now; the old ones stay."""
    moved: dict[str, Any] = {}
    if isinstance(content.get("sd_vae_as_default"), bool):
        moved["sd_vae_overrides_per_model_preferences"] = not content["sd_vae_as_default"]
    for old, new in (("quicksettings", "quicksettings_list"), ("ui_reorder", "ui_reorder_list")):
        if isinstance(content.get(old), str):
            moved[new] = [name.strip() for name in content[old].split(",") if name.strip()]
    return {**moved, **content}


def _write_whole(path: Path, content: bytes) -> None:
    """Replace a file at once: a reader sees the old or the new one, and a crash leaves one of them."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _same(one: object, other: object) -> bool:
    """Equal and of one kind: 7 and 7.0 differ, since infotext shows them apart."""
    return one == other and type(one) is type(other)


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _from_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _listed(text: str | None) -> frozenset[str]:
    return frozenset(name.strip() for name in (text or "").split(",") if name.strip())
