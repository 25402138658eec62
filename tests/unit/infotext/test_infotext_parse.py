"""Reading infotext: A1111's grammar, what missing keys mean, and old versions."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.infotext import legacy
from modules.infotext.parse import Infotext, pairs, parse
from modules.infotext.write import last_line
from tests.unit.infotext.recorded import cases


@pytest.mark.parametrize(
    "line, values",
    [
        ("Steps: 20, Abc:b:c, Dx: 1", {"Steps": "20", "Abc": "b:c", "Dx": "1"}),
        ('Steps: 20, Kx: "a" tail, Vx: 3', {"Steps": "20", "Kx": '"a" tail', "Vx": "3"}),
        ("Steps: 20, Time: 1:2:3, Zz: 4", {"Steps": "20", "Time": "1:2:3", "Zz": "4"}),
        ("Steps: 20 ,Zz : 4, Yy: 1", {"Steps": "20 ", "Zz ": "4", "Yy": "1"}),
        ("Steps: 2, Size: 512x768, Ab: 1", {"Steps": "2", "Size-1": "512", "Size-2": "768", "Ab": "1"}),
        ("Steps: 2, Aa: , Bb: 1, Cc: 2", {"Steps": "2", "Bb": "1", "Cc": "2"}),
        ('Steps: 2, Hashes: "a: 1, b: \\"2\\"", Cc: 2', {"Steps": "2", "Hashes": 'a: 1, b: "2"', "Cc": "2"}),
        ("Steps: 2, X: 5, Bb: 1, Cc: 2", {"Steps": "2", "Bb": "1", "Cc": "2"}),
        ("Steps: 2, A(b): 5, Bb: 1, Cc: 2", {"Steps": "2", "Bb": "1", "Cc": "2"}),
        ('Steps: 2, Bad: "\\x", Cc: 2', {"Steps": "2", "Bad": '"\\x"', "Cc": "2"}),
    ],
)  # fmt: skip
def test_the_last_line_is_read_as_a1111_reads_it(line, values):
    assert parse(line).values == values


def test_texts_stand_above_the_values():
    read = parse(" a cat, \n (big:1.2)\n\nNegative prompt: dog\n  cow\nSteps: 1, Seed: 2, Size: 8x8 ")
    assert (read.prompt, read.negative_prompt) == ("a cat,\n(big:1.2)\n", "dog\ncow")


def test_two_pairs_are_no_values_but_prompt():
    assert parse("a\nSteps: 1, Seed: 2") == Infotext("a\nSteps: 1, Seed: 2")


def test_a_plain_text_is_a_prompt():
    assert parse("just a cat") == Infotext("just a cat")
    assert parse("") == Infotext()


def test_a_hostile_line_is_read_in_linear_time():
    started = time.perf_counter()
    parse("word " * 100_000 + "\n" + "a b " * 100_000 + ":" * 1000)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_a_recorded_last_line_comes_out_as_it_went_in(case):
    for text in case["infotexts"]:
        line = text.rpartition("\n")[2]
        assert last_line(dict(pairs(line))) == line


KEYS = st.from_regex(r"[A-Za-z][A-Za-z \-/]{1,10}", fullmatch=True).filter(lambda key: not key.endswith(("-1", "-2")))
VALUES = st.text(min_size=1).filter(lambda text: text.strip() == text and not text.startswith('"'))


@given(st.dictionaries(KEYS, VALUES, min_size=3))
def test_any_value_survives_writing_and_reading(entries):
    entries = {key: value for key, value in entries.items() if key != value}
    assert dict(pairs(last_line(entries))) == entries


PROMPTS = st.text(st.characters(exclude_categories=("Cs",))).filter(
    lambda text: (
        "\n".join(line.strip() for line in text.split("\n")).strip() == text
        and not any(line.startswith("Negative prompt:") for line in text.split("\n"))
    )
)


@given(PROMPTS, PROMPTS)
def test_any_prompt_survives_writing_and_reading(prompt, negative):
    text = f"{prompt}\nNegative prompt: {negative}\nSteps: 1, Seed: 2, Sampler: Euler"
    read = parse(text)
    assert (read.prompt, read.negative_prompt) == (prompt, negative)


@given(st.text())
def test_anything_can_be_read(text):
    legacy.understood(parse(text))


BY_STEPS = "Refiner switch by sampling steps"


def understood(**values):
    prompt = values.pop("prompt", "")
    return legacy.understood(Infotext(prompt, "", {key.replace("_", " "): value for key, value in values.items()}))


def test_missing_keys_mean_defaults():
    values = understood(Steps="3").values
    assert values["Clip skip"] == "1" and values["RNG"] == "GPU" and values["Hires resize-1"] == "0"
    assert values["Masked area padding"] == "32" and values["Schedule type"] == "Automatic"
    assert "Emphasis" not in values and "Cache FP16 weight for LoRA" not in values


def test_emphasis_is_only_assumed_where_a_prompt_has_weights():
    assert understood(prompt="a (cat:1.2)").values["Emphasis"] == "Original"
    assert "Emphasis" not in understood(prompt="a cat").values
    assert "Emphasis" not in understood(prompt="a cat BREAK a dog").values


def test_given_keys_are_not_replaced():
    assert understood(RNG="NV").values["RNG"] == "NV"


@pytest.mark.parametrize(
    "version, values, added",
    [
        ("v1.5.2", {"prompt": "[a:b:3]"}, {"Old prompt editing timelines", "Downcast alphas_cumprod"}),
        ("v1.5.2", {"Sampler": "DDIM"}, {"Pad conds v0", "Downcast alphas_cumprod"}),
        ("v1.6.0", {"prompt": "[a:b:3]", "Refiner": "x"}, {"Downcast alphas_cumprod", BY_STEPS}),
        ("v1.7.0-224-gabc", {}, {"Downcast alphas_cumprod"}),
        ("v1.7.0-225-gabc", {}, set()),
        ("1.8.0-RC", {"Refiner": "x"}, {BY_STEPS}),
        ("v1.10.1", {"prompt": "[a:b:3]", "Refiner": "x", "Sampler": "PLMS"}, set()),
        ("f0.0.17v1.8.0rc-latest", {"prompt": "[a:b:3]"}, set()),
        ("", {"prompt": "[a:b:3]"}, set()),
    ],
)  # fmt: skip
def test_a_version_brings_back_its_behaviour(version, values, added):
    rules = (
        "Old prompt editing timelines",
        "Pad conds v0",
        "Downcast alphas_cumprod",
        "Refiner switch by sampling steps",
    )
    read = understood(Version=version, **values).values
    assert {rule for rule in rules if read.get(rule) == "True"} == added


def test_the_hypernetwork_key_becomes_a_tag():
    assert understood(prompt="a", Hypernet="anime", Hypernet_strength="0.5").prompt == "a<hypernet:anime:0.5>"
    assert understood(prompt="a", Hypernet="anime").prompt == "a<hypernet:anime:1.0>"


@pytest.mark.parametrize("first, size", [("384x512", ("384", "512")), ("0x0", ("448", "640"))])
def test_the_first_pass_size_swaps_places_with_the_size(first, size):
    read = legacy.understood(parse(f"a\nSteps: 1, Size: 768x1152, First pass size: {first}")).values
    assert (read["Size-1"], read["Size-2"]) == size
    assert (read["Hires resize-1"], read["Hires resize-2"]) == ("768", "1152")


def test_old_hires_sizes_put_the_final_size_first():
    text = parse("a\nSteps: 1, Size: 512x512, Hires resize: 1024x768, Seed: 1")
    read = legacy.understood(text, old_hires_sizes=True).values
    assert (read["Size-1"], read["Size-2"]) == ("1024", "768")


def test_lora_tags_get_the_name_their_file_has_here():
    text = parse('a <lora:old:1> <lora:other:1>\nSteps: 1, Seed: 1, Lora hashes: "old: aabb, other: ccdd"')
    read = legacy.understood(text, lora_named={"aabb": "new"}.get)
    assert read.prompt == "a <lora:new:1> <lora:other:1>"


def test_additional_networks_become_tags():
    text = parse(
        "a\nSteps: 1, AddNet Enabled: True, AddNet Module 1: LoRA, AddNet Model 1: foo(1234), AddNet Weight A 1: 0.7"
    )
    assert legacy.understood(text).prompt == "a\n<lora:foo:0.7>"
