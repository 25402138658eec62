"""A picture mixed with itself after its faces were restored, as the Extras tab does it. No torch."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

RestoreFaces = Callable[[Image.Image, str, float], tuple[Image.Image, int]]
"""(picture in RGB, "GFPGAN" or "CodeFormer", weight) → the picture with its faces restored, and how many there were."""


def faces_restored(
    image: Image.Image, name: str, visibility: float, weight: float | None, restore: RestoreFaces
) -> tuple[Image.Image, dict[str, str], int]:
    """`image` as asked, what infotext says of it, and how many faces there were; transparency stays as it is.

    `visibility` 0…1 is the restored picture's share; 0 runs nothing. `weight` is CodeFormer's, None for GFPGAN.
    """
    if not visibility:
        return image, {}, 0
    before = image.convert("RGB")
    restored, found = restore(before, name, weight or 0.0)
    mixed = Image.blend(before, restored, visibility) if visibility < 1 else restored
    if image.mode == "RGBA":
        mixed = mixed.copy()
        mixed.putalpha(image.getchannel("A"))
    facts = {f"{name} visibility": f"{round(visibility, 3):g}"}
    if weight is not None:
        facts[f"{name} weight"] = f"{round(weight, 3):g}"
    return mixed, facts, found
