"""Colour sketches: what was painted over a picture, laid on it, and as the mask of "Inpaint sketch"."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from modules.errors import InvalidRequest


def paint(image: Image.Image, sketch: Image.Image) -> Image.Image:
    """`image` with `sketch` (RGBA, of its size) laid over it: RGB, or RGBA where the picture is transparent somewhere.

    Pixels without paint keep their bytes. Raises InvalidRequest when the sizes differ.
    """
    if image.size != sketch.size:
        raise InvalidRequest(
            f"the sketch has {sketch.width}x{sketch.height} pixels, the picture {image.width}x{image.height}; load the "
            "picture again",
            field="source.images",
        )
    is_transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    painted = image.convert("RGBA")
    painted.alpha_composite(sketch.convert("RGBA"))
    return painted if is_transparent else painted.convert("RGB")


def inpaint_sketch(
    image: Image.Image,
    sketch: Image.Image,
    *,
    blur: float,
    transparency: float = 0.0,
    mask: Image.Image | None = None,
) -> tuple[Image.Image, Image.Image]:
    """The picture and the mask (mode L) that "Inpaint sketch" starts from.

    The mask is white where paint made a difference in any channel, darker by `transparency` (0 to 1); `mask` (L) adds
    what was painted as mask besides. The paint is blended in softly: picture and mask blurred by `blur` pixels. These
    are A1111's rules (its "Mask transparency" is in percent).
    """
    painted = paint(image, sketch)
    original = image.convert(painted.mode)
    differs = (np.asarray(painted) != np.asarray(original)).any(axis=-1)
    strokes = Image.fromarray(differs.astype(np.uint8) * 255)
    strokes = ImageEnhance.Brightness(strokes).enhance(1 - transparency)
    soft = ImageFilter.GaussianBlur(blur)
    if painted.mode == "RGBA":  # colours weighted by how much of them is seen: hidden ones must not be mixed in
        painted, original = painted.convert("RGBa"), original.convert("RGBa")
    started = Image.composite(painted.filter(soft), original, strokes.filter(soft))
    if started.mode == "RGBa":
        started = started.convert("RGBA")
    return started, strokes if mask is None else ImageChops.lighter(strokes, mask.convert("L"))
