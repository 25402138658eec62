"""Tags of extra networks in a prompt: `<lora:name:0.8>`, `<hypernet:name>`, and what their arguments mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from modules.errors import InvalidPrompt

_TAG = re.compile(r"<(\w+):([^>]+)>")
_LORA_KINDS = ("lora", "lyco")


@dataclass(frozen=True)
class ExtraNetwork:
    """One tag. `kind` is the word before the first colon; `name` is "" when the tag has only named arguments."""

    kind: str
    name: str
    positional: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_lora(self) -> bool:
        return self.kind in _LORA_KINDS


@dataclass(frozen=True)
class LoraStrength:
    """How strongly a LoRA acts: on the text encoder, on the UNet, and with how many of its ranks (None: all)."""

    te: float = 1.0
    unet: float = 1.0
    dyn: int | None = None


def parse(prompt: str) -> tuple[str, tuple[ExtraNetwork, ...]]:
    """The prompt without its tags, and the tags in order. Tags of unknown kinds are taken out too; never raises.

    Only positive prompts have tags: in a negative one they are text. Of a batch, the first prompt's tags count.
    """
    end = prompt.rfind(">") + 1  # no tag reaches further, so a text full of "<a:" is not searched again and again
    with_tags, rest = prompt[:end], prompt[end:]
    tags = tuple(_tag(match[1], match[2]) for match in _TAG.finditer(with_tags))
    return _TAG.sub("", with_tags) + rest, tags


def lora_strength(tag: ExtraNetwork) -> LoraStrength:
    """What `<lora:name[:te[:unet[:dyn]]]>` asks for; named arguments win, and `unet` follows `te` unless given.

    Raises InvalidPrompt when an argument is not a number. (A1111 then logs an error and applies no LoRA at all.)
    """
    given = dict(zip(("te", "unet", "dyn"), tag.positional, strict=False)) | dict(tag.named)
    te = _number(tag, "te", given.get("te", "1.0"), float)
    unet = _number(tag, "unet", given["unet"], float) if "unet" in given else te
    dyn = _number(tag, "dyn", given["dyn"], int) if "dyn" in given else None
    return LoraStrength(te, unet, dyn)


def hypernetwork_strength(tag: ExtraNetwork) -> float:
    """What `<hypernet:name[:multiplier]>` asks for, 1.0 unless given; raises InvalidPrompt when it is not a number."""
    return _number(tag, "multiplier", tag.positional[0], float) if tag.positional else 1.0


def _tag(kind: str, arguments: str) -> ExtraNetwork:
    positional: list[str] = []
    named: dict[str, str] = {}
    for argument in arguments.split(":"):
        if argument.count("=") == 1:
            key, value = argument.split("=")
            named[key] = value
        else:
            positional.append(argument)
    return ExtraNetwork(kind, positional[0] if positional else "", tuple(positional[1:]), MappingProxyType(named))


def _number(tag: ExtraNetwork, argument: str, text: str, kind: type):  # type: ignore[no-untyped-def]
    try:
        return kind(text)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number such as 0.8"
        raise InvalidPrompt(
            f'<{tag.kind}:{tag.name}…>: {argument} is "{text}", expected {wanted}', field="prompt"
        ) from error
