"""Writing results: one file at once, never over another, where and under the name that A1111 would choose."""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from modules.errors import SavingError
from modules.generation.events import ImageDone
from modules.generation.plan import Plan
from modules.images import formats
from modules.images.data import ImageData
from modules.outputs.naming import Namer, NameRules, Subject, component, cut_to_bytes
from modules.settings.saving import SavingOptions

if TYPE_CHECKING:
    from modules.outputs.history import History

log = logging.getLogger(__name__)

SUFFIXES = {
    "sample": "",
    "grid": "",
    "mask": "-mask",
    "mask_composite": "-mask-composite",
    "before_hires": "-before-highres-fix",
    "before_color_correction": "-before-color-correction",
    "before_face_restoration": "-before-face-restoration",
    "init": "",
}
"""What is put after the name, by the picture's role."""

_TRIES = 500


@dataclass(frozen=True)
class SavedImage:
    """A written picture. `notices` say what had to be done differently than asked, such as PNG for a too large JPEG."""

    path: Path
    infotext: str
    width: int
    height: int
    size_bytes: int
    text_path: Path | None = None
    small_copy: Path | None = None
    notices: tuple[str, ...] = ()


class OutputStore:
    """Saves results below the data folder and, given a history, indexes them.

    Any number of threads and processes may save into the same folders. `style_texts` looks up the prompt of a style by
    name, for the pattern [prompt_no_styles].
    """

    def __init__(
        self,
        data_path: Path,
        *,
        history: History | None = None,
        rules: NameRules = NameRules(),  # noqa: B008  frozen
        style_texts: Callable[[str], str] = lambda name: "",
    ) -> None:
        self.data_path = data_path
        self.history = history
        self.rules = rules
        self._style_texts = style_texts

    def save(self, event: ImageDone, plan: Plan, *, job_started: datetime | None = None) -> SavedImage:
        """Write a finished picture by the plan's saving options.

        Raises SavingError when it cannot be written; nothing half-written stays behind, and the picture is still in
        `event`.
        """
        options = SavingOptions.of(plan.saving.options)
        is_grid = event.role == "grid"
        subject = Subject(
            width=event.width,
            height=event.height,
            plan=plan,
            index=event.index,
            seed=event.seed,
            prompt=event.prompt,
            negative_prompt=event.negative_prompt,
            basename=event.basename or ("grid" if is_grid else ""),
            image=event.image.open,
            style_texts=tuple(self._style_texts(name) for name in plan.styles),
            user=plan.saving.owner,
            prompt_words=options.directories_max_prompt_words,
            job_started=job_started or datetime.now(),
        )
        extension = _extension(options.grid_format if is_grid else options.samples_format)
        if event.role == "init":
            return self._save_init(event, options, plan.saving.owner)
        folder = self.folder(plan.saving.kind, options, is_grid=is_grid, owner=plan.saving.owner)
        in_subfolder = options.grid_save_to_dirs if is_grid else options.save_to_dirs
        if in_subfolder and plan.saving.kind != "extras":
            folder /= Namer(subject, self.rules).folder(options.directories_filename_pattern or "[prompt_words]")
        decorated = not is_grid or options.grid_extended_filename or bool(event.basename)
        saved = self.write(
            event.image,
            event.infotext,
            folder=folder,
            extension=extension,
            options=options,
            subject=subject,
            decorated=decorated and plan.saving.kind != "extras",
            suffix=SUFFIXES.get(event.role, f"-{component(event.role)}"),
        )
        if self.history is not None:
            self.history.add(saved, event=event, plan=plan)
        return saved

    def folder(self, kind: str, options: SavingOptions, *, is_grid: bool = False, owner: str | None = None) -> Path:
        """The root folder of a kind of results ("txt2img", "img2img", "extras"), below the data folder or absolute.

        Somebody with a login has a folder of that name there: outputs/anna/txt2img-images.
        """
        if is_grid:
            named = options.outdir_grids or (
                options.outdir_img2img_grids if kind == "img2img" else options.outdir_txt2img_grids
            )
        else:
            own = {"img2img": options.outdir_img2img_samples, "extras": options.outdir_extras_samples}
            named = options.outdir_samples or own.get(kind, options.outdir_txt2img_samples)
        return self._rooted(named, owner)

    def _rooted(self, named: str, owner: str | None) -> Path:
        folder = Path(named).expanduser()
        if owner is None:
            return self.data_path / folder
        name = component(owner) or "user"
        if folder.is_absolute() or len(folder.parts) < 2:
            return self.data_path / folder / name
        return self.data_path / folder.parts[0] / name / Path(*folder.parts[1:])

    def write(
        self,
        image: ImageData,
        infotext: str,
        *,
        folder: Path,
        extension: str,
        options: SavingOptions,
        subject: Subject,
        decorated: bool = True,
        suffix: str = "",
        forced_name: str | None = None,
    ) -> SavedImage:
        """Write one picture into `folder` under the next free name, with its companions.

        `decorated` puts the pattern of the settings into the name. `forced_name` is a whole name without extension,
        replaced if it exists (Extras in batches). Raises SavingError.
        """
        content, extension, notices = _encoded(image, infotext, extension, options)
        decoration = ""
        if decorated and subject.seed is not None and forced_name is None:
            pattern = options.samples_filename_pattern or (
                "[seed]" if options.save_to_dirs else "[seed]-[prompt_spaces]"
            )
            decoration = Namer(subject, self.rules).file_name(pattern)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if forced_name is not None:
                path = folder / f"{cut_to_bytes(component(forced_name) or 'image', extension)}{extension}"
                _write(content, path, overwrite=True)
            elif options.save_images_add_number or not decoration:
                names = _numbered(folder, component(subject.basename), decoration, suffix)
                path = _write_free(content, folder, names, extension)
            else:
                overwrite = options.save_images_replace_action == "Replace"
                stem = "-".join(filter(None, (component(subject.basename), decoration))) + suffix
                names = itertools.chain((stem,), (f"{stem}-{count}" for count in itertools.count(1)))
                if overwrite:
                    path = folder / f"{cut_to_bytes(stem, extension)}{extension}"
                    _write(content, path, overwrite=True)
                else:
                    path = _write_free(content, folder, names, extension)
            text_path = None
            if options.save_txt and infotext:
                text_path = path.with_suffix(".txt")
                _write((infotext + "\n").encode("utf-8", "replace"), text_path, overwrite=True)
            small_copy = _small_copy(image, infotext, path, len(content), options)
        except OSError as error:
            raise SavingError(_in_words(error, folder, len(content))) from error
        return SavedImage(
            path=path,
            infotext=infotext,
            width=subject.width,
            height=subject.height,
            size_bytes=len(content),
            text_path=text_path,
            small_copy=small_copy,
            notices=notices,
        )

    def _save_init(self, event: ImageDone, options: SavingOptions, owner: str | None) -> SavedImage:
        """A source picture, as a PNG named by the MD5 of its pixels; one that is there already is not written again."""
        folder = self._rooted(options.outdir_init_images, owner)
        image = event.image.open()
        name = hashlib.md5(image.tobytes(), usedforsecurity=False).hexdigest()
        path = folder / f"{name}.png"
        content = formats.encode(image, "png")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                _write(content, path, overwrite=True)
        except OSError as error:
            raise SavingError(_in_words(error, folder, len(content))) from error
        return SavedImage(path, "", image.width, image.height, len(content))


def next_number(folder: Path, basename: str = "") -> int:
    """One more than the largest number in front of a name in `folder`, 0 for none.

    With a base name only files that begin with it and "-" count, without one all do, as in A1111.
    """
    prefix = f"{basename}-" if basename else ""
    largest = -1
    for entry in os.scandir(folder):
        if entry.name.startswith(prefix):
            stem = os.path.splitext(entry.name[len(prefix) :])[0]
            number = stem.split("-", 1)[0]
            if number.isascii() and number.isdigit():
                largest = max(largest, int(number))
    return largest + 1


def _numbered(folder: Path, basename: str, decoration: str, suffix: str) -> Iterator[str]:
    """Names from the next number on: five digits, four after a base name."""
    first = next_number(folder, basename)
    for number in range(first, first + _TRIES):
        numbered = f"{basename}-{number:04}" if basename else f"{number:05}"
        yield (f"{numbered}-{decoration}" if decoration else numbered) + suffix


def _write_free(content: bytes, folder: Path, names: Iterator[str], extension: str) -> Path:
    """Write under the first of `names` that no file has; raises FileExistsError when all tried are taken."""
    temporary = _temporary(content, folder)
    try:
        for name in itertools.islice(names, _TRIES):
            path = folder / f"{cut_to_bytes(name, extension)}{extension}"
            if _claim(temporary, path):
                _sync_folder(folder)
                return path
    finally:
        temporary.unlink(missing_ok=True)
    raise FileExistsError(errno.EEXIST, f"{_TRIES} names were tried and all are taken", str(folder))


def _write(content: bytes, path: Path, *, overwrite: bool) -> None:
    """Write `path` at once: readers see the whole file or what was there before."""
    temporary = _temporary(content, path.parent)
    try:
        if overwrite:
            os.replace(temporary, path)
        elif not _claim(temporary, path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _temporary(content: bytes, folder: Path) -> Path:
    """A file with `content`, on the disk, under a name that nobody else uses or lists."""
    path = folder / f".{os.getpid()}-{threading.get_ident()}-{os.urandom(4).hex()}.tmp"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _claim(temporary: Path, path: Path) -> bool:
    """Give the temporary file the name `path`; False when the name is taken. Nothing is ever overwritten."""
    try:
        os.link(temporary, path)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
    try:  # a file system without hard links: take the name first, then put the content under it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        return False
    os.replace(temporary, path)
    return True


def _sync_folder(folder: Path) -> None:
    """Put the new name itself on the disk, where folders can be synced (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _encoded(
    image: ImageData, infotext: str, extension: str, options: SavingOptions
) -> tuple[bytes, str, tuple[str, ...]]:
    """The file's bytes, its extension and notices. A PNG that carries its infotext already is taken as it is."""
    embedded = infotext if options.enable_pnginfo else ""
    if extension == ".png" and embedded and image.content.startswith(b"\x89PNG\r\n\x1a\n"):
        return image.content, extension, ()
    opened = image.open()
    problem = formats.why_not(opened, extension, embedded)
    notices = (f"saved as PNG: {problem}",) if problem else ()
    extension = ".png" if problem else extension
    return _encode(opened, embedded, extension, options), extension, notices


def _encode(image: Image.Image, infotext: str, extension: str, options: SavingOptions) -> bytes:
    texts = {formats.PARAMETERS: infotext} if infotext else {}
    return formats.encode(image, extension, texts=texts, quality=options.jpeg_quality, lossless=options.webp_lossless)


def _small_copy(image: ImageData, infotext: str, path: Path, size_bytes: int, options: SavingOptions) -> Path | None:
    """A JPEG beside a file that is too heavy or too large to pass on (`export_for_4chan`); None if not needed."""
    width, height = image.size
    side = options.target_side_length
    is_large = max(width, height) > side
    is_heavy = size_bytes > options.img_downscale_threshold * 1024 * 1024
    if not options.export_for_4chan or path.suffix.lower() in (".jpg", ".jpeg") or not (is_large or is_heavy):
        return None
    picture = image.open()
    if is_large:
        scale = side / max(width, height)
        picture = picture.resize(
            (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS
        )
    embedded = infotext if options.enable_pnginfo and formats.why_not(picture, "jpg", infotext) is None else ""
    copy = path.with_suffix(".jpg")
    _write(_encode(picture, embedded, ".jpg", options), copy, overwrite=True)
    return copy


def _extension(named: str) -> str:
    """A setting's "png" as ".png"; raises SavingError for a format that cannot be written."""
    formats.format_of(named)
    return "." + named.lower().lstrip(".")


def _in_words(error: OSError, folder: Path, needed: int) -> str:
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(folder if folder.exists() else folder.anchor).free
        return (
            f"{folder}: the disk is full ({needed / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free); "
            "free some space or choose another output folder; the picture can still be downloaded"
        )
    reason = error.strerror or str(error)
    return f"{folder}: the picture cannot be written: {reason}; it can still be downloaded"
