"""Pictures as file bytes: which formats there are, and texts inside them where A1111 puts them."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import Image, PngImagePlugin

from modules.errors import SavingError

USER_COMMENT = 0x9286
EXIF_IFD = 0x8769
PARAMETERS = "parameters"
"""The PNG text keyword, and our name anywhere else, of a picture's infotext."""

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif"})
"""Files that are results: what is imported into the gallery, and what Extras finds in a folder."""

_LARGEST_SIDE = {"JPEG": 65535, "WEBP": 16383}
_LARGEST_EXIF = 65533 - 200  # a JPEG segment, less what the EXIF structure itself needs
_WITH_EXIF = ("JPEG", "WEBP", "AVIF")


def format_of(extension: str) -> str:
    """Pillow's name of the format for a file extension with or without its dot: ".jpg" → "JPEG".

    Raises SavingError when Pillow cannot write it here.
    """
    Image.init()
    dotted = "." + extension.lower().lstrip(".")
    name = Image.registered_extensions().get(dotted)
    if name is None or name not in Image.SAVE:
        raise SavingError(f'pictures cannot be written as "{extension}"; use png, jpg, webp or avif')
    return name


def why_not(image: Image.Image, extension: str, infotext: str = "") -> str | None:
    """Why `image` with its infotext cannot be a file of that kind (it must be a PNG then), or None."""
    name = format_of(extension)
    limit = _LARGEST_SIDE.get(name)
    if limit is not None and max(image.size) > limit:
        return f"{name} holds at most {limit} pixels a side, the picture has {image.width}x{image.height}"
    if name == "JPEG" and 2 * len(infotext) > _LARGEST_EXIF:
        return f"JPEG holds about {_LARGEST_EXIF // 2} characters of text, the infotext has {len(infotext)}"
    return None


def encode(
    image: Image.Image,
    extension: str = "png",
    *,
    texts: Mapping[str, str] | None = None,
    quality: int = 80,
    lossless: bool = False,
) -> bytes:
    """`image` as the bytes of a file of the kind that `extension` names.

    `texts` go into a PNG's text chunks under their own keywords. JPEG, WebP and AVIF carry `texts["parameters"]` as
    EXIF UserComment, GIF as its comment, other formats nothing. `quality` is for JPEG, WebP and AVIF, `lossless` for
    WebP. Raises SavingError when the picture cannot be a file of that kind (see `why_not`).
    """
    name = format_of(extension)
    texts = {key: sound_text(value) for key, value in (texts or {}).items()}
    infotext = texts.get(PARAMETERS, "")
    if problem := why_not(image, extension, infotext):
        raise SavingError(problem)
    buffer = io.BytesIO()
    if name == "PNG":
        info = PngImagePlugin.PngInfo()
        for key, value in texts.items():
            info.add_text(key, value)
        image.save(buffer, name, pnginfo=info)
    elif name in _WITH_EXIF:
        shape: dict[str, object] = {"exif": exif_with(infotext)} if infotext else {}
        if name == "WEBP":
            shape["lossless"] = lossless
        _eight_bit(image, name).save(buffer, name, quality=quality, **shape)
    elif name == "GIF":
        image.save(buffer, name, comment=infotext.encode("utf-8"))
    else:
        image.save(buffer, name)
    return buffer.getvalue()


def exif_with(infotext: str) -> bytes:
    """An EXIF block whose UserComment is `infotext`: "UNICODE", then UTF-16 with the high byte first."""
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + infotext.encode("utf-16-be")
    return exif.tobytes()


def sound_text(text: str) -> str:
    """`text` with what no file can hold (halves of surrogate pairs) replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """`image` in a mode that `name` holds: no transparency in JPEG, 16-bit grey brought down to 8."""
    if image.mode.startswith("I"):
        return image.point(lambda value: value * (255 / 65535)).convert("L")
    if name == "JPEG" and image.mode not in ("RGB", "L", "CMYK"):
        return image.convert("RGB")
    return image if image.mode in ("RGB", "RGBA", "L", "CMYK") else image.convert("RGB")
