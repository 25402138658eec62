"""Bodies that no file could hold."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.api.json_text import DEEPEST, is_nested_too_deeply, mended, mending


@given(st.text(st.characters(exclude_categories=()), max_size=30), st.booleans())
def test_any_text_can_be_stored_afterwards_and_whole_text_is_left_alone(text, escaped):
    body = json.dumps({"a": text}, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    got = json.loads(mended(body))["a"]
    got.encode("utf-8")
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert got == whole or not escaped  # raw halves that lie side by side are two halves, escaped ones are a pair


@pytest.mark.parametrize(
    "body, expected",
    [
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\ud83d"', "\ufffd"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (rb'"\\ud83d"', r"\ud83d"),  # a backslash and five letters
        (rb'"\\\ud83d"', "\\\ufffd"),
        (b'"\xed\xa0\x80"', "\ufffd"),
        ('"\U0001f600 \u00e4"'.encode("utf-16"), "\U0001f600 \u00e4"),
    ],
)
def test_halves_are_replaced_and_nothing_else(body, expected):
    assert json.loads(mended(body)) == expected


def test_a_body_in_pieces_is_mended_across_them_and_a_disconnect_is_passed_on():
    messages = iter(
        [
            {"type": "http.request", "body": rb'"\ud8', "more_body": True},
            {"type": "http.request", "body": rb'3d"', "more_body": False},
            {"type": "http.disconnect"},
        ]
    )

    async def receive():
        return next(messages)

    async def read():
        whole = mending(receive)
        return await whole(), await whole()

    first, second = asyncio.run(read())
    assert (first["body"], first["more_body"]) == (rb'"\ufffd"', False)
    assert second == {"type": "http.disconnect"}


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a": ', "}"), ('[{"\\"[": ', "}]")])
def test_nesting_is_counted_and_what_strings_hold_is_not(opening, closing):
    def nested(levels):
        return (opening * levels + "1" + closing * levels).encode()

    a_time = opening.count("[") - opening.count('"[') + opening.count("{")  # levels
    assert json.loads(nested(DEEPEST // a_time)) and not is_nested_too_deeply(nested(DEEPEST // a_time))
    assert is_nested_too_deeply(nested(DEEPEST // a_time + 1))
    assert not is_nested_too_deeply(json.dumps({"prompt": "[" * 5000 + '\\"{' * 5000}).encode())
    assert not is_nested_too_deeply(json.dumps([[{"a": []}]] * 5000).encode())
