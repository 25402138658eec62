from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.errors import SettingsError
from modules.prompts.styles import Style, StyleBook, StyleFile, apply_text, divider, extract_text

CSV = (
    "\ufeffname,prompt,negative_prompt\n"
    'oil,"oil painting of {prompt}, dramatic light","flat, dull"\n'
    '# a remark,"kept, but no style",\n'
    'sharp,"highly detailed, sharp",noise\n'
    "nothing,,\n"
)


@pytest.fixture
def book(tmp_path) -> StyleBook:
    (tmp_path / "styles.csv").write_text(CSV, encoding="utf-8")
    return StyleBook.load([tmp_path / "styles.csv"])


def test_rows_are_read_with_byte_order_mark_and_remarks_are_no_styles(book):
    assert list(book.styles) == ["oil", "sharp", "nothing"]
    assert book.styles["sharp"] == Style("sharp", "highly detailed, sharp", "noise")


def test_old_files_call_the_prompt_text(tmp_path):
    (tmp_path / "old.csv").write_text("name,text\nx,y\n")
    assert StyleBook.load([tmp_path / "old.csv"]).styles["x"] == Style("x", "y", "")


def test_a_style_is_put_around_the_prompt_or_after_it(book):
    assert book.apply(["oil", "sharp"], "a cat", "blurry") == (
        "oil painting of a cat, dramatic light, highly detailed, sharp",
        "blurry, flat, dull, noise",
    )


def test_joining_leaves_no_stray_commas(book):
    assert book.apply(["sharp"], " ", "") == ("highly detailed, sharp", "noise")
    assert book.apply(["nothing"], "a cat", "") == ("a cat", "")


def test_unknown_styles_only_take_the_blanks_off_the_ends(book):
    assert book.apply(["None", "gone"], " a cat ", "b") == ("a cat", "b")
    assert book.apply([], " a cat ", "b") == (" a cat ", "b")


def test_a_pasted_prompt_gives_back_the_styles_in_order_of_applying(book):
    prompt, negative = book.apply(["oil", "sharp"], "a cat", "blurry")
    assert book.extract(prompt, negative) == (("oil", "sharp"), "a cat", "blurry")


def test_a_style_is_found_only_when_both_its_texts_are(book):
    assert book.extract("a cat, highly detailed, sharp", "blurry") == ((), "a cat, highly detailed, sharp", "blurry")


@pytest.mark.parametrize(
    "style, prompt, rest",
    [
        ("x", "a, x", "a"),
        ("x", "x", ""),
        ("x", "ax", "a"),
        ("x {prompt} y", "x a y", "a"),
        ("ab{prompt}bc", "abc", None),  # left and right part may not overlap
        ("x  y", "a, x y", "a"),  # runs of spaces count as one
        ("x", "a", None),
    ],
)
def test_what_is_left_of_a_prompt_without_a_style(style, prompt, rest):
    assert extract_text(style, prompt) == rest


@given(st.text(alphabet="ab,{} \n"), st.text(alphabet="abc, {prompt}\n"))
def test_applying_and_extracting_any_text_never_fails(prompt, style):
    assert isinstance(apply_text(style, prompt), str)
    assert extract_text(style, prompt) is None or len(extract_text(style, prompt)) <= len(prompt)


def test_wildcards_and_several_files_get_dividers(tmp_path):
    (tmp_path / "b_styles.csv").write_text("name,prompt,negative_prompt\ntwo,2,\nsame,late,\n")
    (tmp_path / "a_styles.csv").write_text("name,prompt,negative_prompt\none,1,\nsame,early,\n")
    book = StyleBook.load([tmp_path / "*_styles.csv", tmp_path / "a_styles.csv", tmp_path / "new.csv"])
    assert [file.path.name for file in book.files] == ["a_styles.csv", "b_styles.csv", "new.csv"]
    assert book.styles["same"].prompt == "late"
    shown = book.choices()
    assert shown == (" A_STYLES ".center(40, "-"), "one", "same", " B_STYLES ".center(40, "-"), "two")
    assert len(divider(book.files[0].path)) == 40
    assert book.apply([shown[0]], "a", "") == ("a", "")


def test_saving_keeps_remarks_and_the_former_file(book):
    path = book.files[0].path
    changed = book.with_style(Style("sharp", "very sharp")).with_style(Style("new", "line\nbreak", 'quo"te'))
    changed.save()
    assert StyleBook.load([path]) == changed
    assert path.read_bytes().startswith(b"\xef\xbb\xbfname,prompt,negative_prompt\r\n")
    assert "# a remark" in path.read_text(encoding="utf-8-sig")
    assert (path.parent / "styles.csv.bak").read_text(encoding="utf-8") == CSV
    assert sorted(os.listdir(path.parent)) == ["styles.csv", "styles.csv.bak"]


def test_deleting_a_style_leaves_the_others(book):
    book.without("oil").save()
    assert list(StyleBook.load([book.files[0].path]).styles) == ["sharp", "nothing"]


def test_a_book_without_files_on_disk_makes_them_once_there_is_a_style(tmp_path):
    book = StyleBook.load([tmp_path / "deep" / "styles.csv"])
    book.save()
    assert not (tmp_path / "deep").exists()
    book.with_style(Style("x", "y")).save()
    assert StyleBook.load([tmp_path / "deep" / "styles.csv"]).styles == {"x": Style("x", "y")}


@pytest.mark.parametrize("name", ["", "#x", " x"])
def test_a_name_that_a_file_could_not_give_back_is_refused(book, name):
    with pytest.raises(SettingsError, match="cannot name a style"):
        book.with_style(Style(name, "y"))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", b"prompt,negative_prompt\na,b\n"])
def test_a_file_that_is_no_styles_file_is_named(tmp_path, content):
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(SettingsError, match=r"bad\.csv"):
        StyleBook.load([tmp_path / "bad.csv"])


TEXT = st.text("ab,\"'\n {}#=é", max_size=12)
NAME = st.text("ab,\"' #", min_size=1, max_size=6).filter(lambda name: name[0] not in " #")


@given(st.lists(st.builds(Style, NAME, TEXT, TEXT), max_size=4))
def test_any_styles_survive_a_round_trip_through_a_file(tmp_path_factory, styles):
    unique = {style.name: style for style in styles}
    path = tmp_path_factory.mktemp("styles") / "s.csv"
    book = StyleBook((StyleFile(path),))
    for style in unique.values():
        book = book.with_style(style)
    book.save()
    assert StyleBook.load([path]).styles == unique
