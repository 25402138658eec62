"""Pictures that were there before: a folder of A1111's (or any) results into the history."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modules.errors import InvalidImage
from modules.images.formats import EXTENSIONS
from modules.infotext.files import read_metadata
from modules.infotext.parse import parse
from modules.outputs.history import Entry, History
from modules.settings.saving import SavingPaths

_ROLES = (
    ("-mask-composite", "mask_composite"),
    ("-mask", "mask"),
    ("-before-highres-fix", "before_hires"),
    ("-before-color-correction", "before_color_correction"),
    ("-before-face-restoration", "before_face_restoration"),
)
_BATCH = 200


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is: files looked at, pictures indexed, and files that cannot be read as pictures."""

    seen: int
    added: int
    unreadable: tuple[str, ...]


def import_folder(history: History, folder: Path, *, owner: str) -> Iterator[ImportProgress]:
    """Index every picture below `folder`; yields after each batch, so that it can be watched and given up.

    Files that are known and unchanged are passed over, so doing it again is quick. Hidden folders are left alone.
    """
    known = history.known_files()
    seen, added, unreadable = 0, 0, []
    files = _pictures_below(folder)
    while batch := list(itertools.islice(files, _BATCH)):
        entries = []
        for path in batch:
            try:
                if known.get(history.relative(path)) == path.stat().st_mtime_ns:
                    continue
                entries.append(read_entry(path, owner=owner))
            except (InvalidImage, OSError):  # damaged, not for us to read, or gone in the meantime
                unreadable.append(str(path))
        history.add_entries(entries)
        seen, added = seen + len(batch), added + len(entries)
        yield ImportProgress(seen, added, tuple(unreadable))


def output_folders(data_path: Path, options: SavingPaths) -> dict[Path, str]:
    """The folders that hold results, each with whose they are: outputs/anna/txt2img-images is anna's.

    In a folder that is not below another one (an absolute path, say) logins cannot be told apart: it is nobody's.
    """
    found: dict[Path, str] = {}
    for key in SavingPaths.model_fields:
        named = Path(getattr(options, key)).expanduser()
        if not named.parts:
            continue
        found[data_path / named] = ""
        if not named.is_absolute() and len(named.parts) > 1:
            above, rest = data_path / named.parts[0], Path(*named.parts[1:])
            found |= {folder / rest: folder.name for folder in above.glob("*") if (folder / rest).is_dir()}
    return {folder: owner for folder, owner in found.items() if folder.is_dir()}


def read_entry(path: Path, *, owner: str) -> Entry:
    """What a picture file tells about itself; raises InvalidImage for what is none, OSError for what cannot be read."""
    status = path.stat()
    metadata = read_metadata(path.read_bytes())
    text = parse(metadata.meant or "")
    values = text.values
    return Entry(
        path=path,
        owner=owner,
        created=status.st_mtime,
        modified_ns=status.st_mtime_ns,
        size_bytes=status.st_size,
        width=metadata.width,
        height=metadata.height,
        kind=_kind(path, values),
        role=_role(path),
        seed=_whole(values.get("Seed")),
        steps=_whole(values.get("Steps")),
        model=values.get("Model", ""),
        sampler=values.get("Sampler", ""),
        prompt=text.prompt,
        negative_prompt=text.negative_prompt,
        infotext=metadata.meant or "",
    )


def _pictures_below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith("."):
                yield Path(parent, name)


def _kind(path: Path, values: dict[str, str]) -> str:
    """By A1111's folder names, else by what only img2img writes."""
    for part in path.parts:
        for kind in ("txt2img", "img2img", "extras"):
            if part in (f"{kind}-images", f"{kind}-grids"):
                return kind
    is_img2img = "Denoising strength" in values and not any(key.startswith("Hires ") for key in values)
    return "img2img" if is_img2img else "txt2img"


def _role(path: Path) -> str:
    for suffix, role in _ROLES:
        if path.stem.endswith(suffix):
            return role
    return "grid" if path.name.startswith(("grid-", "xyz_grid-", "prompt_matrix-")) else "sample"


def _whole(text: str | None) -> int | None:
    """A number that SQLite can hold, or None."""
    try:
        number = int(text or "")
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None
