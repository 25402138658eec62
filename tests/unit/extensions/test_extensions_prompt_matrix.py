"""Prompt matrix: which prompts, in which order, and what is struck out where."""

from __future__ import annotations

import pytest

from modules.errors import InvalidRequest
from modules.extensions.api import GenerationRequest, NewPicture
from tests.unit.extensions.recipes import module, run

NAME = "Prompt matrix"
matrix = module("prompt_matrix")
REQUEST = GenerationRequest(prompt="a street | at night|in rain,", seed={"value": 5}, size={"width": 64, "height": 64})


def test_every_subset_of_the_parts_is_run_in_binary_order_with_one_seed():
    done = run(NAME, REQUEST, {})
    assert [request.prompt for request in done.requests] == [
        "a street", "a street, at night", "a street, in rain", "a street, at night, in rain",
    ]  # fmt: skip
    assert {request.seed.value for request in done.requests} == {5}
    assert isinstance(done.shown[0], NewPicture) and done.shown[0].basename == "prompt_matrix"
    assert len(done.shown) == 5


def test_parts_go_first_joined_by_spaces_in_the_negative_prompt_with_seeds_that_count():
    request = REQUEST.model_copy(update={"prompt": "kept", "negative_prompt": "blur|noise"})
    args = {"put_at_start": True, "delimiter": "space", "prompt_type": "negative", "different_seeds": True}
    done = run(NAME, request, args)
    assert [(r.prompt, r.negative_prompt, r.seed.value) for r in done.requests] == [
        ("kept", "blur", 5),
        ("kept", "noise blur", 6),
    ]


def test_half_of_the_parts_varies_across_and_the_rest_down_with_absent_ones_struck_out():
    legend = matrix._legend
    columns = legend(["at night", "in rain"])
    assert [[(label.text, label.is_active) for label in labels] for labels in columns] == [
        [("at night", False), ("in rain", False)], [("at night", True), ("in rain", False)],
        [("at night", False), ("in rain", True)], [("at night", True), ("in rain", True)],
    ]  # fmt: skip
    three = run(NAME, REQUEST.model_copy(update={"prompt": "a|b|c|d"}), {"margin": 2}).shown[0].image
    assert three.width == 64 * 3 // 4 + 4 * 64 + 3 * 2  # four columns of two parts, two rows of one


def test_too_many_parts_are_refused_before_anything_is_made():
    with pytest.raises(InvalidRequest, match="2048 pictures"):
        run(NAME, REQUEST.model_copy(update={"prompt": "|".join("abcdefghijkl")}), {})
