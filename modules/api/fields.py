"""A1111's REST fields ↔ `GenerationRequest`: one table, and the few that need more than a line.

`to_request` is what the routes call. The table gives, for each REST field, the dotted path of the request's field; the
sets beside it name what is carried in another way, so that a test can require every field to be somewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from modules.api.bodies import GenerationBody, Img2ImgBody, Txt2ImgBody
from modules.errors import InvalidImage, InvalidRequest
from modules.generation.part import Size
from modules.generation.request import (
    BatchPart,
    GenerationRequest,
    HiresPart,
    InpaintPart,
    MaskedContent,
    RefinerPart,
    ResizeMode,
    SamplingPart,
    SeedPart,
    SourcePart,
)
from modules.images.data import ImageData
from modules.sampling.names import resolve

COMMON = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "styles": "styles",
    "seed": "seed.value",
    "subseed": "seed.variation",
    "subseed_strength": "seed.variation_strength",
    "seed_resize_from_w": "seed.resize_from.width",
    "seed_resize_from_h": "seed.resize_from.height",
    "sampler_name": "sampling.sampler",
    "scheduler": "sampling.schedule",
    "steps": "sampling.steps",
    "cfg_scale": "sampling.cfg_scale",
    "eta": "sampling.eta",
    "s_churn": "sampling.s_churn",
    "s_tmin": "sampling.s_tmin",
    "s_tmax": "sampling.s_tmax",
    "s_noise": "sampling.s_noise",
    "s_min_uncond": "sampling.s_min_uncond",
    "batch_size": "batch.size",
    "n_iter": "batch.count",
    "width": "size.width",
    "height": "size.height",
    "restore_faces": "restore_faces",
    "tiling": "tiling",
    "refiner_checkpoint": "refiner.checkpoint",
    "refiner_switch_at": "refiner.switch_at",
    "disable_extra_networks": "disable_extra_networks",
    "override_settings": "overrides",
    "save_images": "save",
    "alwayson_scripts": "scripts",
}
HIRES = {
    "hr_upscaler": "hires.upscaler",
    "hr_second_pass_steps": "hires.steps",
    "denoising_strength": "hires.denoising_strength",
    "hr_scale": "hires.scale",
    "hr_resize_x": "hires.resize_width",
    "hr_resize_y": "hires.resize_height",
    "hr_checkpoint_name": "hires.checkpoint",
    "hr_sampler_name": "hires.sampler",
    "hr_scheduler": "hires.schedule",
    "hr_prompt": "hires.prompt",
    "hr_negative_prompt": "hires.negative_prompt",
    "firstpass_image": "hires.first_pass_image",
}
SOURCE = {
    "init_images": "source.images",
    "denoising_strength": "source.denoising_strength",
    "resize_mode": "source.resize_mode",
    "initial_noise_multiplier": "source.initial_noise_multiplier",
    "depth_image": "source.depth",
    "image_noise_level": "source.image_noise_level",
    "image_cfg_scale": "sampling.image_cfg_scale",
}
INPAINT = {
    "mask": "source.inpaint.mask",
    "latent_mask": "source.inpaint.latent_mask",
    "mask_blur_x": "source.inpaint.blur_x",
    "mask_blur_y": "source.inpaint.blur_y",
    "inpainting_mask_invert": "source.inpaint.invert",
    "inpainting_fill": "source.inpaint.content",
    "inpaint_full_res": "source.inpaint.only_masked",
    "inpaint_full_res_padding": "source.inpaint.padding",
    "mask_round": "source.inpaint.rounded",
}

NOT_IN_REQUEST = frozenset({
    "sampler_index", "script_name", "script_args",  # merged into fields of the table
    "enable_hr", "firstphase_width", "firstphase_height", "mask_blur",
    "do_not_save_samples", "do_not_save_grid", "comments",  # without effect, as in A1111
    # the route's own
    "override_settings_restore_afterwards", "send_images", "force_task_id", "infotext", "include_init_images",
})  # fmt: skip
NOT_IN_API = frozenset({
    "model.checkpoint", "model.vae", "model.clip_skip",  # in `override_settings`, by their settings' keys
    "sampling.token_merging_ratio", "hires.cfg_scale", "source.color_reference",
})  # fmt: skip


def to_request(body: GenerationBody, scripts: Mapping[str, dict[str, Any]] | None = None) -> GenerationRequest:
    """The request that a body asks for; `scripts` are its script arguments by name, already put in order.

    Raises InvalidRequest naming the REST field at fault, InvalidImage for what is not base64 of a picture.
    """
    try:
        return _to_request(_with_defaults(body), body, dict(scripts or {}))
    except ValidationError as error:
        problem = error.errors()[0]
        path = ".".join(str(part) for part in problem["loc"])
        raise InvalidRequest(f"{rest_name(path, body)}: {problem['msg']}", field=path) from error


def rest_name(path: str, body: GenerationBody) -> str:
    """The REST field that carries a request field, for messages; the path itself when none does."""
    for name, target in table_of(body).items():
        if target == path or target.endswith("." + path):
            return name
    return path


def table_of(body: GenerationBody) -> dict[str, str]:
    """REST field → request path for one route."""
    return {**COMMON, **SOURCE, **INPAINT} if isinstance(body, Img2ImgBody) else {**COMMON, **HIRES}


def _with_defaults(body: GenerationBody) -> dict[str, Any]:
    """The body's values, nulls replaced by the field's default where it has another."""
    fields = type(body).model_fields
    given = {name: getattr(body, name) for name in fields}
    return {name: fields[name].get_default(call_default_factory=True) if v is None else v for name, v in given.items()}


def _to_request(values: dict[str, Any], body: GenerationBody, scripts: dict[str, dict[str, Any]]) -> GenerationRequest:
    hires = _hires(values) if isinstance(body, Txt2ImgBody) else None
    return GenerationRequest(
        prompt=values["prompt"],
        negative_prompt=values["negative_prompt"],
        styles=tuple(values["styles"] or ()),
        seed=_seed(values),
        size=_first_pass_size(values, hires),
        batch=BatchPart(size=values["batch_size"], count=values["n_iter"]),
        sampling=_sampling(values),
        refiner=_refiner(values),
        source=_source(values) if isinstance(body, Img2ImgBody) else None,
        hires=hires,
        tiling=values["tiling"],
        restore_faces=values["restore_faces"],
        disable_extra_networks=values["disable_extra_networks"],
        save=None if values["save_images"] else False,
        scripts=scripts,
        overrides=overrides_of(body),
    )


def unrestricted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the API may change of some settings: as in A1111 not those about itself, which are passed over."""
    return {key: value for key, value in settings.items() if not key.startswith("api_")}


def overrides_of(body: GenerationBody) -> dict[str, Any]:
    """The settings of this one request. As in A1111 an empty checkpoint name means the one in use."""
    overrides = unrestricted(body.override_settings or {})
    if not overrides.get("sd_model_checkpoint"):
        overrides.pop("sd_model_checkpoint", None)
    return overrides


def _seed(values: dict[str, Any]) -> SeedPart:
    width, height = values["seed_resize_from_w"], values["seed_resize_from_h"]
    return SeedPart(
        value=values["seed"],
        variation=values["subseed"],
        variation_strength=values["subseed_strength"],
        resize_from=Size(width=width, height=height) if width > 0 and height > 0 else None,
    )


_SAMPLING = ("steps", "cfg_scale", "eta", "s_churn", "s_tmin", "s_tmax", "s_noise", "s_min_uncond")


def _sampling(values: dict[str, Any]) -> SamplingPart:
    names = resolve(values["sampler_name"] or values["sampler_index"], values["scheduler"])
    return SamplingPart(
        sampler=names.sampler,
        schedule=values["scheduler"] or names.schedule,  # one that is given wins over a label such as "DPM++ 2M Karras"
        image_cfg_scale=values.get("image_cfg_scale"),
        **{name: values[name] for name in _SAMPLING},
    )  # fmt: skip


def _refiner(values: dict[str, Any]) -> RefinerPart | None:
    name, switch_at = values["refiner_checkpoint"], values["refiner_switch_at"]
    if name in (None, "", "None", "none") or switch_at is None:
        return None
    return RefinerPart(checkpoint=name, switch_at=switch_at)


def _hires(values: dict[str, Any]) -> HiresPart | None:
    if not values["enable_hr"]:
        return None
    strength = values["denoising_strength"]
    if strength is None:
        raise InvalidRequest("denoising_strength is needed with enable_hr", field="hires.denoising_strength")
    first = values["firstpass_image"]
    return HiresPart(
        upscaler=values["hr_upscaler"] or "Latent",
        steps=values["hr_second_pass_steps"],
        denoising_strength=strength,
        scale=values["hr_scale"],
        resize_width=values["hr_resize_x"],
        resize_height=values["hr_resize_y"],
        checkpoint=_unless_same(values["hr_checkpoint_name"], "Use same checkpoint"),
        sampler=_unless_same(values["hr_sampler_name"], "Use same sampler"),
        schedule=_unless_same(values["hr_scheduler"], "Use same scheduler"),
        prompt=values["hr_prompt"],
        negative_prompt=values["hr_negative_prompt"],
        first_pass_image=picture(first, "firstpass_image") if first else None,
    )


def _unless_same(name: str | None, same: str) -> str | None:
    return None if name in (None, "", same) else name


def _first_pass_size(values: dict[str, Any], hires: HiresPart | None) -> Size:
    """The asked size; with A1111's old `firstphase_*` fields that one, which the other hires fields then enlarge."""
    width, height = values["width"], values["height"]
    if hires is not None and (values["firstphase_width"] or values["firstphase_height"]):
        width, height = values["firstphase_width"] or width, values["firstphase_height"] or height
    return Size(width=width, height=height)


def _source(values: dict[str, Any]) -> SourcePart:
    return SourcePart(
        images=tuple(picture(text, "init_images") for text in values["init_images"]),
        denoising_strength=values["denoising_strength"],
        resize_mode=_by_index(ResizeMode, values["resize_mode"], "resize_mode"),
        initial_noise_multiplier=values["initial_noise_multiplier"],
        inpaint=_inpaint(values) if values["mask"] else None,
        depth=picture(values["depth_image"], "depth_image") if values["depth_image"] else None,
        image_noise_level=values["image_noise_level"],
    )


def _inpaint(values: dict[str, Any]) -> InpaintPart:
    blur = values["mask_blur"]
    latent_mask = values["latent_mask"]
    return InpaintPart(
        mask=picture(values["mask"], "mask"),
        latent_mask=picture(latent_mask, "latent_mask") if latent_mask else None,
        blur_x=values["mask_blur_x"] if blur is None else blur,
        blur_y=values["mask_blur_y"] if blur is None else blur,
        invert=bool(values["inpainting_mask_invert"]),
        content=_by_index(MaskedContent, values["inpainting_fill"], "inpainting_fill"),
        only_masked=values["inpaint_full_res"],
        padding=values["inpaint_full_res_padding"],
        rounded=values["mask_round"],
    )


def _by_index(choice: Any, index: int, field: str) -> Any:
    members = list(choice)
    if not 0 <= index < len(members):
        shown = ", ".join(f"{place} ({member})" for place, member in enumerate(members))
        raise InvalidRequest(f"{field} is {index}; it must be one of {shown}", field=field)
    return members[index]


def picture(text: str, field: str) -> ImageData:
    """A picture from base64 text, its header read; raises InvalidImage naming the REST field."""
    try:
        image = ImageData.from_base64(text)
        image.size  # noqa: B018 - reads the header
    except InvalidImage as error:
        raise InvalidImage(f"{field}: {error}", field=field) from error
    return image
