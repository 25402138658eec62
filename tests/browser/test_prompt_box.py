"""The prompt boxes: weights by Ctrl+Up/Down, items moved by Alt+Left/Right, token counter, bracket check."""

from __future__ import annotations

import pytest

from tests.browser.waits import wait_until_kept

pytestmark = pytest.mark.browser

BOX = "#txt2img_prompt textarea"


@pytest.fixture(scope="module")
def page(browser, page_url):
    opened = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    opened.goto(page_url)
    opened.wait_for_function("() => window.webui")
    yield opened
    opened.context.close()


def press(page, marked: str, keys: str) -> str:
    """Type text in which | marks the cursor (or two the selection), press keys, and mark the text again."""
    text = marked.replace("|", "")
    places = [marked.index("|"), marked.rindex("|") - (marked.count("|") - 1)]
    page.fill(BOX, text)
    page.evaluate(f"([a, b]) => document.querySelector('{BOX}').setSelectionRange(a, b)", places)
    page.keyboard.press(keys)
    box = page.locator(BOX)
    return box.input_value()


@pytest.mark.parametrize(
    "before, keys, after",
    [
        ("a |cat sits", "Control+ArrowUp", "a (cat:1.1) sits"),
        ("a c|at sits", "Control+ArrowDown", "a (cat:0.9) sits"),
        ("a (c|at:1.1) sits", "Control+ArrowDown", "a cat sits"),  # at exactly 1 the parentheses go
        ("a (cat:1.|95) sits", "Control+ArrowUp", "a (cat:2.05) sits"),
        ("a (red c|at:1.3), dog", "Control+ArrowUp", "a (red cat:1.4), dog"),
        ("|red cat|, dog", "Control+ArrowUp", "(red cat:1.1), dog"),
        ("a ((c|at)) sits", "Control+ArrowUp", "a (cat:1.3) sits"),  # 1.1 ** 2 rounded to the step, and one step more
        ("a [c|at] sits", "Control+ArrowDown", "a (cat:0.8) sits"),
        ("<lora:na|me:0.5>", "Control+ArrowUp", "<lora:name:0.55>"),
        ("a |cat| sits", "Control+ArrowUp", "a (cat:1.1) sits"),
    ],
)
def test_ctrl_up_and_down_change_the_weight_as_in_a1111(page, before, keys, after):
    assert press(page, before, keys) == after


def test_pressing_again_goes_on_from_the_weight_that_was_given(page):
    press(page, "a |cat sits", "Control+ArrowUp")
    page.keyboard.press("Control+ArrowUp")
    page.keyboard.press("Control+ArrowUp")
    assert page.input_value(BOX) == "a (cat:1.3) sits"


@pytest.mark.parametrize(
    "before, keys, after",
    [
        ("one, t|wo, three", "Alt+ArrowRight", "one, three, two"),
        ("one, t|wo, three", "Alt+ArrowLeft", "two, one, three"),
        ("o|ne, t|wo, three", "Alt+ArrowRight", "three, one, two"),
        ("o|ne, two", "Alt+ArrowLeft", "one, two"),
    ],
)
def test_alt_left_and_right_move_the_items_under_the_cursor(page, before, keys, after):
    assert press(page, before, keys) == after


def test_the_counter_shows_the_tokens_of_the_longest_variant(page):
    page.fill(BOX, "a photo of an astronaut riding a horse")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt .webui-counter')?.textContent === '8/75'")
    page.fill(BOX, ", ".join(["word"] * 60))
    page.wait_for_function("() => document.querySelector('#txt2img_prompt .webui-counter')?.textContent === '119/150'")
    page.fill(BOX, "")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt .webui-counter').hidden")


@pytest.mark.parametrize(
    "text, said",
    [
        (r"a ((cat), \( fine", '( ): 2 opened, 1 closed\n"(" is never closed: ((cat), \\( fine'),
        ("a cat], dog", '[ ]: 0 opened, 1 closed\n"]" closes nothing: a cat]'),
        (") a cat (", '")" closes nothing: )\n"(" is never closed: ('),  # as many of one as of the other
    ],
)
def test_brackets_that_do_not_match_are_pointed_out_to_eyes_and_ears(page, text, said):
    counter = page.locator("#txt2img_prompt .webui-counter")
    page.fill(BOX, text)
    page.wait_for_function(
        "(said) => document.querySelector('#txt2img_prompt .webui-counter').title === said", arg=said
    )
    assert "wrong" in counter.get_attribute("class")
    assert page.get_attribute(BOX, "aria-invalid") == "true"
    described = page.get_attribute(BOX, "aria-describedby")
    assert page.evaluate("(id) => document.getElementById(id).textContent", described) == said
    page.fill(BOX, "a (cat)")
    page.wait_for_selector("#txt2img_prompt .webui-counter:not(.wrong)")
    assert page.get_attribute(BOX, "aria-invalid") == "false"
    assert page.evaluate("(id) => document.getElementById(id).textContent", described) == ""


def test_prompts_survive_a_reload_and_a_new_tab(browser, page_url):
    context = browser.new_context()
    page = context.new_page()
    page.goto(page_url)
    page.wait_for_function("() => window.webui")
    page.fill(BOX, "kept <img src=x onerror=window.__xss=1>")
    page.locator("#txt2img_cfg_scale input[type=number]").fill("9.5")
    page.keyboard.press("Tab")
    wait_until_kept(page)
    page.close()
    again = context.new_page()
    again.goto(page_url)
    again.wait_for_function(f"() => document.querySelector('{BOX}')?.value.startsWith('kept')")
    assert again.input_value("#txt2img_cfg_scale input[type=number]") == "9.5"
    assert again.evaluate("window.__xss") is None
    context.close()
