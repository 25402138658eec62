"""What the front does with a picture that a worker made: saves it where the settings say, and finds its bytes again."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from modules.errors import SavingError
from modules.generation.events import ImageDone
from modules.generation.plan import Plan
from modules.jobs.blobs import BlobStore
from modules.jobs.feed import Feeds
from modules.jobs.record import Job, Result, new_result_id
from modules.jobs.runner import media_type
from modules.outputs.history import History
from modules.outputs.last import keep_parameters
from modules.outputs.store import OutputStore

log = logging.getLogger(__name__)


class Pictures:
    """The pictures of all jobs: files below `data_dir` or elsewhere, blobs, and what a full disk left in memory."""

    def __init__(
        self,
        data_dir: Path,
        *,
        outputs: OutputStore,
        history: History,
        blobs: BlobStore,
        feeds: Feeds,
        history_owner: Callable[[str], str],
        keeps_last_parameters: bool,
        tells_console: Callable[[], bool] = lambda: False,
    ) -> None:
        """`history_owner` says whose a job's owner's pictures are in the history; "" means nobody else is here.

        While `tells_console`, the parameters of every picture are logged.
        """
        self._data_dir = data_dir
        self._outputs = outputs
        self._history = history
        self._blobs = blobs
        self._feeds = feeds
        self._history_owner = history_owner
        self._keeps_last_parameters = keeps_last_parameters
        self._tells_console = tells_console
        self._unwritten: dict[str, bytes] = {}

    def keep(self, job: Job, plan: Plan, image: ImageDone) -> Result:
        """Save a picture where the settings say; what is not to be saved, or cannot be, stays downloadable here."""
        is_alone = not self._history_owner(job.owner)  # else somebody else would read them
        if image.role == "sample" and image.index == 0 and is_alone and self._keeps_last_parameters:
            keep_parameters(self._data_dir, image.infotext)
        if self._tells_console():
            log.info("%s", image.infotext)
        problem = ""
        if image.saved:
            try:
                saved = self._outputs.save(image, plan, job_started=datetime.fromtimestamp(job.started or time.time()))
            except SavingError as error:
                problem = str(error)
                log.error("%s", problem)
            else:
                indexed = plan.saving.model_copy(update={"owner": self._history_owner(job.owner)})
                try:
                    self._history.add(saved, event=image, plan=plan.model_copy(update={"saving": indexed}))
                except sqlite3.Error as error:  # the picture is safe; the gallery can read it from its folder later
                    log.error("%s is not in the gallery's index: %s", saved.path, error)
                    self._feeds.say(job.id, "notice", {"message": f"the gallery does not show this picture: {error}"})
                for notice in saved.notices:
                    self._feeds.say(job.id, "notice", {"message": notice})
                path = saved.path
                shown = path.relative_to(self._data_dir) if path.is_relative_to(self._data_dir) else path
                return _new_result(job, image, path=shown.as_posix())
        result = _new_result(job, image, saving_error=problem)
        try:
            return result.replace(blob=self._blobs.put(image.image.content))
        except OSError as error:  # the disk is full: memory is what is left, until the program ends
            log.error("%s", error)
            self._unwritten[result.id] = image.image.content
            return result.replace(saving_error=problem or f"the picture could not be kept on disk: {error}")

    def read(self, result: Result) -> bytes:
        """The bytes of a picture's file; raises FileNotFoundError when it was deleted."""
        if result.path is not None:
            return (self._data_dir / result.path).read_bytes()
        if result.blob is not None:
            return self._blobs.get(result.blob)
        if result.id in self._unwritten:
            return self._unwritten[result.id]
        raise FileNotFoundError(f"the picture {result.id} could not be written when it was made, and is lost now")

    def folder(self, result: Result) -> Path | None:
        """Where a picture's file lies; None for one that is in memory alone."""
        if result.path is not None:
            return (self._data_dir / result.path).parent
        return self._blobs.folder_of(result.blob) if result.blob is not None else None

    def can_be_read(self, results: Sequence[Result]) -> bool:
        """Whether the files of all these pictures are still there."""
        try:
            return all(self.read(result) for result in results)
        except OSError:
            return False


def _new_result(job: Job, image: ImageDone, **where: Any) -> Result:
    """The row for a picture that a worker made."""
    return Result(
        id=new_result_id(),
        job=job.id,
        role=image.role,
        index=image.index,
        seed=image.seed,
        subseed=image.subseed,
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        width=image.width,
        height=image.height,
        infotext=image.infotext,
        shown=image.shown,
        media_type=media_type(image.image.content),
        **where,
    )
