from __future__ import annotations

import pytest

from modules.errors import InvalidPrompt
from modules.prompts.check import check


@pytest.mark.parametrize("prompt", ["(a:1.2.3)", "a AND (b:1.2.3)", "[a:(b:1.2.3):3]"])
def test_a_weight_that_is_no_number_is_refused_in_any_text_of_the_prompt(prompt):
    with pytest.raises(InvalidPrompt, match=r"1\.2\.3"):
        check(prompt, steps=5)


@pytest.mark.parametrize("prompt", ["", "(a:1.2)", "[a:(b:1.2.3):5.5]", "<lora:(x:1.2.3)> a", "a (b"])
def test_what_the_encoder_never_sees_is_not_refused(prompt):
    check(prompt, steps=5)


def test_without_emphasis_there_are_no_weights_to_refuse():
    check("(a:1.2.3)", steps=5, emphasis_mode="None")


def test_and_means_nothing_in_a_negative_prompt():
    check("(a AND b:1.2)", steps=5, negative=True)
