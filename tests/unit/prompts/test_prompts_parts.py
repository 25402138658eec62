from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.errors import InvalidPrompt
from modules.prompts import comments, composition, emphasis, extra_networks
from modules.prompts.extra_networks import LoraStrength, hypernetwork_strength, lora_strength


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("a cat", [("a cat", 1.0)]),
        ("a cat AND a dog", [("a cat", 1.0), (" a dog", 1.0)]),
        ("a cat :1.2 AND a dog :-0.6 ", [("a cat", 1.2), (" a dog", -0.6)]),
        ("cat:1.5", [("cat", 1.5)]),  # without any AND too
        ("(cat:1.5)", [("(cat:1.5)", 1.0)]),
        ("cat: 2.", [("cat", 2.0)]),
        ("cat:.5", [("cat", 0.5)]),
        ("cat:1e2", [("cat:1e2", 1.0)]),
        ("cat:", [("cat:", 1.0)]),
        ("a:1:2", [("a:1", 2.0)]),
        ("bAND ANDy and", [("bAND ANDy and", 1.0)]),
        ("[a AND b:0.5]", [("[a", 1.0), (" b:0.5]", 1.0)]),  # brackets do not hold it together
        ("AND", [("", 1.0), ("", 1.0)]),
        ("", [("", 1.0)]),
    ],
)
def test_and_splits_a_prompt_into_weighted_parts(prompt, expected):
    assert list(composition.split(prompt)) == expected


@pytest.mark.parametrize("text", ["cat " + " " * 100_000 + "x", "<a:" * 50_000], ids=["spaces", "open tags"])
def test_hostile_text_takes_no_long_time(text):
    started = time.perf_counter()
    composition.split(text)
    extra_networks.parse(text)
    comments.strip(text)
    emphasis.parse(text)
    assert time.perf_counter() - started < 5  # quadratic work would take minutes


@given(st.text())
def test_any_prompt_has_at_least_one_part(prompt):
    assert composition.split(prompt)


def test_tags_leave_the_text_and_keep_their_order():
    text, tags = extra_networks.parse("a <lora:one:0.5> cat<hypernet:two><foo:bar:x=1:y=2=3> <lora> <:a>")
    assert text == "a  cat <lora> <:a>"
    assert [(tag.kind, tag.name, tag.positional, dict(tag.named)) for tag in tags] == [
        ("lora", "one", ("0.5",), {}),
        ("hypernet", "two", (), {}),
        ("foo", "bar", ("y=2=3",), {"x": "1"}),  # only exactly one "=" makes an argument a named one
    ]


@pytest.mark.parametrize(
    "tag, strength",
    [
        ("<lora:x>", LoraStrength(1.0, 1.0, None)),
        ("<lora:x:0.5>", LoraStrength(0.5, 0.5, None)),
        ("<lora:x:0.5:0.7>", LoraStrength(0.5, 0.7, None)),
        ("<lora:x:0.5:0.7:8>", LoraStrength(0.5, 0.7, 8)),
        ("<lyco:x:te=0.3>", LoraStrength(0.3, 0.3, None)),
        ("<lora:x:0.5:te=0.3:unet=-1:dyn=4>", LoraStrength(0.3, -1.0, 4)),
    ],
)
def test_lora_arguments(tag, strength):
    assert lora_strength(extra_networks.parse(tag)[1][0]) == strength


def test_a_hypernetwork_has_one_argument():
    strong, plain = extra_networks.parse("<hypernet:x:0.5><hypernet:x>")[1]
    assert (hypernetwork_strength(strong), hypernetwork_strength(plain)) == (0.5, 1.0)


@pytest.mark.parametrize("tag, said", [("<lora:x:much>", 'te is "much"'), ("<lora:x:1:1:2.5>", "whole number")])
def test_an_argument_that_is_no_number_is_named(tag, said):
    with pytest.raises(InvalidPrompt, match=said):
        lora_strength(extra_networks.parse(tag)[1][0])


@given(st.text() | st.text(alphabet="<>:=lora "))
def test_tags_of_any_text_can_be_read_and_text_without_them_stays(prompt):
    text, tags = extra_networks.parse(prompt)
    assert (text == prompt) or tags


@pytest.mark.parametrize(
    "text, stripped",
    [
        ("a cat", "a cat"),
        ("a cat # note", "a cat \n"),
        ("a cat # note\na dog", "a cat \na dog"),
        ("a\n# note\nb", "a\nb"),
        ("# note\nb", "\nb"),
        ("a\n# one\n# two\nb", "a\n\nb"),
        (r"a \# b", "a \\\n"),
        ("", ""),
    ],
)
def test_comments_end_with_their_line(text, stripped):
    assert comments.strip(text) == stripped


@given(st.text())
def test_no_comment_sign_is_left_and_text_without_one_stays(text):
    stripped = comments.strip(text)
    assert "#" not in stripped and ("#" in text or stripped == text)
