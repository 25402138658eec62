"""Texts inside picture files: A1111's places for infotext, read from PNG, JPEG, WebP, AVIF and GIF; NovelAI's too.

What ComfyUI, InvokeAI and Fooocus write is translated in `foreign.py` and stands beside: A1111's API does not read it.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from modules.images.data import ImageData
from modules.images.formats import EXIF_IFD, PARAMETERS, USER_COMMENT, encode, sound_text
from modules.infotext.foreign import foreign_infotext

log = logging.getLogger(__name__)

_NOT_SHOWN = frozenset(
    {
        "jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "exif", "loop", "background", "timestamp",
        "duration", "progressive", "progression", "icc_profile", "chromaticity", "photoshop",
    }
)  # fmt: skip
_ENCODINGS = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii", b"JIS\0\0\0\0\0": "shift_jis"}
_GRAPH = re.compile(r"(prompt|workflow):\s*(\{.*)", re.DOTALL | re.IGNORECASE)
_NOVELAI_SAMPLERS = {
    "k_euler": "Euler",
    "k_euler_a": "Euler a",
    "k_euler_ancestral": "Euler a",
    "k_lms": "LMS",
    "k_heun": "Heun",
    "k_dpm_2": "DPM2",
    "k_dpm_2_a": "DPM2 a",
    "k_dpmpp_2m": "DPM++ 2M",
    "k_dpmpp_2s_a": "DPM++ 2S a",
    "k_dpmpp_sde": "DPM++ SDE",
    "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "k_dpmpp_3m_sde": "DPM++ 3M SDE",
    "k_dpm_fast": "DPM fast",
    "k_dpm_ad": "DPM adaptive",
    "k_lcm": "LCM",
    "restart": "Restart",
    "ddim": "DDIM",
    "ddim_cfgpp": "DDIM CFG++",
    "plms": "PLMS",
    "unipc": "UniPC",
}


@dataclass(frozen=True)
class Metadata:
    """What a picture file says about itself.

    `infotext` is None when there is none. `items` are the other texts, as PNG Info lists them. `width` and `height` are
    of the picture. `program` is another program whose own metadata was understood, and `translated` its infotext
    (NovelAI's is `infotext` itself, as in A1111).
    """

    infotext: str | None
    items: dict[str, str] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    program: str = ""
    translated: str | None = None

    @property
    def meant(self) -> str | None:
        """The infotext to go on with, whoever wrote it."""
        return self.translated or self.infotext


def read_metadata(picture: ImageData | bytes) -> Metadata:
    """The texts of a picture file; raises InvalidImage for what is not a picture.

    Text in EXIF's UserComment wins over PNG's "parameters"; without EXIF a GIF's or JPEG's comment does, as in A1111.
    Broken metadata is no metadata.
    """
    data = picture if isinstance(picture, ImageData) else ImageData(picture)
    width, height = data.size
    with Image.open(io.BytesIO(data.content)) as image:
        behind = _trailing_texts(data.content) if image.format == "PNG" else {}
        info: dict[str, Any] = {**behind, **image.info}
        comment, graphs = _exif_texts(image)
    infotext = _text(info.pop(PARAMETERS, None))
    if comment:
        infotext = comment
    elif "exif" not in info and info.get("comment"):
        infotext = _text(info["comment"])
    items = {key: text for key, value in info.items() if key not in _NOT_SHOWN and (text := _text(value)) is not None}
    items = {**graphs, **items}
    program, translated = foreign_infotext(items, infotext) or ("", None)
    if info.get("Software") == "NovelAI" and (composed := _novelai(items, width, height)):
        infotext, program, translated = composed, "NovelAI", None
    return Metadata(infotext or None, items, width, height, program, translated)


def with_infotext(picture: ImageData, infotext: str, *, extension: str = "png", quality: int = 80) -> ImageData:
    """`picture` as a file of that kind with `infotext` inside; its other texts are kept where the kind has room."""
    others = read_metadata(picture).items if extension.lower().lstrip(".") == "png" else {}
    texts = {PARAMETERS: infotext, **others}
    return ImageData(encode(picture.open(), extension, texts=texts, quality=quality))


def _trailing_texts(content: bytes) -> dict[str, str]:
    """Text chunks of a PNG that stand behind its pixels, where Pillow finds them only by decoding the picture.

    Compressed ones there are passed over: nobody writes them, and they could be bombs.
    """
    texts: dict[str, str] = {}
    position, is_behind = 8, False
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        kind, body = content[position + 4 : position + 8], slice(position + 8, position + 8 + length)
        is_behind = is_behind or kind == b"IDAT"
        if is_behind and kind == b"tEXt":
            key, _, value = content[body].partition(b"\0")
            texts[key.decode("latin-1")] = value.decode("latin-1")
        elif is_behind and kind == b"iTXt":
            key, _, rest = content[body].partition(b"\0")
            if rest[:1] == b"\0":
                _, _, value = rest[2:].partition(b"\0")
                texts[key.decode("latin-1")] = value.partition(b"\0")[2].decode("utf-8", "replace")
        position += 12 + length
    return texts


def _exif_texts(image: Image.Image) -> tuple[str, dict[str, str]]:
    """EXIF's UserComment, empty without one, and what ComfyUI writes: its graphs by name, `prompt` and `workflow`.

    Its own nodes put "prompt:{…}" and "workflow:{…}" into the tags for the camera's make and model; others use the
    description, or one object with both in the UserComment.
    """
    try:
        exif = image.getexif()
        comment = _decoded(exif.get_ifd(EXIF_IFD).get(USER_COMMENT, b""))
        texts = [text for text in exif.values() if isinstance(text, str)]
    except Exception:  # there is no list of what Pillow raises for a broken EXIF block
        log.debug("EXIF that cannot be read", exc_info=True)
        return "", {}
    found = (_GRAPH.match(text) for text in texts)
    return comment, {**_graphs_inside(comment), **{match[1].lower(): match[2] for match in found if match}}


def _graphs_inside(comment: str) -> dict[str, str]:
    try:
        said = json.loads(comment) if comment.startswith("{") else {}
    except (ValueError, RecursionError):
        return {}
    return {key: json.dumps(said[key]) for key in ("prompt", "workflow") if isinstance(said.get(key), dict)}


def _decoded(raw: object) -> str:
    """A UserComment as text: eight bytes name its encoding."""
    if isinstance(raw, str):
        return raw
    if not isinstance(raw, bytes):
        return ""
    encoding = _ENCODINGS.get(raw[:8])
    if encoding is None:
        return raw.strip(b"\0 ").decode("utf-8", "replace")
    text = raw[8:]
    if encoding == "utf-16-be" and _is_little_endian(text):
        encoding = "utf-16-le"
    return text.decode(encoding, "replace").lstrip("\ufeff")


def _is_little_endian(text: bytes) -> bool:
    """Whether UTF-16 bytes have their zeros in odd places, as some other programs write them."""
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return text[:2] == b"\xff\xfe"
    return text[1::2].count(0) > text[::2].count(0)


def _text(value: object) -> str | None:
    """A metadata value as text; None for what is not text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "ignore")
    return str(value) if isinstance(value, (str, int, float)) else None


def _novelai(items: Mapping[str, str], width: int, height: int) -> str | None:
    """Infotext composed from NovelAI's own metadata, None when it cannot be read."""
    try:
        said = json.loads(items.get("Comment", ""))
        sampler = _NOVELAI_SAMPLERS.get(str(said["sampler"]).lower(), "Euler a")
        line = (
            f"Steps: {said['steps']}, Sampler: {sampler}, CFG scale: {said['scale']}, Seed: {said['seed']}, "
            f"Size: {width}x{height}, Clip skip: 2, ENSD: 31337"
        )
        negative = said.get("uc", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    negative_line = f"\nNegative prompt: {negative}" if negative else ""
    return sound_text(f"{items.get('Description', '')}{negative_line}\n{line}")
