"""Values named by UI path → GenerationRequest, and back: the page's spelling of a request.

The table is `modules/ui/controls.py`; what the page knowingly does not carry is `NOT_CARRIED`. A bad value becomes an
InvalidRequest that names the field.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image
from pydantic import BaseModel, ValidationError

from modules.errors import InvalidRequest
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.images.sketches import inpaint_sketch, paint
from modules.infotext.paste import Pasted, overrides_from_labels
from modules.ui.controls import (
    CONTROLS,
    INPAINT_AREAS,
    MASK_MODES,
    SAME_CHECKPOINT,
    SAME_SAMPLER,
    SAME_SCHEDULE,
    SHARED,
    controls_of,
)

Values = Mapping[str, Any]  # JSON values under UI paths

NOT_CARRIED: dict[str, str] = {
    "sampling.eta": "a setting (Sampler parameters)",
    "sampling.s_churn": "a setting (Sampler parameters)",
    "sampling.s_tmin": "a setting (Sampler parameters)",
    "sampling.s_tmax": "a setting (Sampler parameters)",
    "sampling.s_noise": "a setting (Sampler parameters)",
    "sampling.s_min_uncond": "a setting (Optimizations)",
    "sampling.token_merging_ratio": "a setting (Optimizations)",
    "model.vae": "a setting (VAE); override settings carry it per picture",
    "model.clip_skip": "a setting (Stable Diffusion); override settings carry it per picture",
    "hires.cfg_scale": "the hires pass keeps the main CFG scale, as in A1111",
    "hires.first_pass_image": "the ✨ button of a result sends one",
    "source.initial_noise_multiplier": "a setting (img2img)",
    "source.depth": "only the API sends one; a depth model estimates it",
    "source.image_noise_level": "only the API sends it",
    "source.inpaint.latent_mask": "only the API sends one",
    "source.color_reference": "only scripts send one",
    "source.inpaint.rounded": "only the API turns it off",
    "tiling": "a setting (Stable Diffusion)",
    "restore_faces": "a setting (Face restoration)",
    "disable_extra_networks": "only the API sends it",
    "save": "the settings decide",
    "scripts": "filled by extensions' own controls, which name their arguments themselves",
}
"""Leaves of GenerationRequest without a control, and why."""

_ORIENTATION = 0x0112  # EXIF tag
_NAMES_FOR_NONE = {SAME_CHECKPOINT, SAME_SAMPLER, SAME_SCHEDULE}


def leaves(model: type[BaseModel] = GenerationRequest, prefix: str = "") -> tuple[str, ...]:
    """The dotted paths of all leaves of a request model; optional parts are walked as if they were there."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        part = _model_in(field.annotation)
        found += leaves(part, f"{prefix}{name}.") if part else [prefix + name]
    return tuple(found)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # a typing annotation has no common type
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def to_request(
    tab: str,
    values: Values,
    picture: Callable[[str], ImageData],
    *,
    scripts: Mapping[str, Mapping[str, Any]] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> GenerationRequest:
    """The request a generation tab's values ask for; `picture` gives the stored picture with a sha256.

    Parts that are switched off (`hires.on`, `refiner.on`, `seed.extra`) leave no trace. `overrides` are settings for
    this request, over which the tab's own Override settings go. Raises InvalidRequest naming the field, also when
    img2img has no picture or inpaint no mask.
    """
    flat = {path: _request_value(path, values[path]) for path in controls_of(tab) if values.get(path) is not None}
    flat["overrides"] = {**(overrides or {}), **overrides_from_labels(tuple(values.get("overrides") or ()))}
    if scripts:
        flat["scripts"] = {name: dict(given) for name, given in scripts.items()}
    if not flat.pop("seed.extra", False):
        flat = _without(flat, "seed.variation", "seed.variation_strength", "seed.resize_from.")
    elif not (flat.get("seed.resize_from.width") and flat.get("seed.resize_from.height")):
        flat = _without(flat, "seed.resize_from.")
    for part in ("hires", "refiner"):
        if not flat.pop(f"{part}.on", False):
            flat = _without(flat, f"{part}.")
    if "source.picture" in CONTROLS and "source.picture" in controls_of(tab):
        flat = _with_source(tab, flat, picture)
    try:
        return GenerationRequest.model_validate(_nested({p: v for p, v in flat.items() if v is not None}))
    except ValidationError as error:
        raise _named(error) from error


def _with_source(tab: str, flat: dict[str, Any], picture: Callable[[str], ImageData]) -> dict[str, Any]:
    document = flat.pop("source.picture", None) or {}
    scale, by_scale = flat.pop("source.scale", 1.0), flat.pop("source.scale_on", False)
    transparency = flat.pop("source.inpaint.transparency", 0)
    if not document.get("image"):
        raise InvalidRequest(f"{tab} needs a picture; drop, paste or choose one first", field="source.images")
    image = picture(document["image"])
    image_size = _upright_size(image)
    sketch = picture(document["sketch"]) if document.get("sketch") else None
    if sketch is not None and document.get("mode") == "sketch":
        image = ImageData.from_image(paint(image.open(), sketch.open()))
    flat["source.images"] = (image,)
    if by_scale:
        flat["size.width"], flat["size.height"] = (max(8, int(side * scale) // 8 * 8) for side in image_size)
    if tab == "inpaint":
        is_sketch = sketch is not None and document.get("mode") == "inpaint_sketch"
        if not document.get("mask") and not is_sketch:
            raise InvalidRequest("the mask is empty; paint over what should change", field="source.inpaint.mask")
        mask = picture(document["mask"]) if document.get("mask") else None
        if mask is not None and mask.size != image_size:
            raise InvalidRequest(
                f"the mask has {mask.size[0]}x{mask.size[1]} pixels, the picture {image_size[0]}x{image_size[1]}; "
                "load the picture again",
                field="source.inpaint.mask",
            )
        blur = flat.pop("source.inpaint.blur", 4)
        if is_sketch:
            sketched = inpaint_sketch(
                image.open(), sketch.open(), blur=blur, transparency=transparency / 100,
                mask=None if mask is None else mask.open(),
            )  # fmt: skip
            image, mask = (ImageData.from_image(part) for part in sketched)
            flat["source.images"] = (image,)
        flat |= {
            "source.inpaint.mask": mask,
            "source.inpaint.blur_x": blur,
            "source.inpaint.blur_y": blur,
            "source.inpaint.invert": flat.pop("source.inpaint.mode", MASK_MODES[0]) == MASK_MODES[1],
            "source.inpaint.only_masked": flat.pop("source.inpaint.area", INPAINT_AREAS[0]) == INPAINT_AREAS[1],
        }
    return flat


def _upright_size(image: ImageData) -> tuple[int, int]:
    """Width and height as the picture is shown: a camera may store it on its side (EXIF orientation 5 to 8)."""
    width, height = image.size
    with Image.open(io.BytesIO(image.content)) as header:
        is_on_its_side = header.getexif().get(_ORIENTATION, 1) >= 5
    return (height, width) if is_on_its_side else (width, height)


def _request_value(path: str, value: Any) -> Any:  # JSON in, JSON out
    control = (SHARED | CONTROLS)[path]
    if isinstance(value, str) and value in _NAMES_FOR_NONE:
        return None
    if control.kind in ("slider", "number") and isinstance(control.default, int) and isinstance(value, float):
        return int(value)
    if control.kind == "multiselect":
        return tuple(value)
    return value


def _without(flat: dict[str, Any], *prefixes: str) -> dict[str, Any]:
    return {path: value for path, value in flat.items() if not path.startswith(prefixes)}


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split(".")
        part = nested
        for parent in parents:
            part = part.setdefault(parent, {})
        part[leaf] = value
    return nested


def _named(error: ValidationError) -> InvalidRequest:
    first = error.errors(include_url=False, include_context=False)[0]
    path = ".".join(str(step) for step in first["loc"])
    control = (SHARED | CONTROLS).get(path)
    return InvalidRequest(f"{control.label if control else path}: {first['msg']}", field=path)


def from_pasted(tab: str, pasted: Pasted) -> dict[str, Any]:
    """The values, by UI path, that a pasted infotext sets on a tab; fields it does not mention are left out."""
    controls = controls_of(tab)
    values = from_leaves(tab, pasted.values)
    switches = {"hires.on": pasted.hires, "refiner.on": pasted.refiner, "seed.extra": pasted.seed_extra}
    values |= {path: on for path, on in switches.items() if path in controls}
    values["overrides"] = list(pasted.override_labels())
    return values


def from_leaves(tab: str, leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The values, by UI path, of a tab's controls for leaves of a request; those that have none are left out."""
    values = {}
    for path, control in controls_of(tab).items():
        leaf = next(iter(control.leaves(path)), None)
        if control.kind != "picture" and path != "overrides" and leaf in leaves:
            values[path] = _control_value(path, leaves[leaf])
    return values


def _control_value(path: str, value: Any) -> Any:
    if path == "source.inpaint.mode":
        return MASK_MODES[bool(value)]
    if path == "source.inpaint.area":
        return INPAINT_AREAS[bool(value)]
    if value is None:
        none_names = {
            "hires.checkpoint": SAME_CHECKPOINT, "hires.sampler": SAME_SAMPLER, "hires.schedule": SAME_SCHEDULE,
            "sampling.schedule": "Automatic",
        }  # fmt: skip
        return none_names.get(path)
    return list(value) if isinstance(value, tuple) else value
