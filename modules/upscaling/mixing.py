"""Enlarging a picture as the Extras tab does: by or to, two upscalers mixed, cropped to fit (A1111, 8.7)."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from modules.errors import InvalidRequest
from modules.generation.extras import NO_UPSCALER, UpscalePart

RESULT_LIMIT = 256_000_000
"""Results with more pixels are refused before anything runs: they would not fit into memory several times over."""

Upscale = Callable[[Image.Image, str, float], Image.Image]
"""(picture, name of an upscaler, factor) → the picture enlarged."""


def enlarged(image: Image.Image, asked: UpscalePart, upscale: Upscale) -> tuple[Image.Image, dict[str, str]]:
    """`image` as asked, and what infotext says of it. Raises InvalidRequest for a result over RESULT_LIMIT."""
    if asked.upscaler == NO_UPSCALER:
        return image, {}
    image = image.convert("RGBA" if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA") else "RGB")
    factor, facts = _factor(image.size, asked)
    check_size(image.size, factor)
    result = _one(image, asked.upscaler, factor, upscale)
    facts["Postprocess upscaler"] = asked.upscaler
    if asked.second != NO_UPSCALER and asked.second_visibility > 0:
        second = _one(image, asked.second, factor, upscale)
        if second.size != result.size:
            second = second.resize(result.size, Image.Resampling.LANCZOS)
        result = Image.blend(result, second, asked.second_visibility)
        facts["Postprocess upscaler 2"] = asked.second
    if asked.mode == "to" and asked.crop:
        result = _centred(result, asked.width, asked.height)
    return result, facts


def _factor(size: tuple[int, int], asked: UpscalePart) -> tuple[float, dict[str, str]]:
    width, height = size
    if asked.mode == "to":
        facts = {"Postprocess upscale to": f"{asked.width}x{asked.height}"}
        if asked.crop:
            facts["Postprocess crop to"] = f"{asked.width}x{asked.height}"
        return max(asked.width / width, asked.height / height), facts
    facts = {"Postprocess upscale by": f"{asked.factor:g}"}
    longest = max(size)
    if asked.max_side and longest * asked.factor > asked.max_side:
        facts["Max side length"] = str(asked.max_side)
        return asked.max_side / longest, facts
    return asked.factor, facts


def check_size(size: tuple[int, int], factor: float) -> None:
    """Raises InvalidRequest when a picture of `size` enlarged by `factor` has more pixels than RESULT_LIMIT."""
    pixels = size[0] * size[1] * factor * factor
    if pixels > RESULT_LIMIT:
        raise InvalidRequest(
            f"{size[0]}x{size[1]} enlarged {factor:g} times has {pixels / 1e6:.0f} megapixels, "
            f"the limit is {RESULT_LIMIT / 1e6:.0f}; choose a smaller factor or a maximal side",
            field="upscale.factor",
        )


def _one(image: Image.Image, name: str, factor: float, upscale: Upscale) -> Image.Image:
    """One upscaler's result; transparency, which networks do not know, is enlarged beside it."""
    if image.mode != "RGBA":
        return upscale(image, name, factor)
    result = upscale(image.convert("RGB"), name, factor).convert("RGB")
    result.putalpha(image.getchannel("A").resize(result.size, Image.Resampling.LANCZOS))
    return result


def _centred(image: Image.Image, width: int, height: int) -> Image.Image:
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image, (width // 2 - image.width // 2, height // 2 - image.height // 2))
    return canvas
