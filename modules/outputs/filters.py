"""Which pictures of the history: filters and search texts as conditions on its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modules.outputs.schema import WORDS

EVERYONE = "*"
"""Instead of an owner: the pictures of all, for whoever may see them."""

_WORD = re.compile(r'"([^"]+)"|(\S+)')
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of languages written without blanks, where a word index finds nothing inside a sentence."""
_TEXTS = tuple(column for column in WORDS if column not in ("seed", "file_name"))
"""What is looked through for them, besides the file's name; no seed has such letters."""


@dataclass(frozen=True)
class Filter:
    """Which pictures. Empty fields do not restrict.

    `text`: every word (or "phrase in quotes") must begin a word of the prompt, the negative prompt, the model's name,
    the file's name, a tag or the seed; `-word` must not.

    `created_from` ≤ created < `created_to`, in seconds since 1970.
    """

    text: str = ""
    model: str = ""
    sampler: str = ""
    lora: str = ""
    tag: str = ""
    kind: str = ""
    role: str = ""
    width: int = 0
    height: int = 0
    seed: int | None = None
    created_from: float | None = None
    created_to: float | None = None
    favourite: bool = False
    trashed: bool = False


def conditions(wanted: Filter, owner: str) -> tuple[str, dict[str, Any]]:
    """A WHERE clause and its values."""
    values: dict[str, Any] = {}
    clauses = ["trashed IS NOT NULL" if wanted.trashed else "trashed IS NULL"]
    if owner != EVERYONE:
        clauses.append("owner = :owner")
        values["owner"] = owner
    for key in ("model", "sampler", "kind", "role", "width", "height"):
        if value := getattr(wanted, key):
            clauses.append(f"pictures.{key} = :{key}")
            values[key] = value
    if wanted.seed is not None:
        clauses.append("seed = :seed")
        values["seed"] = wanted.seed
    for key, sign in (("created_from", ">="), ("created_to", "<")):
        if getattr(wanted, key) is not None:
            clauses.append(f"created {sign} :{key}")
            values[key] = getattr(wanted, key)
    if wanted.favourite:
        clauses.append("favourite = 1")
    for kind in ("lora", "tag"):
        if name := getattr(wanted, kind):
            clauses.append(f"id IN (SELECT picture FROM labels WHERE labels.kind = '{kind}' AND name = :{kind})")
            values[kind] = name
    clauses += _text_conditions(wanted.text, values)
    return " AND ".join(clauses), values


def _text_conditions(text: str, values: dict[str, Any]) -> Iterator[str]:
    """Conditions for a search text: the word index where it can find the words, else a look into every text."""
    indexed = []
    for number, match in enumerate(_WORD.finditer(clean(text))):
        phrase, word = match.groups()
        is_unwanted = bool(word) and word.startswith("-") and len(word) > 1
        term = phrase or (word[1:] if is_unwanted else word)
        if _UNSPACED.search(term) or not any(letter.isalnum() for letter in term):
            escaped = re.sub(r"([\\%_])", r"\\\1", term)
            values[f"text{number}"] = f"%{escaped}%"
            like = f"LIKE :text{number} ESCAPE '\\'"
            found = " OR ".join(f"pictures.{column} {like}" for column in _TEXTS)
            found += f" OR (path {like} AND file_name {like})"  # the name is cut out of few paths
            yield f"NOT ({found})" if is_unwanted else f"({found})"
        elif is_unwanted:
            values[f"text{number}"] = _quoted(term)
            yield f"id NOT IN (SELECT rowid FROM texts WHERE texts MATCH :text{number})"
        else:
            indexed.append(_quoted(term))
    if indexed:
        values["texts"] = " AND ".join(indexed)
        yield "id IN (SELECT rowid FROM texts WHERE texts MATCH :texts)"


def _quoted(term: str) -> str:
    """A word or phrase as FTS5 takes it literally, its last word as a beginning."""
    return '"' + term.replace('"', '""') + '"*'


def clean(value: Any) -> Any:
    """A value that SQLite can hold: no halves of surrogate pairs, no NUL."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
