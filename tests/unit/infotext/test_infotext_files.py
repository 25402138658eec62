"""Texts inside picture files."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from modules.errors import InvalidImage
from modules.images import formats
from modules.images.data import ImageData
from modules.infotext.files import read_metadata, with_infotext

PICTURE = Image.new("RGB", (16, 8), "green")


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "avif", "gif"])
@pytest.mark.parametrize("text", ["plain", "zwölf\nBoxkämpfer", "猫 😀 \u200d", "x" * 20_000])
def test_a_text_comes_back_from_every_kind_of_file(extension, text):
    content = formats.encode(PICTURE, extension, texts={"parameters": text})
    read = read_metadata(content)
    assert read.infotext == text
    assert (read.width, read.height) == (16, 8)


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1).filter(lambda text: text.strip("\0")), st.sampled_from(["png", "jpg", "webp"]))
def test_any_unicode_survives_but_broken_surrogates(text, extension):
    read = read_metadata(formats.encode(PICTURE, extension, texts={"parameters": text})).infotext
    assert read == formats.sound_text(text)


def test_half_a_surrogate_pair_becomes_the_replacement_character():
    assert read_metadata(formats.encode(PICTURE, texts={"parameters": "a\ud800b"})).infotext == "a\ufffdb"


def test_other_texts_are_listed_and_technical_ones_are_not():
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "p")
    info.add_text("postprocessing", "Upscale: 2")
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG", pnginfo=info, dpi=(72, 72))
    read = read_metadata(buffer.getvalue())
    assert read.infotext == "p" and read.items == {"postprocessing": "Upscale: 2"}


def test_exif_wins_over_the_text_chunk():
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "chunk")
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG", pnginfo=info, exif=formats.exif_with("exif"))
    assert read_metadata(buffer.getvalue()).infotext == "exif"


def test_a_text_behind_the_pixels_is_found():
    content = formats.encode(PICTURE, texts={"parameters": "behind"})
    start = content.index(b"tEXt") - 4
    chunk = content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
    moved = content.replace(chunk, b"")
    end = moved.index(b"IEND") - 4
    assert read_metadata(moved[:end] + chunk + moved[end:]).infotext == "behind"


@pytest.mark.parametrize(
    "raw, text",
    [
        (b"UNICODE\0" + "größe".encode("utf-16-be"), "größe"),
        (b"UNICODE\0" + "cat".encode("utf-16-le"), "cat"),
        (b"UNICODE\0" + b"\xff\xfe" + "cat".encode("utf-16-le"), "cat"),
        (b"ASCII\0\0\0plain", "plain"),
        (b"no code at all", "no code at all"),
    ],
)  # fmt: skip
def test_comments_of_other_programs_are_read(raw, text):
    exif = Image.Exif()
    exif.get_ifd(formats.EXIF_IFD)[formats.USER_COMMENT] = raw
    buffer = io.BytesIO()
    PICTURE.save(buffer, "JPEG", exif=exif.tobytes())
    assert read_metadata(buffer.getvalue()).infotext == text


def test_novelais_metadata_becomes_an_infotext():
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "NovelAI")
    info.add_text("Description", "a fox")
    said = {"steps": 28, "sampler": "k_euler_ancestral", "scale": 11.0, "seed": 5, "uc": "bad"}
    info.add_text("Comment", json.dumps(said))
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG", pnginfo=info)
    read = read_metadata(buffer.getvalue())
    assert read.program == "NovelAI" and read.meant == read.infotext
    assert read.infotext == (
        "a fox\nNegative prompt: bad\n"
        "Steps: 28, Sampler: Euler a, CFG scale: 11.0, Seed: 5, Size: 16x8, Clip skip: 2, ENSD: 31337"
    )


@pytest.mark.parametrize("comment", ["", "not json", "[]", "{}"])
def test_broken_novelai_metadata_is_no_infotext(comment):
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "NovelAI")
    info.add_text("Comment", comment)
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG", pnginfo=info)
    read = read_metadata(buffer.getvalue())
    assert read.infotext is None and read.program == ""


def test_a_picture_without_text_has_no_infotext():
    assert read_metadata(formats.encode(PICTURE)).infotext is None


def test_what_is_not_a_picture_is_refused():
    with pytest.raises(InvalidImage):
        read_metadata(b"hello")


def test_a_new_infotext_replaces_the_old_and_keeps_other_texts():
    first = ImageData(formats.encode(PICTURE, texts={"parameters": "old", "extras": "Upscale: 2"}))
    read = read_metadata(with_infotext(first, "new"))
    assert read.infotext == "new" and read.items == {"extras": "Upscale: 2"}
