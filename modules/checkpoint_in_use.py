"""The checkpoint that the settings name: loaded before it is asked for; one that cannot be loaded gives way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from modules import errors
from modules.errors import WebuiError
from modules.jobs.process import WorkerProcess
from modules.models.catalog import Catalog
from modules.settings.schema import Settings
from modules.settings.store import SettingsStore

log = logging.getLogger(__name__)


class CheckpointInUse:
    """What the worker has loaded beside its jobs, following the settings `sd_model_checkpoint` and `sd_vae`."""

    def __init__(
        self,
        catalog: Catalog,
        settings: SettingsStore,
        process: Callable[[], WorkerProcess | None],
        *,
        is_preloaded: bool,
    ) -> None:
        """`process` gives the worker process there is now; `is_preloaded`: whether a new one loads at its start."""
        self._catalog = catalog
        self._settings = settings
        self._process = process
        self._is_preloaded = is_preloaded
        self._loaded: str | None = None  # title of the checkpoint that was loaded last

    def load(self) -> None:
        """Load the configured checkpoint now; waits for it. Raises WorkerDied, RuntimeError with the reason."""
        if (process := self._process()) is not None:
            self._load(process)

    def preload(self, process: WorkerProcess) -> None:
        """Load the configured checkpoint, so that the first picture need not wait for it."""
        if self._is_preloaded:
            try:
                self._load(process)
            except RuntimeError as error:
                if self._settings.current.sd_model_checkpoint is not None:
                    raise
                self._load_next(process, error)

    def settings_changed(self, settings: Settings, changed: tuple[str, ...]) -> None:
        """Load another checkpoint or VAE as soon as it is chosen, beside whatever the person does next."""
        process = self._process()
        if {"sd_model_checkpoint", "sd_vae"} & set(changed) and process is not None and process.is_ready:
            threading.Thread(target=self._load_quietly, args=(process,), name="load", daemon=True).start()

    def arguments(self, instead: str | None = None) -> dict[str, Any]:
        """The configured checkpoint (or the one named `instead`) and VAE as arguments for a worker's function.

        Raises UnknownName without any.
        """
        settings = self._settings.current
        checkpoints = self._catalog.checkpoints
        ref = self._catalog.find_checkpoint(
            instead or settings.sd_model_checkpoint or (checkpoints[0].title if checkpoints else "")
        )
        options = settings.generation()
        vae = self._catalog.choose_vae(ref, options)
        return {
            "ref": ref.model_dump(mode="json"),
            "vae": vae.model_dump(mode="json") if vae else None,
            "options": options.model_dump(mode="json"),
        }

    def _load_next(self, process: WorkerProcess, why: RuntimeError) -> None:
        """Load and configure the next checkpoint by name: none is configured, and the first cannot be loaded.

        Raises RuntimeError with the reason of the first when the others cannot be loaded either.
        """
        refused, *others = self._catalog.checkpoints
        for other in others:
            try:
                process.call("load", **self.arguments(other.title))
            except RuntimeError as error:
                log.warning("%s", error)
                continue
            log.warning("%s cannot be loaded (%s); %s is used", refused.title, why, other.title)
            self._loaded = other.title
            self._settings.set_many({"sd_model_checkpoint": other.title})
            return
        raise why

    def _load_quietly(self, process: WorkerProcess) -> None:
        """Load what is configured; what cannot be loaded gives way to the checkpoint that was in use, as in A1111."""
        chosen = self._settings.current.sd_model_checkpoint
        try:
            self._load(process)
        except (WebuiError, RuntimeError) as error:  # the worker's report carries it to the page
            log.warning("%s", error)
            if not isinstance(error, errors.WorkerDied):
                self._return_to_loaded(chosen)

    def _return_to_loaded(self, refused: str | None) -> None:
        """Configure the checkpoint that loaded last, unless something else than the refused one was chosen since."""
        loaded = self._loaded
        if loaded in (None, refused) or self._settings.current.sd_model_checkpoint != refused:
            return
        try:
            self._settings.set_many({"sd_model_checkpoint": loaded})
        except WebuiError as error:
            log.warning("%s stays the chosen checkpoint: %s", refused, error)
        else:
            log.warning("%s is used again", loaded)

    def _load(self, process: WorkerProcess) -> None:
        if self._catalog.checkpoints:
            model = self.arguments()
            process.call("load", **model)
            self._loaded = model["ref"]["title"]
