"""Infotext of a picture: A1111's text, a pure function of the plan and of what only the run could tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modules.generation.plan import ImagePlan, Plan
from modules.infotext.fields import BASE, EXTRAS, LAST, SCRIPTS, Field, by_label


def infotext(plan: Plan, image_index: int, facts: Mapping[str, Any] | None = None) -> str:
    """The infotext of the picture `plan.images[image_index]`.

    `facts` are keys and values that only the run knows (LoRA hashes, "Pad conds" …). A known key is written at its
    place in A1111's order and replaces what the plan says; None or "" takes it off. Unknown keys follow the known ones
    in the order given. The same goes for `plan.script_infotext`, whose unknown keys come first among the extra keys.
    """
    image = plan.images[image_index]
    return _assemble(plan, image, image.prompt, image.negative_prompt, facts or {})


def grid_infotext(plan: Plan, facts: Mapping[str, Any] | None = None) -> str:
    """The infotext of a grid: the main prompt with the first picture's seeds."""
    return _assemble(plan, plan.images[0], plan.main_prompt, plan.main_negative_prompt, facts or {})


def applied(plan: Plan, *labels: str, image_index: int = 0) -> dict[str, Any]:
    """Facts for keys that are only written once the run has found them to apply, with the plan's values.

    `applied(plan, "NGMS", "NGMS all steps")` gives {"NGMS": 3.0}; a key that the plan has no value for is left out.
    Raises KeyError for a key that is not in the table.
    """
    fields = by_label()
    values = {label: _value(fields[label], plan, plan.images[image_index]) for label in labels}
    return {label: value for label, value in values.items() if value is not None}


def quote(value: object) -> str:
    """`value` as it stands on the last line: a JSON string if it holds a comma, a colon or a line break."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def last_line(entries: Mapping[str, Any]) -> str:
    """`Key: value, …` of all entries whose value is not None; an entry whose value is its key stands alone."""
    return ", ".join(
        key if key == str(value) else f"{key}: {quote(value)}" for key, value in entries.items() if value is not None
    )


def with_keys(infotext: str, keys: Mapping[str, str]) -> str:
    """An infotext with more keys on its last line, before the version that ends it."""
    line = last_line(keys)
    if not infotext or not line:
        return infotext or line
    head, version, tail = infotext.rpartition(", Version: ")
    if not head or "\n" in tail:  # no version is written, or only a prompt speaks of one
        head, version, tail = infotext, "", ""
    return f"{head}, {line}{version}{tail}"


def _assemble(plan: Plan, image: ImagePlan, prompt: str, negative: str, facts: Mapping[str, Any]) -> str:
    added = {**plan.script_infotext, **facts}
    entries: dict[str, Any] = {}
    known = {field.label for field in (*BASE, *SCRIPTS, *EXTRAS, *LAST)}

    def put(fields: tuple[Field, ...]) -> None:
        for field in fields:
            entries[field.label] = added[field.label] if field.label in added else _planned(field, plan, image)

    put(BASE)
    entries.update({key: value for key, value in plan.script_infotext.items() if key not in known})
    put(SCRIPTS + EXTRAS)
    entries.update({key: value for key, value in facts.items() if key not in known})
    put(LAST)
    line = last_line({key: None if value == "" else value for key, value in entries.items()})
    negative_line = f"\nNegative prompt: {negative}" if negative else ""
    return f"{prompt}{negative_line}\n{line}".strip()


def _planned(field: Field, plan: Plan, image: ImagePlan) -> Any:
    return None if field.on_run else _value(field, plan, image)


def _value(field: Field, plan: Plan, image: ImagePlan) -> Any:
    value = field.write(plan, image) if field.write is not None else None
    return None if value == "" else value
