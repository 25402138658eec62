"""The base of everything that is said about a generation: frozen, serialisable, strict about names."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Choice(str, Enum):
    """A closed set of texts; a member is its text (StrEnum, which Python 3.10 does not have)."""

    __str__ = str.__str__


def storable(text: str) -> str:
    """`text` with halves of surrogate pairs, which no UTF-8 can hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


Text = Annotated[str, AfterValidator(storable)]
"""A person's text: any Unicode, made fit to be stored and sent."""


Name = Annotated[str, Field(max_length=1000)]
"""What something is called: longer is no name, and is not looked for nor remembered."""


class Part(BaseModel):
    """A frozen value that goes through JSON unchanged and refuses fields it does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Size(Part):
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
