from __future__ import annotations

import time

import lark
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.prompts.schedule import Alternation, Segment, Switch, parse, schedule, segment_at

SIGNS = st.text(alphabet=st.sampled_from("ab[]():|\\ 1.5\n"), max_size=16)
NESTED = st.recursive(
    st.sampled_from(["a", "b ", "", "c d", "1"]),
    lambda inner: st.one_of(
        st.builds("[{}:{}:{}]".format, inner, inner, st.sampled_from(["1", "0.5", "3", "1.5", "-1"])),
        st.builds("[{}:{}]".format, inner, st.sampled_from(["2", ".5"])),
        st.builds("[{}|{}]".format, inner, inner),
        st.builds("({}:1.2)".format, inner),
        st.builds("{}{}".format, inner, inner),
    ),
    max_leaves=6,
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("test", [(10, "test")]),
        ("", [(10, "")]),
        ("a [b:3]", [(3, "a "), (10, "a b")]),
        ("a [b: 3 ]", [(3, "a "), (10, "a b")]),
        ("a [:b:3]", [(3, "a "), (10, "a b")]),
        ("a [b::3]", [(3, "a b"), (10, "a ")]),
        ("a [b:c:0.5] d", [(5, "a b d"), (10, "a c d")]),
        ("a [[[b]]:2]", [(2, "a "), (10, "a [[b]]")]),
        ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
        ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
        ("a [unbalanced", [(10, "a [unbalanced")]),
        ("((a][:b:c [d:3]", [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
        ("[a:b:3] ratio 16:9 :)", [(3, "a ratio 16:9 :)"), (10, "b ratio 16:9 :)")]),
        # from the reference's table of vectors: ten steps, first order
        ("[a:b:1.0]", [(10, "a")]),
        ("[a:b:1]", [(1, "a"), (10, "b")]),
        ("[a:b:12]", [(10, "a")]),
        ("[a:b:1.5]", [(10, "a")]),
        ("[a:b:1e-1]", [(10, "b")]),
        ("[a:b:0]", [(10, "b")]),
        ("[a:b:-3]", [(10, "b")]),
        # none of the forms: literal
        ("[a:b]", [(10, "[a:b]")]),
        ("[a|b:0.5]", [(10, "[a|b:0.5]")]),
        ("[a:b:c:0.5]", [(10, "[a:b:c:0.5]")]),
        ("a | b [c:3]", [(10, "a | b [c:3]")]),
        ("(a|b) [c:3]", [(10, "(a|b) [c:3]")]),
        (r"\[a:b:3\]", [(10, r"\[a:b:3\]")]),
        ("[a:3] \\", [(10, "[a:3] \\")]),
        ("{a|b} [c:3]", [(10, "{a|b} [c:3]")]),
    ],
)
def test_a_first_pass_of_ten_steps(text, expected):
    assert schedule(text, 10) == tuple(Segment(*segment) for segment in expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[a:b:0.5]", [(6, "b")]),
        ("[a:b:1.0]", [(6, "b")]),
        ("[a:b:1]", [(6, "b")]),
        ("[a:b:12]", [(2, "a"), (6, "b")]),
        ("[a:b:1.5]", [(3, "a"), (6, "b")]),
        ("[a:b:1e-1]", [(6, "b")]),
    ],
)
def test_a_hires_pass_of_six_steps_after_ten(text, expected):
    assert schedule(text, 6, first_pass_steps=10) == tuple(Segment(*segment) for segment in expected)


def test_an_alternation_takes_turns_and_has_a_segment_for_every_step():
    assert [segment.text for segment in schedule("[fe|||]male", 6)] == [
        "female",
        "male",
        "male",
        "male",
        "female",
        "male",
    ]
    nested = schedule("[a:[b|c]:5]", 10)
    assert [segment.text for segment in nested] == [*"aaaaa", *"cbcbc"]  # step 6 is the sixth turn
    assert [segment.end_at_step for segment in nested] == list(range(1, 11))
    assert [s.text for s in schedule("[a:[b|c]:5]", 6, first_pass_steps=10)] == [*"bcbcbc"]  # turns begin anew


def test_old_timelines_take_numbers_below_one_as_shares():
    assert schedule("[a:b:1.0]", 8, old_timelines=True) == (Segment(1, "a"), Segment(8, "b"))
    assert schedule("[a:b:0.5]", 8, old_timelines=True) == (Segment(4, "a"), Segment(8, "b"))


def test_old_timelines_mean_the_same_in_both_passes():
    assert schedule("[a:b:0.5]", 4, first_pass_steps=8, old_timelines=True) == schedule(
        "[a:b:0.5]", 8, old_timelines=True
    )


def test_a_segment_covers_one_model_call_more_than_its_steps():
    timeline = schedule("[a:b:3]", 8)
    assert [timeline[segment_at(timeline, call)].text for call in range(10)] == [*"aaaabbbbb", "a"]  # call 9: none left


@pytest.mark.parametrize("number", ["1e400", "9" * 400, "-1e400"])
def test_numbers_beyond_all_steps_are_clamped(number):
    assert schedule(f"[a:b:{number}]", 10)[-1] == Segment(10, "b" if number[0] == "-" else "a")


@given(st.text(), st.integers(1, 12), st.none() | st.integers(1, 12), st.booleans())
def test_any_text_has_a_schedule(text, steps, first_pass_steps, old_timelines):
    timeline = schedule(text, steps, first_pass_steps=first_pass_steps, old_timelines=old_timelines)
    ends = [segment.end_at_step for segment in timeline]
    assert ends == sorted(set(ends)) and ends[0] >= 1


@given(st.text().filter(lambda text: "[" not in text))
def test_text_without_square_brackets_is_one_segment_of_itself(text):
    assert schedule(text, 7) == (Segment(7, text),)


HOSTILE = {
    "open": "[" * 20_000,
    "nested": "[a:" * 9_000 + ":1]" * 9_000,
    "alternating": "[a|" * 3_000 + "]" * 3_000,
    "round": "(" * 20_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_nesting_takes_no_long_time(text):
    started = time.perf_counter()
    schedule(text, 2)
    assert time.perf_counter() - started < 5  # quadratic work would take minutes


# The grammar of the module's docstring, for lark's Earley parser. Where a text can be read both as a construct and as
# stray brackets, lark's choice varies (in old versions even from run to run); ours is always the construct.
GRAMMAR = lark.Lark(
    r"""
    start: (inner | STRAY)*
    STRAY: /[\[\]():]/
    inner: (scheduled | alternate | emphasised | PLAIN)+
    scheduled: "[" [before] after ":" WHEN "]"
    before: inner? ":"
    after: inner?
    alternate: "[" option ("|" option)+ "]"
    option: inner?
    !emphasised: "(" inner? ")" | "(" inner? ":" inner? ")" | "[" inner? "]"
    PLAIN: /([^\\\[\]():|]|\\.)+/
    WHEN: /\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*/
    """,
    ambiguity="explicit",
)


def constructs_in_grammar(text: str) -> int | None:
    """The most constructs with which the grammar can read the text, or None when it cannot."""
    try:
        forest = GRAMMAR.parse(text)
    except lark.exceptions.LarkError:
        return None

    def most(node: lark.Tree | lark.Token | None) -> int:
        if not isinstance(node, lark.Tree):
            return 0
        counts = [most(child) for child in node.children]
        return max(counts) if node.data == "_ambig" else sum(counts) + (node.data in ("scheduled", "alternate"))

    return most(forest)


def constructs(sequence) -> int:
    total = 0
    for item in sequence:
        if isinstance(item, Switch):
            total += 1 + constructs(item.before) + constructs(item.after)
        elif isinstance(item, Alternation):
            total += 1 + sum(constructs(option) for option in item.options)
    return total


@settings(max_examples=60, deadline=None)
@given(SIGNS | NESTED.filter(lambda text: len(text) < 60))
def test_the_parser_reads_what_the_grammar_says(text):
    assert constructs(parse(text)) == (constructs_in_grammar(text) or 0)
