from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.errors import InvalidPrompt
from modules.prompts.emphasis import DEEPEST, Piece, has_syntax, legacy_factor, parse, plain

SIGNS = st.text(alphabet=st.sampled_from("ab ()[]:\\.12-+BREAK\n"), max_size=40)


def pieces(text: str) -> list[tuple[str, float]]:
    return [(piece.text, piece.weight) for piece in parse(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", [("", 1.0)]),
        ("a cat", [("a cat", 1.0)]),
        ("(cat)", [("cat", 1.1)]),
        ("((cat))", [("cat", 1.1 * 1.1)]),
        ("[cat]", [("cat", 1 / 1.1)]),
        ("(cat:1.3)", [("cat", 1.3)]),
        ("(cat: -1.3 )", [("cat", -1.3)]),
        ("(cat:0)", [("cat", 0.0)]),
        ("(cat:.5)", [("cat", 0.5)]),
        ("(a (b:1.5) c)", [("a ", 1.1), ("b", 1.5 * 1.1), (" c", 1.1)]),
        ("[a:1.3]", [("a:1.3", 1 / 1.1)]),
        ("(a:1.2", [("a:1.2", 1.1)]),
        ("(a:1.2:1.3)", [("a:1.2", 1.3)]),
        ("a)b]c:d", [("a)b]c:d", 1.0)]),
        ("a:1.2)", [("a:1.2)", 1.0)]),
        ("[a:1.2.3)", [("a:1.2.3)", 1 / 1.1)]),
        ("(a", [("a", 1.1)]),
        ("[a", [("a", 1 / 1.1)]),
        ("(a)(b)", [("ab", 1.1)]),  # neighbours of equal weight are one piece
        ("(a[b)c]", [("a", 1.1), ("b", 1.1 * (1 / 1.1)), ("c", 1 / 1.1)]),
        (r"a \(b\) \[c\]", [("a (b) [c]", 1.0)]),
        (r"a \\ b", [("a \\ b", 1.0)]),
        (r"a\b", [("ab", 1.0)]),
        (r"(a\:1.2)", [("a", 1.2)]),  # a backslash before anything but brackets just vanishes
        ("a BREAK b", [("a", 1.0), ("BREAK", -1.0), ("b", 1.0)]),
        ("a\nBREAK\n\nb", [("a", 1.0), ("BREAK", -1.0), ("b", 1.0)]),
        ("aBREAKb break", [("aBREAKb break", 1.0)]),
        ("(a BREAK b)", [("a", 1.1), ("BREAK", -1.1), ("b", 1.1)]),
    ],
)
def test_weights_follow_the_brackets(text, expected):
    assert pieces(text) == [(text, pytest.approx(weight, rel=1e-12)) for text, weight in expected]


def test_break_ends_a_chunk_only_outside_weights():
    assert [piece.is_break for piece in parse("a BREAK b")] == [False, True, False]
    assert not any(piece.is_break for piece in parse("(a BREAK b)"))
    assert not any(piece.is_break for piece in plain("BREAK"))


@pytest.mark.parametrize("weight", ["1.2.3", "..", "+.", "."])
def test_a_weight_that_is_no_number_is_refused_with_a_hint(weight):
    with pytest.raises(InvalidPrompt, match="is not a number") as caught:
        parse(f"a (cat:{weight})")
    assert caught.value.field == "prompt"


@pytest.mark.parametrize("opened", ["(", "[", "(["])
def test_brackets_without_end_are_refused_instead_of_weighed_for_minutes(opened):
    fitting = DEEPEST // len(opened)
    assert parse(f"\\( {opened * fitting}cat") and parse("(cat), " * 1000)
    with pytest.raises(InvalidPrompt, match="more than 200 brackets are open at once"):
        parse(opened * (fitting + 1))


@given(SIGNS)
def test_any_text_parses_or_is_refused_for_its_number(text):
    try:
        found = parse(text)
    except InvalidPrompt:
        assert ":" in text and ")" in text
    else:
        assert found and all(one.weight != other.weight for one, other in pairwise(found))


@given(st.text())
def test_nothing_but_such_a_number_is_ever_refused(text):
    assert parse(text.replace(":", ";"))


@given(st.text().filter(lambda text: not set(text) & set("()[]\\:") and "BREAK" not in text))
def test_plain_text_comes_back_as_it_went_in(text):
    assert parse(text) == (Piece(text, 1.0),)


@given(st.text(alphabet="ab ()[]\\"))
def test_escaped_text_is_literal(text):
    escaped = "".join("\\" + character if character in "()[]\\" else character for character in text)
    assert parse(escaped) == (Piece(text, 1.0),)


def test_infotext_counts_even_escaped_brackets_as_emphasis():
    assert has_syntax(r"a \(cat\)") and has_syntax("[a") and not has_syntax("a cat)")


@pytest.mark.parametrize(
    "token, factor",
    [("(", 1.1), ("((", 1.1 * 1.1), (")", 1 / 1.1), ("[", 1 / 1.1), ("]", 1.1), ("),</w>", 1 / 1.1)],
)
def test_legacy_brackets_inside_a_token_scale_the_weight(token, factor):
    assert legacy_factor(token) == pytest.approx(factor, rel=1e-12)


def test_legacy_tokens_without_brackets_are_text():
    assert legacy_factor("cat</w>") is None
