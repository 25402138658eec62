"""The writer against every text that A1111 was seen to write."""

from __future__ import annotations

import json
import re

import pytest

from modules.infotext.fields import FIELDS
from modules.infotext.write import applied, grid_infotext, infotext
from tests.unit.infotext.recorded import cases, plan_of

ONLY_THE_RUN_KNOWS = tuple(field.label for field in FIELDS if field.on_run)
HAS_A_PLAN = [
    case
    for case in cases()
    # prompts from a file make several jobs of one request; a pasted infotext is read first; a grid is no picture
    if case["id"] not in ("script-promptsfile", "grid-batch") and "infotext" not in case["payload"]
]


def facts_of(plan, text):
    """What the run would report for this text: that a key applied, and values that only it can know."""
    line = text.rpartition("\n")[2]
    there = [label for label in ONLY_THE_RUN_KNOWS if re.search(rf"(^|, ){re.escape(label)}: ", line)]
    facts = applied(plan, *there)
    for label in ("Lora hashes", "TI hashes"):
        if found := re.search(rf'{label}: ("[^"]*")', line):
            facts[label] = json.loads(found[1])
    facts.update(re.findall(r"(Soft inpainting [\w ]+): ([^,]*)", line))
    return facts


@pytest.mark.parametrize("case", HAS_A_PLAN, ids=lambda case: case["id"])
def test_the_text_is_the_one_a1111_wrote(case):
    plan = plan_of(case)
    for index, text in enumerate(case["infotexts"]):
        assert infotext(plan, index, facts_of(plan, text)) == text


def test_a_grid_carries_the_main_prompt_and_the_first_seed():
    (case,) = (case for case in cases() if case["id"] == "grid-batch")
    plan = plan_of(case).model_copy(
        update={"main_prompt": case["payload"]["prompt"], "main_negative_prompt": case["payload"]["negative_prompt"]}
    )
    assert grid_infotext(plan) == case["infotexts"][0]
