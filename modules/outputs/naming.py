"""What a result is called: A1111's patterns, made safe as file names.

Nothing here touches the disk. Whatever a prompt, a login or a pattern holds, a name is one harmless path component
and a folder stays below its root.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from PIL import Image

from modules.generation.plan import Plan

FORBIDDEN = '#<>:"/\\|?*\n\r\t'
_CONTROL = {code: "_" for code in (*range(32), 127)}
_EVERYWHERE = str.maketrans(dict.fromkeys(FORBIDDEN, "_") | _CONTROL)
_ON_UNIX = str.maketrans({"/": "_"} | _CONTROL)
_WORD_BREAKS = re.compile(rf"[\s{re.escape(string.punctuation)}]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)", re.IGNORECASE)
_DRIVE = re.compile(r"^([A-Za-z]):")
_PATTERN = re.compile(r"(.*?)(?:\[([^\[\]]+)\]|$)", re.DOTALL)
_ARGUMENT = re.compile(r"(.*)<([^>]*)>$", re.DOTALL)


@dataclass(frozen=True)
class NameRules:
    """How values become parts of names: A1111's `--filenames-max-length`, `--unix-filenames-sanitization`."""

    max_length: int = 128
    unix_only: bool = False

    def part(self, value: str, *, spaces: bool = True) -> str:
        """`value` without what a file name cannot hold; `spaces` False turns them into "_"."""
        if not spaces:
            value = value.replace(" ", "_")
        value = value.translate(_ON_UNIX if self.unix_only else _EVERYWHERE)
        value = value.encode("utf-8", "replace").decode("utf-8")
        return value.lstrip(" ")[: self.max_length].rstrip(" .")


@dataclass(frozen=True)
class Subject:
    """The picture that gets a name; what makes no sense for it, as a plan in the Extras tab, is not given.

    `index` is its place in the plan (-1: a grid, or no plan). `style_texts` are the prompts of the plan's styles.
    """

    width: int
    height: int
    plan: Plan | None = None
    index: int = -1
    seed: int | None = None
    prompt: str = ""
    negative_prompt: str = ""
    basename: str = ""
    image: Callable[[], Image.Image] | None = None
    style_texts: tuple[str, ...] = ()
    user: str | None = None
    is_zip: bool = False
    prompt_words: int = 8
    job_started: datetime = field(default_factory=datetime.now)
    now: datetime = field(default_factory=datetime.now)


_NOTHING = None
"""A pattern's value when it is left out together with the literal text before it."""


class Namer:
    """Gives the patterns' values for one picture."""

    def __init__(self, subject: Subject, rules: NameRules = NameRules()) -> None:
        self.subject = subject
        self.rules = rules

    def fill(self, text: str) -> str:
        """`text` with its patterns replaced; unknown or failing patterns stay as they are, in brackets."""
        result = ""
        for literal, pattern in _PATTERN.findall(text):
            if not pattern:
                result += literal
                continue
            try:
                value = self._value(pattern)
            except (LookupError, ValueError):
                result += f"{literal}[{pattern}]"
                continue
            if value is not _NOTHING:
                result += literal + value
        return result

    def file_name(self, pattern: str) -> str:
        """The decoration of a file name: one safe path component, perhaps empty."""
        return component(self.fill(pattern))

    def folder(self, pattern: str) -> PurePosixPath:
        """The sub-folder: any depth through "/" in the pattern's own text, never upwards, never absolute."""
        filled = self.fill(pattern).lstrip(" ").rstrip("\\ /")
        parts = [component(part) for part in re.split(r"[/\\]", filled)]
        return PurePosixPath(*(part for part in parts if part))

    def _value(self, pattern: str) -> str | None:
        """The value of the text inside brackets; raises LookupError for an unknown pattern."""
        name, arguments = pattern, []
        while match := _ARGUMENT.fullmatch(name):
            name = match[1]
            arguments.insert(0, match[2])
        value = self._values[name.lower()](*arguments)
        if value is _NOTHING:
            return _NOTHING
        return self.rules.part(value, spaces=name.lower() != "prompt")

    @cached_property
    def _values(self) -> Mapping[str, Callable[..., str | None]]:
        """Every pattern with what gives its value; a missing plan makes those about it fail, so they stay literal."""
        subject = self.subject
        return {
            "basename": lambda *_: subject.basename or "img",
            "width": lambda *_: str(subject.width),
            "height": lambda *_: str(subject.height),
            "seed": lambda *_: _text(subject.seed),
            "seed_first": lambda *_: _text(subject.seed) if self._plan.batch_size == 1 else str(self._first.seed),
            "seed_last": lambda *_: _NOTHING if self._plan.batch_size == 1 else str(self._plan.images[-1].seed),
            "steps": lambda *_: str(self._plan.sampling.steps),
            "cfg": lambda *_: str(self._plan.sampling.cfg_scale),
            "sampler": lambda *_: self._plan.sampling.sampler,
            "scheduler": lambda *_: self._scheduler(),
            "sampler_scheduler": lambda *_: f"{self._plan.sampling.sampler} {self._scheduler()}",
            "styles": lambda *_: ", ".join(self._plan.styles) or "None",
            "model_hash": lambda *_: self._plan.model.short_hash or "",
            "model_name": lambda *_: self._plan.model.name,
            "vae_filename": lambda *_: self._vae(),
            "date": lambda *_: subject.now.strftime("%Y-%m-%d"),
            "datetime": self._datetime,
            "job_timestamp": lambda *_: subject.job_started.strftime("%Y%m%d%H%M%S"),
            "prompt_hash": lambda *size: _digest(subject.prompt, size),
            "negative_prompt_hash": lambda *size: _digest(subject.negative_prompt, size),
            "full_prompt_hash": lambda *size: _digest(f"{subject.prompt} {subject.negative_prompt}", size),
            "prompt": lambda *_: subject.prompt,
            "prompt_spaces": lambda *_: subject.prompt,
            "prompt_no_styles": lambda *_: self._without_styles(),
            "prompt_words": lambda *_: self._words(),
            "hasprompt": self._has_prompt,
            "batch_number": lambda *_: (
                _NOTHING if self._is_single_batch else str(subject.index % self._plan.batch_size + 1)
            ),
            "batch_size": lambda *_: str(self._plan.batch_size),
            "generation_number": lambda *_: _NOTHING if self._is_single else str(subject.index + 1),
            "clip_skip": lambda *_: str(self._plan.clip_skip),
            "denoising": lambda *_: self._denoising(),
            "user": lambda *_: _text(subject.user),
            "image_hash": self._image_hash,
            "none": lambda *_: "",
        }

    @property
    def _plan(self) -> Plan:
        if self.subject.plan is None:
            raise LookupError("no plan")
        return self.subject.plan

    @property
    def _first(self):  # type: ignore[no-untyped-def]
        return self._plan.images[0]

    @property
    def _is_single_batch(self) -> bool:
        return self._plan.batch_size == 1 or self.subject.is_zip or self.subject.index < 0

    @property
    def _is_single(self) -> bool:
        return len(self._plan.images) == 1 or self.subject.is_zip or self.subject.index < 0

    def _scheduler(self) -> str:
        return self._plan.sampling.schedule.replace(" ", "_").capitalize()

    def _vae(self) -> str:
        vae = self._plan.vae
        return "NoneType" if vae is None else PurePosixPath(vae.path.replace("\\", "/")).name.split(".")[0]

    def _denoising(self) -> str | None:
        plan = self._plan
        part = plan.hires or plan.source
        return str(part.denoising_strength) if part is not None and part.denoising_strength else _NOTHING

    def _datetime(self, *arguments: str) -> str:
        """strftime with the first argument in the time zone of the second; what does not work falls back."""
        default = "%Y%m%d%H%M%S"
        pattern = arguments[0] if arguments and arguments[0] else default
        when = self.subject.now
        if len(arguments) > 1:
            try:
                when = when.astimezone(ZoneInfo(arguments[1]))
            except (ZoneInfoNotFoundError, ValueError, OSError):
                when = self.subject.now
        try:
            return when.strftime(pattern)
        except (ValueError, UnicodeError):
            return when.strftime(default)

    def _words(self) -> str:
        words = [word for word in _WORD_BREAKS.split(self.subject.prompt) if word]
        return " ".join(words[: self.subject.prompt_words]) or "empty"

    def _without_styles(self) -> str:
        prompt = self.subject.prompt
        for style in self.subject.style_texts:
            for part in style.split("{prompt}"):
                if part:
                    prompt = prompt.replace(part, "").replace(", ,", ",").strip().strip(",")
        return prompt.strip()

    def _has_prompt(self, *arguments: str) -> str:
        """For each `text|default`: the text in lower case if the prompt has it, else the default."""
        prompt = self.subject.prompt.lower()
        found = ""
        for argument in arguments:
            text, _, default = argument.partition("|")
            found += text.lower() if text.lower() in prompt else default
        return found

    def _image_hash(self, *size: str) -> str:
        if self.subject.image is None:
            raise LookupError("no pixels")
        digest = hashlib.sha256(self.subject.image().tobytes()).hexdigest()
        return digest[: int(size[0])] if size and size[0] else digest


def component(text: str) -> str:
    """`text` as one path component that is harmless everywhere; perhaps empty."""
    text = text.replace("/", "_").replace("\\", "_").translate(_CONTROL).strip(" ").rstrip(".")
    text = _DRIVE.sub(r"\1_", text)
    if text.startswith("."):
        text = "_" + text.lstrip(".")
    return f"_{text}" if _RESERVED.match(text) else text


def cut_to_bytes(stem: str, extension: str, *, limit: int = 255) -> str:
    """`stem` short enough that it and its extension (with dot) fit a file name, never splitting a character."""
    room = limit - max(4, len(extension.encode("utf-8")))
    encoded = stem.encode("utf-8")
    return stem if len(encoded) <= room else encoded[:room].decode("utf-8", "ignore").rstrip(" .")


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _digest(text: str, size: tuple[str, ...]) -> str:
    """The first hex digits of sha256: eight, or as many as asked."""
    digits = int(size[0]) if size and size[0] else 8
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
