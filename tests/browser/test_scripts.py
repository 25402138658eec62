"""The Script drop-down against the real server: an X/Y/Z plot from its controls to its sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

PANEL = "window.webui.panels.get('txt2img')"
PLOT = "#txt2img_script_x_y_z_plot_"
MADE_WITHIN_MS = 90_000


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function("() => document.querySelector('#txt2img_width input')?.value === '128'")
    page.fill("#txt2img_steps input[type=number]", "2")
    page.fill("#txt2img_seed input", "7")
    page.fill("#txt2img_prompt textarea", "a red apple")
    page.keyboard.press("Tab")
    page.select_option("#txt2img_script_list", "X/Y/Z plot")
    yield page
    context.close()


def generate(page, count: int) -> list[dict]:
    page.click("#txt2img_generate")
    page.wait_for_function(f"() => {PANEL}.pictures.length >= {count} && !{PANEL}.running", timeout=MADE_WITHIN_MS)
    return page.evaluate(f"{PANEL}.pictures")


def axis(page, name: str, kind: str, values: str) -> None:
    page.select_option(f"{PLOT}{name}_type", kind)
    page.fill(f"{PLOT}{name}_values", values)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)


def samples(server) -> list[Path]:
    return sorted((Path(server.data) / "outputs" / "txt2img-images").rglob("*.png"))


def test_a_plot_makes_one_sheet_and_saves_every_cell_and_asking_again_makes_no_cell_twice(page, server):
    before = len(samples(server))
    axis(page, "x", "CFG Scale", "2-8 [3]")
    axis(page, "y", "Prompt S/R", "red, green")
    (sheet,) = generate(page, 1)
    assert sheet["role"] == "grid" and Path(sheet["saved"]).name.startswith("xyz_grid-") and "-7" in sheet["saved"]
    with Image.open(Path(server.data) / sheet["saved"]) as image:
        assert image.width == 128 * 3 // 4 + 3 * 128 and image.height > 2 * 128  # legends beside and above
        text = image.text["parameters"]
    assert "X Type: CFG Scale, X Values: 2-8 [3], Y Type: Prompt S/R" in text
    cells = samples(server)[before:]
    assert len(cells) == 6
    generate(page, 2)
    assert len(samples(server)) == before + 6, "the cells are there already"


def test_values_are_offered_filled_in_and_swapped(page):
    page.select_option(f"{PLOT}x_type", "Sampler")
    page.locator(f"{PLOT}x_values").locator("xpath=ancestor::div[@class='fields'][1]").locator(".fill").click()
    filled = page.input_value(f"{PLOT}x_values")
    assert filled.startswith("DPM++ 2M, ") and "Euler a" in filled
    page.get_by_role("button", name="Swap X/Y").click()
    assert page.input_value(f"{PLOT}y_values") == filled
    assert page.input_value(f"{PLOT}x_type") == "Nothing"


def test_a_value_that_cannot_be_read_is_said_before_anything_runs(page):
    axis(page, "x", "Steps", "2, many")
    page.click("#txt2img_generate")
    message = page.locator("#txt2img_results .message.error")
    message.wait_for()
    assert '"many" is neither a whole number nor a range' in message.inner_text()
    assert page.evaluate(f"{PANEL}.jobs.length") == 0


def test_img2img_alternative_finds_the_noise_of_a_picture_and_makes_the_picture_of_it_again(browser, server):
    """At CFG 1 only the VAE's own loss is left: 27 dB for the starter; plain img2img at full strength gives 10."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(server.url)
    page.wait_for_function("() => document.querySelector('#txt2img_width input')?.value === '128'")
    page.fill("#txt2img_prompt textarea", "a red apple on a yellow background")
    page.fill("#txt2img_seed input", "3")
    page.keyboard.press("Tab")
    (source,) = generate(page, 1)
    page.click("#txt2img_send_to_img2img")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.image")
    script = "#img2img_script_img2img_alternative_test_"
    page.select_option("#img2img_script_list", "img2img alternative test")
    page.fill(f"{script}original_prompt", "a red apple on a yellow background")
    page.fill(f"{script}steps", "20")
    page.check(f"{script}sigma_adjustment")
    page.fill("#img2img_cfg_scale input[type=number]", "1")
    page.keyboard.press("Tab")
    page.click("#img2img_generate")
    panel = PANEL.replace("txt2img", "img2img")
    page.wait_for_function(f"() => {panel}.pictures.length === 1 && !{panel}.running", timeout=MADE_WITHIN_MS)
    (found,) = page.evaluate(f"{panel}.pictures")
    told = "Decode prompt: a red apple on a yellow background, Decode CFG scale: 1, Decode steps: 20"
    assert told in found["infotext"]
    first, second = (pixels(Path(server.data) / picture["saved"]) for picture in (source, found))
    assert 10 * np.log10(255**2 / ((first - second) ** 2).mean()) > 23
