"""Whether a value fits a setting: type, bounds and choices, with a message that names the setting."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from modules.errors import InvalidRequest, UnknownName
from modules.registry import did_you_mean
from modules.settings.option import Section
from modules.settings.schema import Settings


def check(key: str, value: object, *, among: Mapping[str, FieldInfo] | None = None) -> Any:
    """`value` as the setting `key` keeps it: whole numbers and floats are interchangeable, lists become tuples.

    `among` are the settings there are (default: all of `Settings`). Raises UnknownName for a key there is not and
    InvalidRequest for a value that does not fit, with the key as `field`.
    """
    fields = Settings.model_fields if among is None else among
    field = fields.get(key)
    if field is None:
        raise UnknownName(f'no setting named "{key}"{did_you_mean(key, tuple(fields))}', field=key)
    try:
        checked = _adapter(key, _Identity(field)).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise InvalidRequest(f"setting {key}: {_shown(value)} does not fit: {problem}", field=key) from error
    choices = choices_of(field)
    for one in checked if isinstance(checked, tuple) else (checked,):
        if choices and one not in choices:
            raise InvalidRequest(
                f"setting {key}: {_shown(one)} is not among the choices{did_you_mean(str(one), choices)}", field=key
            )
    return checked


def with_overrides(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """`settings` with some values replaced, each checked; raises as `check` does, naming `overrides.<key>`."""
    checked = {}
    for key, value in overrides.items():
        try:
            checked[key] = check(key, value)
        except InvalidRequest as error:
            raise type(error)(str(error), field=f"overrides.{key}") from error
    return settings.model_copy(update=checked)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The closed set of texts a setting may have, or nothing."""
    extra = field.json_schema_extra
    return tuple(extra.get("choices", ())) if isinstance(extra, dict) else ()  # type: ignore[arg-type]


def why_without_effect(field: FieldInfo) -> str:
    """Why nothing reads a setting, in words; "" for one that has an effect."""
    extra = field.json_schema_extra
    return str(extra.get("no_effect", "")) if isinstance(extra, dict) else ""


def section_of(key: str, sections: tuple[type[Section], ...]) -> type[Section] | None:
    """The page of the Settings tab that a setting is on."""
    return next((section for section in sections if key in section.model_fields), None)


class _Identity:
    """A field as a dictionary key: the same field object, nothing else."""

    def __init__(self, field: FieldInfo) -> None:
        self.field = field

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.field is self.field

    def __hash__(self) -> int:
        return id(self.field)


@cache
def _adapter(key: str, field: _Identity) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[field.field.annotation, field.field], config=ConfigDict(allow_inf_nan=False))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
