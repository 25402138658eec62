"""The pages of extra networks: cards put tags into prompts, choose checkpoints, and keep notes and previews."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.browser.server import CHECKPOINTS, RunningServer, start_server
from tests.unit.models.test_model_cards import lora

pytestmark = pytest.mark.browser

PROMPT, NEGATIVE = "#txt2img_prompt textarea", "#txt2img_neg_prompt textarea"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("ink", "portrait/grain", "portrait/old/tintype", ".private/secret"):
        lora(folder / "Lora", name, ss_v2="False")
    notes = {"description": "Soft <i>washes</i>", "activation text": "ink wash", "negative text": "photo"}
    (folder / "Lora" / "ink.json").write_text(json.dumps(notes))
    Image.linear_gradient("L").convert("RGB").save(folder / "Lora" / "portrait" / "grain.png")
    (folder / "embeddings").mkdir()
    (folder / "embeddings" / "badhands.pt").write_bytes(b"x")
    for name in ("starter", "other"):
        (folder / "checkpoints").mkdir(exist_ok=True)
        shutil.copy(next(CHECKPOINTS.glob("starter.safetensors")), folder / "checkpoints" / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def cards_server(models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = start_server(
        tmp_path_factory.mktemp("cards"), port, "--ui-debug-mode", "--lora-dir", str(models / "Lora"),
        "--embeddings-dir", str(models / "embeddings"), "--ckpt-dir", str(models / "checkpoints"),
    )  # fmt: skip
    yield running
    running.stop()


@pytest.fixture(scope="module")
def opened(browser, cards_server):
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(cards_server.url)
    page.wait_for_function("() => window.webui?.cards?.get('txt2img')")
    return page


@pytest.fixture
def page(opened):
    """The LoRA page of txt2img with empty prompts."""
    for box in (NEGATIVE, PROMPT):
        opened.fill(box, "")
    opened.click("#txt2img_cards_lora")
    opened.wait_for_selector("#txt2img_extra_networks .card")
    opened.fill("#txt2img_extra_networks input[type=search]", "")
    opened.wait_for_function("() => document.querySelectorAll('#txt2img_extra_networks .card').length === 3")
    return opened


def names(page) -> list[str]:
    return page.locator("#txt2img_extra_networks .card .name").all_inner_texts()


def face(page, name: str):
    return page.locator("#txt2img_extra_networks .card .face", has_text=name)


def wait_for_cards(page, *wanted: str) -> None:
    page.wait_for_function(
        "(wanted) => JSON.stringify([...document.querySelectorAll('#txt2img_extra_networks .card .name')]"
        ".map((node) => node.textContent)) === JSON.stringify(wanted)",
        arg=list(wanted),
    )


def test_a_click_puts_the_tag_with_its_words_into_both_prompts_and_another_takes_them_out(page):
    page.fill(PROMPT, "a bridge")
    face(page, "ink").click()
    assert page.input_value(PROMPT) == "a bridge <lora:ink:1.0> ink wash"
    assert page.input_value(NEGATIVE) == "(photo:1)"
    face(page, "grain").click()
    assert page.input_value(PROMPT) == "a bridge <lora:ink:1.0> ink wash <lora:grain:1.0>"
    page.fill(PROMPT, "a bridge <lora:ink:0.35> ink wash <lora:grain:1.0>")
    face(page, "ink").click()
    assert page.input_value(PROMPT) == "a bridge <lora:grain:1.0>", "whatever the weight is by now"
    assert page.input_value(NEGATIVE) == ""
    page.keyboard.press("Control+z")  # the negative prompt's change was the later one
    page.keyboard.press("Control+z")
    assert "<lora:ink:0.35>" in page.input_value(PROMPT), "typing and cards share the browser's undo"


def test_a_card_goes_into_the_prompt_that_was_used_last(page):
    page.click(NEGATIVE)
    page.click("#txt2img_cards_textual_inversion")
    face(page, "badhands").click()
    assert page.input_value(NEGATIVE) == "badhands"
    face(page, "badhands").click()
    assert (page.input_value(NEGATIVE), page.input_value(PROMPT)) == ("", "")


def test_cards_are_searched_sorted_and_narrowed_to_folders(page):
    wait_for_cards(page, "ink", "grain", "tintype")
    page.get_by_role("button", name="Turn the order round").first.click()
    wait_for_cards(page, "tintype", "grain", "ink")
    page.get_by_role("button", name="Turn the order round").first.click()
    page.fill("#txt2img_extra_networks input[type=search]", "PORTRAIT")
    wait_for_cards(page, "grain", "tintype")
    page.fill("#txt2img_extra_networks input[type=search]", "secr")
    wait_for_cards(page, "secret")
    page.fill("#txt2img_extra_networks input[type=search]", "")
    page.get_by_role("button", name="portrait/old", exact=True).first.click()
    wait_for_cards(page, "tintype")
    page.get_by_role("button", name="All folders").first.click()
    wait_for_cards(page, "ink", "grain", "tintype")


def test_a_checkpoint_is_chosen_by_its_card(page):
    page.click("#txt2img_cards_checkpoints")
    face(page, "other").click()
    page.wait_for_function(
        "() => document.querySelector('#setting_sd_model_checkpoint input').value.startsWith('other')"
    )
    page.locator("#txt2img_extra_networks .card.chosen", has_text="other").wait_for()


def test_notes_and_preview_are_edited_and_kept_beside_the_file(page, models, tmp_path):
    page.locator("#txt2img_extra_networks .card", has_text="tintype").hover()
    page.locator("#txt2img_extra_networks .card", has_text="tintype").get_by_title("Edit notes").click()
    dialog = page.locator("dialog.webui-dialog")
    dialog.get_by_label("Description").fill("<b>silver</b> plates")
    dialog.get_by_label("Preferred weight").fill("0.65")
    dialog.get_by_label("Activation text").fill("tintype photo")
    picture = tmp_path / "new.png"
    Image.new("RGB", (60, 90), "orange").save(picture)
    dialog.locator("input[type=file]").set_input_files(picture)
    page.screenshot(path=Path(__file__).parent / "shots" / "cards-editor-1280.png")
    dialog.get_by_role("button", name="Save").click()
    dialog.wait_for(state="detached")
    card = page.locator("#txt2img_extra_networks .card", has_text="<b>silver</b> plates")
    card.locator("img").wait_for()
    stored = json.loads((models / "Lora" / "portrait" / "old" / "tintype.json").read_text())
    assert (stored["preferred weight"], stored["activation text"]) == (0.65, "tintype photo")
    with Image.open(models / "Lora" / "portrait" / "old" / "tintype.png") as image:
        assert image.size == (60, 90)
    face(page, "tintype").click()
    assert page.input_value(PROMPT) == "<lora:tintype:0.65> tintype photo"


def test_generation_comes_back_when_its_page_is_opened(page):
    assert not page.is_visible("#tab_txt2img .webui-work")
    page.screenshot(path=Path(__file__).parent / "shots" / "cards-1280.png")
    page.click("#txt2img_cards_generation")
    assert page.is_visible("#tab_txt2img .webui-work")
