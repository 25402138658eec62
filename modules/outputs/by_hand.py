"""The Save and Zip buttons: pictures of the gallery copied into a folder of their own, with a line in `log.csv`."""

from __future__ import annotations

import csv
import io
import os
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from modules.errors import InvalidRequest, SavingError
from modules.generation.events import ImageDone
from modules.generation.plan import Plan
from modules.outputs.naming import Namer, NameRules, Subject
from modules.outputs.store import OutputStore, SavedImage
from modules.settings.saving import SavingOptions

COLUMNS = (
    "prompt", "seed", "width", "height", "sampler", "cfgs", "steps", "filename", "negative_prompt", "sd_model_name",
    "sd_model_hash",
)  # fmt: skip
_ZIP_PATTERN = "[datetime]_[[model_name]]_[seed]-[seed_last]"

_log_lock = threading.Lock()


@dataclass(frozen=True)
class SavedByHand:
    """The files of one click; `archive` is the zip, if one was made."""

    images: tuple[SavedImage, ...]
    archive: Path | None = None

    @property
    def downloads(self) -> tuple[Path, ...]:
        """What is offered for download, the zip first."""
        return (*((self.archive,) if self.archive else ()), *(image.path for image in self.images))


def save_by_hand(
    store: OutputStore,
    events: Sequence[ImageDone],
    plan: Plan,
    *,
    options: SavingOptions,
    selected: int | None = None,
    as_zip: bool = False,
) -> SavedByHand:
    """Save pictures of a gallery into `outdir_save`.

    Only the `selected` one if `save_selected_only` is on and it is no grid, else all. Raises InvalidRequest without any
    picture and SavingError when they cannot be written.
    """
    chosen = _chosen(events, options, selected)
    folder = store.data_path / Path(options.outdir_save).expanduser()
    saved = []
    for event in chosen:
        subject = _subject(event, plan, options)
        into = folder
        if options.use_save_to_dirs_for_ui:
            into = folder / Namer(subject).folder(options.directories_filename_pattern or "[prompt_words]")
        saved.append(
            store.write(
                event.image,
                event.infotext,
                folder=into,
                extension="." + options.samples_format.lower().lstrip("."),
                options=options,
                subject=subject,
                decorated=event.role != "grid" or options.grid_extended_filename,
            )
        )
    try:
        if options.save_write_log_csv:
            _log(folder / "log.csv", chosen[0], plan, saved[0].path.relative_to(folder).as_posix())
        archive = _archive(folder, chosen[0], plan, options, saved, store.rules) if as_zip else None
    except OSError as error:
        raise SavingError(f"{folder}: {error.strerror or error}; the pictures themselves were saved") from error
    return SavedByHand(tuple(saved), archive)


def _chosen(events: Sequence[ImageDone], options: SavingOptions, selected: int | None) -> Sequence[ImageDone]:
    if not events:
        raise InvalidRequest("there is no picture to save yet")
    if selected is None or not options.save_selected_only or not 0 <= selected < len(events):
        return events
    return events if events[selected].role == "grid" else events[selected : selected + 1]


def _subject(event: ImageDone, plan: Plan, options: SavingOptions, *, is_zip: bool = False) -> Subject:
    return Subject(
        width=event.width,
        height=event.height,
        plan=plan,
        index=event.index,
        seed=event.seed,
        prompt=event.prompt,
        negative_prompt=event.negative_prompt,
        basename="grid" if event.role == "grid" and not is_zip else "",
        image=event.image.open,
        user=plan.saving.owner,
        is_zip=is_zip,
        prompt_words=options.directories_max_prompt_words,
    )


def _archive(
    folder: Path, first: ImageDone, plan: Plan, options: SavingOptions, saved: Sequence[SavedImage], rules: NameRules
) -> Path:
    """A zip of the files, under a name of its own."""
    namer = Namer(_subject(first, plan, options, is_zip=True), rules)
    stem = namer.file_name(options.grid_zip_filename_pattern or _ZIP_PATTERN) or f"{datetime.now():%Y%m%d%H%M%S}"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
        for image in saved:
            archive.write(image.path, image.path.name)
    for count in range(1000):
        path = folder / (f"{stem}-{count}.zip" if count else f"{stem}.zip")
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                file.write(content.getvalue())
            return path
        except FileExistsError:
            continue
    raise SavingError(f"{folder}: a thousand zip files are named {stem} already; choose another pattern for zip files")


def _log(path: Path, event: ImageDone, plan: Plan, file_name: str) -> None:
    """Add a line about the first picture of a click; files of older versions get the missing columns."""
    row = {
        "prompt": event.prompt,
        "seed": event.seed,
        "width": event.width,
        "height": event.height,
        "sampler": plan.sampling.sampler,
        "cfgs": plan.sampling.cfg_scale,
        "steps": plan.sampling.steps,
        "filename": file_name,
        "negative_prompt": event.negative_prompt,
        "sd_model_name": plan.model.name,
        "sd_model_hash": plan.model.short_hash or "",
    }
    with _log_lock:
        _add_missing_columns(path)
        is_new = not path.exists()
        with path.open("a", encoding="utf-8", errors="replace", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(COLUMNS)
            writer.writerow([row[column] for column in COLUMNS])


def _add_missing_columns(path: Path) -> None:
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if not rows or len(rows[0]) >= len(COLUMNS):
        return
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        padded = [row + [""] * (len(COLUMNS) - len(row)) for row in rows[1:]]
        csv.writer(file).writerows([COLUMNS, *padded])
    os.replace(temporary, path)
