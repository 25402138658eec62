"""A read infotext → fields of a request and settings to override: what the paste button and the API's `infotext` do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from modules.errors import InvalidRequest, UnknownName
from modules.generation.request import GenerationRequest
from modules.infotext import legacy
from modules.infotext.fields import FIELDS
from modules.infotext.parse import Infotext, parse
from modules.prompts.styles import StyleBook
from modules.registry import did_you_mean
from modules.settings.check import check
from modules.settings.schema import Settings

Tab = Literal["txt2img", "img2img"]

SCHEDULES = (
    "Automatic", "Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal", "Align Your Steps",
    "Simple", "Normal", "DDIM", "Beta",
)  # fmt: skip
"""Labels that old sampler names end with: "DPM++ 2M Karras"."""

_NO_FIELD_YET = (1, 8, 0, 139)
"""Up to this version hires prompts were written with styles in them and are not stripped."""

_TEXTS = {
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "hires.prompt": "Hires prompt",
    "hires.negative_prompt": "Hires negative prompt",
    "styles": "Styles array",
}
"""Texts and styles by the names under which `infotext_skip_pasting` knows them."""

_TXT2IMG_ONLY = ("hires.",)
_IMG2IMG_ONLY = ("source.",)


@dataclass(frozen=True)
class Pasted:
    """What an infotext asks for.

    `values` are leaves of a GenerationRequest by dotted path, only those that the text decides. `hires`, `refiner` and
    `seed_extra` say whether those parts are in use. `overrides` are settings that differ from the current ones, by key.
    `scripts` are the values under keys that belong to no field or setting, for scripts to read.
    """

    values: dict[str, Any] = field(default_factory=dict)
    hires: bool = False
    refiner: bool = False
    seed_extra: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)

    def override_labels(self) -> tuple[str, ...]:
        """The overrides as the Override settings box shows them: "Clip skip: 2"."""
        labels = {key: label for label, key in reversed(labels_of_settings().items())}
        return tuple(f"{labels.get(key, key)}: {value}" for key, value in self.overrides.items())

    def request(self, base: GenerationRequest) -> GenerationRequest:
        """`base` with everything that was pasted. Parts not in use become None; without a source there stays none."""
        nested = base.model_dump()
        absent = {"hires": not self.hires, "refiner": not self.refiner, "source": base.source is None}
        has_mask = base.source is not None and base.source.inpaint is not None
        for path, value in self.values.items():
            is_for_mask = path.startswith("source.inpaint.")
            if not absent.get(path.split(".", 1)[0]) and (has_mask or not is_for_mask):
                _put(nested, path, value)
        nested.update({part: None for part, is_absent in absent.items() if is_absent})
        if not self.seed_extra:
            nested["seed"] = {"value": nested["seed"]["value"]}
        nested["overrides"] = {**nested["overrides"], **self.overrides}
        return GenerationRequest.model_validate(nested)


def paste(
    text: str | Infotext,
    *,
    tab: Tab,
    settings: Settings,
    styles: StyleBook | None = None,
    sampler_pair: Callable[[str, str], tuple[str, str]] | None = None,
    lora_named: Callable[[str], str | None] = lambda digest: None,
) -> Pasted:
    """What `text` asks for on a tab, given the settings in use.

    `sampler_pair` turns a sampler's and a schedule's text into their names (default: split old labels such as
    "DPM++ 2M Karras"); `lora_named` names a LoRA by its hash. A value that cannot be read leaves its field alone.

    Unlike A1111, which takes any `Denoising strength` for it, hires fix is in use only if one of its own keys is there.
    """
    read = parse(text) if isinstance(text, str) else text
    had_hires_keys = any(key.startswith("Hires ") or key == "First pass size-1" for key in read.values)
    full = legacy.understood(
        read,
        backward_compatible=settings.auto_backcompat,
        old_hires_sizes=settings.use_old_hires_fix_width_height,
        lora_named=lora_named,
    )
    values: dict[str, Any] = {}
    prompts, found = _without_styles(full, settings, styles)
    values.update(prompts)
    if found is not None:
        values["styles"] = found
    skipped = settings.infotext_skip_pasting
    values = {path: value for path, value in values.items() if _TEXTS[path] not in skipped}
    kept = {key: value for key, value in full.values.items() if not _is_skipped(key, skipped)}
    full = Infotext(full.prompt, full.negative_prompt, kept)
    values.update(_fields(full, sampler_pair or split_label))
    uses_hires = tab == "txt2img" and had_hires_keys and "Denoising strength" in full.values
    left_out = _IMG2IMG_ONLY if tab == "txt2img" else _TXT2IMG_ONLY
    return Pasted(
        values={path: value for path, value in values.items() if not path.startswith(left_out)},
        hires=uses_hires,
        refiner="Refiner" in full.values,
        seed_extra="Variation seed" in full.values or "Seed resize from-1" in full.values,
        overrides=_overrides(full, settings),
        scripts={
            key: value
            for key, value in read.values.items()
            if key.removesuffix("-1").removesuffix("-2") not in _known()
        },
    )


def split_label(sampler: str, schedule: str) -> tuple[str, str]:
    """An old sampler label as sampler and schedule: "Euler a Karras" → "Euler a", "Karras"."""
    for name in SCHEDULES[1:]:
        for ending in (name, name.replace(" ", "")):
            if sampler.endswith(f" {ending}"):
                return sampler.removesuffix(f" {ending}"), name
    return sampler, schedule


@cache
def labels_of_settings() -> dict[str, str]:
    """Infotext key → setting, for every setting that a picture's infotext can carry; both spellings of Beta."""
    labels = {}
    for key, one in Settings.model_fields.items():
        extra = one.json_schema_extra
        if isinstance(extra, dict) and extra.get("infotext"):
            labels[str(extra["infotext"])] = key
    labels.update({one.label: one.setting for one in FIELDS if one.setting is not None})
    return labels


def overrides_from_labels(labels: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """Settings by key from the labels of the Override settings box ("Clip skip: 2"), values cast and checked.

    A setting's own key may stand for its label. Raises InvalidRequest for a label of another shape or a value that does
    not fit, UnknownName for a setting there is not.
    """
    overrides = {}
    for label in labels:
        name, separator, value = label.partition(":")
        if not separator:
            raise InvalidRequest(f'"{label}" in Override settings is not of the form "Key: value"', field="overrides")
        known = labels_of_settings()
        key = known.get(name.strip(), name.strip())
        if key not in Settings.model_fields:
            raise UnknownName(f'no setting named "{name}"{did_you_mean(name, tuple(known))}', field="overrides")
        overrides[key] = cast_setting(key, value.strip())
    return overrides


def cast_setting(key: str, text: str) -> Any:
    """`text` as a value of a setting: "False" is the only false text; whole numbers may be written as floats.

    Raises InvalidRequest for what does not fit.
    """
    kind = Settings.model_fields[key].annotation
    if kind is bool:
        return text != "False"
    if kind is int or kind == int | float:
        try:
            number = float(text)
            looks_whole = kind is int or text.lstrip("+-").isdigit()
            return check(key, int(number) if looks_whole else number)
        except (ValueError, OverflowError) as error:
            raise InvalidRequest(f'setting {key}: "{text}" is not a number', field=key) from error
    if kind == tuple[str, ...]:
        return check(key, [part.strip() for part in text.split(",") if part.strip()])
    return check(key, text)


def _overrides(text: Infotext, settings: Settings) -> dict[str, Any]:
    """Settings that the text decides and that are not so now; values that do not fit are left out."""
    overrides: dict[str, Any] = {}
    for label, key in labels_of_settings().items():
        if label not in text.values or (key == "sd_model_checkpoint" and settings.disable_weights_auto_swap):
            continue
        try:
            value = cast_setting(key, text.values[label])
        except InvalidRequest:
            continue  # A1111: a failing cast leaves the field alone
        if value != getattr(settings, key):
            overrides[key] = value
    restorer = text.values.get("Face restoration", "")  # says whether, and by which
    if restorer not in ("", "True", "False", settings.face_restoration_model):
        overrides["face_restoration_model"] = restorer
    return overrides


def _fields(text: Infotext, sampler_pair: Callable[[str, str], tuple[str, str]]) -> dict[str, Any]:
    """Leaves of the request from the text's values; a value that does not fit leaves its leaf out."""
    given = dict(text.values)
    if "Sampler" in given:
        given["Sampler"], given["Schedule type"] = sampler_pair(given["Sampler"], given["Schedule type"])
    else:
        given.pop("Schedule type", None)
    second, named = split_label(given.get("Hires sampler", legacy.SAME_SAMPLER), "")
    if named:  # a label of before 1.9, such as "DPM++ 2M Karras"
        given["Hires sampler"] = second
        if given.get("Hires schedule type", legacy.SAME_SCHEDULE) == legacy.SAME_SCHEDULE:
            given["Hires schedule type"] = named
    leaves: dict[str, Any] = {}
    for label, path in _PATHS.items():
        if label in given:
            value = _READERS.get(label, lambda text: text)(given[label])
            for one in (path,) if isinstance(path, str) else path:
                if (checked := _checked(one, value)) is not _UNFIT:
                    leaves[one] = checked
    return leaves


_PATHS: Mapping[str, str | tuple[str, ...]] = {
    "Steps": "sampling.steps",
    "Sampler": "sampling.sampler",
    "Schedule type": "sampling.schedule",
    "CFG scale": "sampling.cfg_scale",
    "Image CFG scale": "sampling.image_cfg_scale",
    "Seed": "seed.value",
    "Size-1": "size.width",
    "Size-2": "size.height",
    "Batch size": "batch.size",
    "Variation seed": "seed.variation",
    "Variation seed strength": "seed.variation_strength",
    "Seed resize from-1": "seed.resize_from.width",
    "Seed resize from-2": "seed.resize_from.height",
    "Denoising strength": ("hires.denoising_strength", "source.denoising_strength"),
    "Hires upscale": "hires.scale",
    "Hires upscaler": "hires.upscaler",
    "Hires steps": "hires.steps",
    "Hires resize-1": "hires.resize_width",
    "Hires resize-2": "hires.resize_height",
    "Hires checkpoint": "hires.checkpoint",
    "Hires sampler": "hires.sampler",
    "Hires schedule type": "hires.schedule",
    "Refiner": "refiner.checkpoint",
    "Refiner switch at": "refiner.switch_at",
    "Mask blur": ("source.inpaint.blur_x", "source.inpaint.blur_y"),
    "Mask mode": "source.inpaint.invert",
    "Masked content": "source.inpaint.content",
    "Inpaint area": "source.inpaint.only_masked",
    "Masked area padding": "source.inpaint.padding",
}
"""Key, after sizes are split, → leaf or leaves of the request. Prompts and styles are read apart."""


def _none_if(*names: str) -> Callable[[str], str | None]:
    return lambda text: None if text in names else text


_READERS: Mapping[str, Callable[[str], Any]] = {
    "Mask mode": lambda text: text == "Inpaint not masked",
    "Inpaint area": lambda text: text == "Only masked",
    "Hires checkpoint": _none_if(legacy.SAME_CHECKPOINT),
    "Hires sampler": _none_if(legacy.SAME_SAMPLER),
    "Hires schedule type": _none_if(legacy.SAME_SCHEDULE),
}

_UNFIT = object()


def _checked(path: str, value: Any) -> Any:
    """`value` as the request's leaf `path` holds it, _UNFIT when it cannot."""
    adapter, is_whole = _leaf(path)
    if is_whole and isinstance(value, str):
        try:
            value = int(float(value))
        except (ValueError, OverflowError):
            return _UNFIT
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return _UNFIT


@cache
def _leaf(path: str) -> tuple[TypeAdapter[Any], bool]:
    """What checks a leaf of the request, and whether it is a whole number."""
    model: type[BaseModel] = GenerationRequest
    *parents, name = path.split(".")
    for parent in parents:
        annotation = model.model_fields[parent].annotation
        candidates = (annotation, *getattr(annotation, "__args__", ()))
        model = next(one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))
    found = model.model_fields[name]
    return TypeAdapter(_annotated(found)), found.annotation is int


def _annotated(found: FieldInfo) -> Any:
    """A field's type with its bounds."""
    return Annotated[(found.annotation, *found.metadata)] if found.metadata else found.annotation


def _without_styles(
    text: Infotext, settings: Settings, styles: StyleBook | None
) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    """The prompts by path, and the styles to select, None to leave the styles field alone.

    Styles are taken off as `infotext_styles` says. Hires prompts lose them too, but then only if both passes show the
    same styles; one that is equal to the main one afterwards becomes empty.
    """
    texts = {
        "prompt": text.prompt,
        "negative_prompt": text.negative_prompt,
        "hires.prompt": text.values.get("Hires prompt", ""),
        "hires.negative_prompt": text.values.get("Hires negative prompt", ""),
    }
    named = _listed_styles(text)
    mode = settings.infotext_styles
    if mode == "Ignore" or styles is None:
        return texts, named
    main = styles.extract(texts["prompt"], texts["negative_prompt"])
    version = legacy.version_of(text.values.get("Version", ""))
    has_own = bool(texts["hires.prompt"] or texts["hires.negative_prompt"])
    names = main.names
    if has_own and (version is None or version > _NO_FIELD_YET):
        second = styles.extract(
            texts["hires.prompt"] or texts["prompt"], texts["hires.negative_prompt"] or texts["negative_prompt"]
        )
        if second.names != main.names:
            names = ()
        else:
            texts["hires.prompt"] = "" if second.prompt == main.prompt else second.prompt
            same_negative = second.negative_prompt == main.negative_prompt
            texts["hires.negative_prompt"] = "" if same_negative else second.negative_prompt
    if names:
        texts["prompt"], texts["negative_prompt"] = main.prompt, main.negative_prompt
    if mode == "Discard" or (mode == "Apply if any" and not names):
        return texts, named
    return texts, names


def _listed_styles(text: Infotext) -> tuple[str, ...] | None:
    """Styles that the text names itself, which A1111's own texts never do."""
    listed = text.values.get("Styles array")
    return None if listed is None else tuple(name.strip() for name in listed.strip("[]").split(",") if name.strip())


def _is_skipped(key: str, skipped: tuple[str, ...]) -> bool:
    return key in skipped or _stem(key) in skipped


def _stem(key: str) -> str:
    """The key as it was written: "Size" for "Size-1"."""
    return key[:-2] if key.endswith(("-1", "-2")) else key


@cache
def _known() -> frozenset[str]:
    return frozenset({one.label for one in FIELDS} | set(labels_of_settings()) | {"First pass size", "Hypernet"})


def _put(nested: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        if nested.get(parent) is None:
            nested[parent] = {}
        nested = nested[parent]
    nested[leaf] = value
