"""Model files as cards: name, preview, description, what a click inserts, and the notes people keep. No torch.

A1111's rules (behaviour reference 8.12, 11.7). The notes live in `<stem>.json` beside the file, previews in
`<stem>.png` or `<stem>.preview.png`; keys of that JSON which other programs wrote are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from modules.errors import InvalidRequest, SavingError
from modules.images.data import ImageData
from modules.models import sidecars
from modules.models.catalog import PREDICTIONS, Catalog
from modules.models.files import CheckpointFile, LoraFile, ModelFile

Kind = Literal["textual_inversion", "hypernetworks", "checkpoints", "lora"]
KINDS: tuple[Kind, ...] = get_args(Kind)

VERSIONS = ("SD1", "SD2", "SDXL", "Unknown")
_VERSION_OF_FAMILY = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL", "sd3": "SD3"}
_PREVIEW_ENDING = {
    "textual_inversion": ".preview.png", "hypernetworks": ".preview.png", "checkpoints": ".png", "lora": ".png",
}  # fmt: skip
AUTOMATIC, NO_BASE = "Automatic", "None"
_TAGS_SHOWN = 200
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class CardRules:
    """The settings that decide what cards insert."""

    multiplier: float = 1.0
    prefers_alias: bool = True


@dataclass(frozen=True)
class Card:
    """One model file on a page of cards.

    `id` stands for the file in requests, so that no path ever comes from a browser. A click inserts `prompt` and
    `negative`, or chooses the checkpoint titled `title`, which a drop-down may show as `short_title`. `preview_ns` is
    when the preview was made, None when there is none. `version` is what a LoRA was made for, else "".
    """

    id: str
    name: str
    path: str
    folder: str
    search: str
    description: str
    preview_ns: int | None
    has_metadata: bool
    is_hidden: bool
    created: float
    modified: float
    size: int
    prompt: str = ""
    negative: str = ""
    title: str = ""
    short_title: str = ""
    version: str = ""


class Cards:
    """The cards of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def files(self, kind: Kind) -> tuple[ModelFile, ...]:
        """The files of a kind, in the catalog's order."""
        catalog = self._catalog
        if kind == "checkpoints":
            return catalog.checkpoints
        if kind == "lora":
            return catalog.loras
        return catalog.embeddings if kind == "textual_inversion" else catalog.hypernetworks

    def find(self, kind: Kind, card_id: str) -> ModelFile | None:
        """The file that a card stands for; None when it is not there (any more)."""
        return next((file for file in self.files(kind) if id_of(file) == card_id), None)

    def all(self, kind: Kind, rules: CardRules) -> list[Card]:
        """The cards of a kind. Reads what lies beside each file, and nothing of the files but LoRAs' headers."""
        files = self.files(kind)
        aliases = Counter(file.alias.casefold() for file in files if isinstance(file, LoraFile))
        return [self._card(file, kind, rules, aliases) for file in files]

    def _card(self, file: ModelFile, kind: Kind, rules: CardRules, aliases: Counter[str]) -> Card:
        notes = sidecars.user_metadata(file.path)
        status = file.path.stat()
        card = {
            "id": id_of(file),
            "name": file.stem,
            "path": file.name,
            "folder": _folder(file),
            "search": file.name,
            "description": sidecars.description_of(file.path),
            "preview_ns": preview.stat().st_mtime_ns if (preview := file.preview) else None,
            "has_metadata": file.path.suffix.lower() == ".safetensors",
            "is_hidden": file.is_hidden,
            "created": status.st_ctime,
            "modified": status.st_mtime,
            "size": file.size,
        }
        if isinstance(file, CheckpointFile):
            card |= {"title": file.title, "short_title": file.short_title, "search": f"{file.name} {file.sha256 or ''}"}
        elif isinstance(file, LoraFile):
            card |= _lora_texts(file, notes, rules, aliases)
            card["version"] = _version(file, notes)
            card["has_metadata"] = bool(file.metadata)
        elif kind == "hypernetworks":
            card["prompt"] = f"<hypernet:{file.stem}:{float(rules.multiplier)}>"
        else:
            card["prompt"] = file.stem
        return Card(**card)

    def details(self, kind: Kind, file: ModelFile) -> dict[str, Any]:
        """What the editor shows: the notes, facts of the file, and for LoRAs the tags they were trained with."""
        notes = sidecars.user_metadata(file.path)
        metadata = self._catalog.metadata(file)
        facts = {"File": file.name, "Size": _size(file.size)}
        if isinstance(file, CheckpointFile):
            facts |= {"Hash": file.short_hash or "", "Family": self._catalog.family_of(file) or ""}
        if isinstance(file, LoraFile):
            facts |= {
                "Alias": file.alias if file.alias != file.stem else "",
                "Base model": metadata.get("ss_sd_model_name", ""),
                "Network": " ".join(
                    metadata[key]
                    for key in ("ss_network_module", "ss_network_dim", "ss_network_alpha")
                    if key in metadata
                ),
            }
        return {
            "name": file.stem,
            "description": sidecars.description_of(file.path),
            "notes": _text(notes.get("notes")),
            "facts": {key: value for key, value in facts.items() if value},
            "activation text": _text(notes.get("activation text")),
            "negative text": _text(notes.get("negative text")),
            "preferred weight": _weight(notes.get("preferred weight")),
            "sd version": notes["sd version"] if notes.get("sd version") in VERSIONS else _guess(file),
            "vae": _text(notes.get("vae")) or "Automatic",
            "vaes": ["Automatic", "None", *self._catalog.vaes] if kind == "checkpoints" else [],
            "prediction type": notes["prediction type"] if notes.get("prediction type") in PREDICTIONS else AUTOMATIC,
            "prediction types": [AUTOMATIC, *PREDICTIONS] if kind == "checkpoints" else [],
            "base checkpoint": _text(notes.get("base checkpoint")) or NO_BASE,
            "bases": self._bases_for(file) if isinstance(file, CheckpointFile) else [],
            "tags": _training_tags(metadata),
        }

    def _bases_for(self, file: CheckpointFile) -> list[str]:
        """The names of checkpoints that may lend what one lacks; [] for a whole one that names no base."""
        is_whole = self._catalog.is_whole(file) and not sidecars.user_metadata(file.path).get("base checkpoint")
        return [] if is_whole else [NO_BASE, *(one.name for one in self._catalog.checkpoints if one != file)]

    def fitting_version(self, checkpoint: str) -> str | None:
        """The version of LoRAs that fit a checkpoint, by its title; None when its family is not known."""
        found = next((file for file in self._catalog.checkpoints if checkpoint in file.aliases()), None)
        return _VERSION_OF_FAMILY.get(self._catalog.family_of(found) or "") if found else None


def id_of(file: ModelFile) -> str:
    """Sixteen hex digits that stand for a file's place."""
    return hashlib.sha256(os.fsencode(file.path.absolute())).hexdigest()[:16]


def save_notes(kind: Kind, file: ModelFile, values: Mapping[str, Any]) -> None:
    """Write the editor's values into `<stem>.json`; raises InvalidRequest for values of another form, SavingError."""
    notes = dict(sidecars.user_metadata(file.path))
    texts = ["description", "notes"]
    if kind == "lora":
        texts += ["activation text", "negative text"]
        if (version := values.get("sd version")) is not None:
            if version not in VERSIONS:
                raise InvalidRequest(f'"{version}" is no version of Stable Diffusion; there is {", ".join(VERSIONS)}')
            notes["sd version"] = version
        if (weight := values.get("preferred weight")) is not None:
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 2:
                raise InvalidRequest(f"a preferred weight is a number from 0 to 2, not {weight!r}")
            notes["preferred weight"] = weight
    if kind == "checkpoints":
        texts.append("vae")
        if (prediction := values.get("prediction type")) is not None:
            if prediction not in (AUTOMATIC, *PREDICTIONS):
                raise InvalidRequest(f"a prediction type is one of {AUTOMATIC}, {', '.join(PREDICTIONS)}")
            notes["prediction type"] = prediction
        if (base := values.get("base checkpoint")) is not None:
            texts.append("base checkpoint")
            values = {**values, "base checkpoint": "" if base == NO_BASE else base}
    for key in texts:
        if (text := values.get(key)) is not None:
            if not isinstance(text, str):
                raise InvalidRequest(f"{key}: a text is wanted, not {text!r}")
            notes[key] = text
    content = json.dumps(notes, indent=4, ensure_ascii=False).encode("utf-8")
    _replace(Path(f"{sidecars.base_of(file.path)}.json"), content)


def save_preview(kind: Kind, file: ModelFile, picture: ImageData) -> None:
    """Make a picture the preview of a file, as PNG; raises SavingError, InvalidImage, and never touches the file.

    PNG comes first among the names that are looked for, so an older preview of another format stays and is not shown.
    """
    target = Path(f"{sidecars.base_of(file.path)}{_PREVIEW_ENDING[kind]}")
    if target == file.path:
        raise InvalidRequest(f"{file.name} is itself a picture, and that is its preview")
    image = picture.open()
    _replace(target, picture.content if picture.content.startswith(_PNG) else ImageData.from_image(image).content)


def _lora_texts(file: LoraFile, notes: Mapping[str, Any], rules: CardRules, aliases: Counter[str]) -> dict[str, str]:
    alias_is_clear = file.alias.casefold() not in ("none", "addams") and aliases[file.alias.casefold()] == 1
    name = file.alias if rules.prefers_alias and alias_is_clear else file.stem
    activation, negative = _text(notes.get("activation text")), _text(notes.get("negative text"))
    tag = f"<lora:{name}:{float(_weight(notes.get('preferred weight')) or rules.multiplier)}>"
    return {"prompt": f"{tag} {activation}" if activation else tag, "negative": f"({negative}:1)" if negative else ""}


def _version(file: LoraFile, notes: Mapping[str, Any]) -> str:
    stated = notes.get("sd version")
    return stated if stated in VERSIONS and stated != "Unknown" else file.version


def _guess(file: ModelFile) -> str:
    return file.version if isinstance(file, LoraFile) else "Unknown"


def _folder(file: ModelFile) -> str:
    parent = PurePosixPath(file.name).parent.as_posix()
    return "" if parent == "." else parent


def _text(value: Any) -> str:  # foreign JSON
    return value if isinstance(value, str) else ""


def _weight(value: Any) -> float:  # foreign JSON
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value <= 2 else 0.0


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GB" if count >= 2**30 else f"{count / 2**20:.1f} MB"


def _training_tags(metadata: Mapping[str, str]) -> list[list[Any]]:
    """[tag, count] of kohya's `ss_tag_frequency`, most first."""
    try:
        folders = json.loads(metadata.get("ss_tag_frequency", "{}"))
    except ValueError:  # cut off, or written by something else
        return []
    counts: Counter[str] = Counter()
    for tags in folders.values() if isinstance(folders, dict) else ():
        if isinstance(tags, dict):
            counts.update({str(tag).strip(): count for tag, count in tags.items() if isinstance(count, int)})
    return [[tag, count] for tag, count in counts.most_common(_TAGS_SHOWN) if tag]


def folders_of(cards: Iterable[Card]) -> dict[str, int]:
    """Every folder with the number of cards in it and below, in order."""
    counts: Counter[str] = Counter()
    for card in cards:
        parts = card.folder.split("/") if card.folder else []
        counts.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    return dict(sorted(counts.items(), key=lambda item: item[0].casefold()))


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SavingError(f"{path} cannot be written: {error.strerror or error}") from error
