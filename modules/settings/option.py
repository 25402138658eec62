"""One setting and one page of settings: the building blocks of the schema."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
"""A colour as "#rrggbb"."""

Number = int | float
"""A number that stays as it was written: infotext shows 7 and 7.0 apart, as A1111 does."""


class Section(BaseModel):
    """One page of the Settings tab: a frozen set of settings under A1111's keys.

    `title` and `page` (A1111's section id) are given where a section is defined:
    `class Vae(Section, title="VAE", page="vae")`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    section_title: ClassVar[str] = ""
    section_page: ClassVar[str] = ""

    def __init_subclass__(cls, *, page: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # pydantic takes `title` for itself, as the title in the model's configuration
        cls.section_title, cls.section_page = cls.model_config.get("title") or "", page


def option(
    default: Any,  # a default may be of any JSON type
    label: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    limit: float | None = None,
    step: float | None = None,
    choices: tuple[str, ...] = (),
    infotext: str | None = None,
    reload: bool = False,
    no_effect: str = "",
) -> Any:  # pydantic's own convention for a field specifier
    """A setting with its label and what the Settings tab needs to draw it.

    `infotext` is the key under which a picture's metadata carries the setting; `reload` says that the page must be
    built anew before the setting shows. `minimum` and `maximum` bound the control and are enforced on every write;
    where a `limit` above the maximum is given, that is enforced and the maximum is the control's alone (A1111's API
    takes values that its sliders do not reach). `no_effect` says why nothing here reads the setting, which is there so
    that A1111's config.json and clients find it.
    """
    shown = {"step": step, "choices": choices, "infotext": infotext, "reload": reload, "no_effect": no_effect}
    if limit is not None:
        shown["maximum"] = maximum
    return Field(
        default,
        title=label,
        ge=minimum,
        le=maximum if limit is None else limit,
        json_schema_extra={key: list(v) if isinstance(v, tuple) else v for key, v in shown.items() if v},
    )
