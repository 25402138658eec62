"""Which font a legend's text is written in."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ImageFont

from modules.errors import SettingsError
from modules.images import fonts

CHINESE = "\u4e00\u53ea\u82f9\u679c"
HAS_CHINESE = fonts._system_font_with(frozenset(CHINESE)) is not None


def test_latin_text_is_written_in_pillows_own_font():
    assert fonts.font_for("Steps: 20", 16).getname() == ImageFont.load_default(16).getname()


def test_a_letter_that_a_font_does_not_have_is_noticed():
    assert fonts._missing("", f"a {CHINESE[0]}b") == {CHINESE[0]}
    assert fonts._missing("", "Steps: 20 \n") == frozenset()


@pytest.mark.skipif(not HAS_CHINESE, reason="no font of this machine has Chinese letters")
def test_other_letters_are_written_in_a_font_of_the_machine_that_has_them_and_the_latin_ones_beside_them():
    font = fonts.font_for(f"Prompt S/R: {CHINESE}", 20)
    masks = {bytes(font.getmask(letter)) for letter in (*CHINESE, "P", "\U0010ffff")}
    assert len(masks) == 6, "six different signs, none of them the box"


def test_letters_that_no_font_has_do_not_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path])
    fonts._system_font_with.cache_clear()
    try:
        assert fonts.font_for(CHINESE, 12).getname() == ImageFont.load_default(12).getname()
    finally:
        fonts._system_font_with.cache_clear()


def test_a_chosen_font_that_cannot_be_read_is_named():
    with pytest.raises(SettingsError, match=r"nowhere\.ttf"):
        fonts.font_for("a", 12, "nowhere.ttf")
