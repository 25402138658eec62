"""The page against the real server with the shipped checkpoint: pictures are made, saved, shown again, and sent on."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.browser.waits import wait_until_kept
from tests.unit.infotext.test_infotext_foreign import COMFY

pytestmark = pytest.mark.browser

PANEL = "window.webui.panels.get('{}')"
MADE_WITHIN_MS = 90_000


def open_page(browser, server, **context):
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context}).new_page()
    page.goto(server.url)
    page.wait_for_function("() => window.webui && window.webui.panels.get('txt2img')")
    page.wait_for_function("() => document.querySelector('#txt2img_width input')?.value === '128'")
    return page


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_selector(f"#{name}_generate")


def fill(page, tab: str, name: str, text: str) -> None:
    page.locator(f"#{tab}_{name} :is(textarea, input[type=number])").first.fill(text)
    page.keyboard.press("Tab")


def pictures(page, tab: str) -> list[dict]:
    return page.evaluate(f"{PANEL.format(tab)}.pictures")


def generate(page, tab: str, count: int = 1) -> list[dict]:
    """Press Generate and wait for `count` pictures more; newest job first."""
    before = len(pictures(page, tab))
    page.click(f"#{tab}_generate")
    page.wait_for_function(
        f"() => {PANEL.format(tab)}.pictures.length >= {before + count} && !{PANEL.format(tab)}.running",
        timeout=MADE_WITHIN_MS,
    )
    return pictures(page, tab)


def saved(server, picture: dict) -> Image.Image:
    path = Path(server.data) / picture["saved"]
    assert path.is_file()
    return Image.open(path)


def test_the_first_page_has_the_size_of_the_checkpoint_and_few_components(browser, server):
    page = open_page(browser, server)
    assert page.input_value("#txt2img_height input[type=number]") == "128"
    assert page.evaluate("window.gradio_config.components.length") < 400


def test_txt2img_makes_a_saved_picture_with_its_parameters(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "prompt", "a red apple")
    fill(page, "txt2img", "neg_prompt", "blurry")
    fill(page, "txt2img", "steps", "6")
    fill(page, "txt2img", "seed", "1234")
    (picture,) = generate(page, "txt2img")
    assert re.fullmatch(r"outputs/txt2img-images/\d{4}-\d\d-\d\d/\d{5}-1234\.png", picture["saved"])
    with saved(server, picture) as image:
        assert image.size == (128, 128)
        parameters = image.text["parameters"]
    assert parameters.startswith("a red apple\nNegative prompt: blurry\nSteps: 6, Sampler: DPM++ 2M")
    assert "Seed: 1234, Size: 128x128" in parameters
    assert page.inner_text("#txt2img_results .infotext") == parameters
    stage = page.locator("#txt2img_results .stage img:not(.before)")
    stage.evaluate("(image) => image.decode()")
    assert stage.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [128, 128]


def test_the_folder_button_opens_the_folder_of_the_picture_on_the_servers_machine(browser, server):
    page = open_page(browser, server)
    opened = Path(server.data) / "opened"

    def open_folder(number: int) -> Path:
        with page.expect_response(lambda answer: "open_folder" in (answer.request.post_data or "")):
            page.click("#txt2img_open_folder")
        folders = opened.read_text().splitlines()
        assert len(folders) == number
        return Path(folders[-1])

    root = Path(server.data) / "outputs/txt2img-images"
    root.mkdir(parents=True, exist_ok=True)
    assert open_folder(1) == root, "no picture is chosen yet"
    fill(page, "txt2img", "steps", "2")
    (picture,) = generate(page, "txt2img")
    assert open_folder(2) == (Path(server.data) / picture["saved"]).parent
    options = f"{server.url}/sdapi/v1/options"
    assert page.request.post(options, data={"open_dir_button_choice": "Output Root"}).ok
    assert open_folder(3) == root
    assert page.request.post(options, data={"open_dir_button_choice": "Subdirectory"}).ok


def test_generate_never_blocks_and_jobs_wait_their_turn(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "steps", "20")
    for text in ("first", "second", "third"):
        fill(page, "txt2img", "prompt", text)
        page.click("#txt2img_generate")
        page.wait_for_timeout(150)
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.jobs.length === 3")
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.pictures.length === 3", timeout=MADE_WITHIN_MS)
    assert [picture["infotext"].split("\n")[0] for picture in pictures(page, "txt2img")] == ["third", "second", "first"]


def test_all_pictures_of_a_job_come_in_one_archive(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "batch_count", "2")
    fill(page, "txt2img", "steps", "2")
    fill(page, "txt2img", "prompt", "two of them")
    generate(page, "txt2img", count=3)  # the grid comes with them
    with page.expect_download() as download:
        page.click("#txt2img_save_zip")
    assert download.value.suggested_filename == "two of them.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names)) == 3
        texts = [Image.open(io.BytesIO(archive.read(name))).info["parameters"] for name in names]
    assert all(text.startswith("two of them") for text in texts), "files as they were saved"


def test_the_source_is_copied_to_the_other_tab_with_what_was_sketched(browser, server, tmp_path):
    page = open_page(browser, server)
    Image.new("RGB", (96, 64), (10, 20, 30)).save(tmp_path / "dark.png")
    open_tab(page, "img2img")
    page.locator("#img2img_image .webui-source-file").set_input_files(tmp_path / "dark.png")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.image")
    page.locator("#img2img_image").get_by_role("button", name="Sketch", exact=True).click()
    page.evaluate(
        "() => { const editor = window.webui.pictures.get('img2img_image');"
        " editor.commit({ kind: 'rectangle', points: [0, 0, 20, 20], colour: '#ff0000', opacity: 100 }); }"
    )
    page.get_by_role("button", name="Copy this picture to inpaint").click()
    page.wait_for_selector("#inpaint_generate:visible")
    page.wait_for_function("() => window.webui.pictures.get('inpaint_image')?.value?.image")
    seen = "(place) => window.webui.pictures.get('inpaint_image').view.colourAt(...place)"
    assert [page.evaluate(seen, place) for place in ([10, 10], [60, 40])] == [[255, 0, 0], [10, 20, 30]]


def test_a_reload_in_the_middle_of_a_job_finds_job_values_and_result_again(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "prompt", "a long job")
    fill(page, "txt2img", "steps", "40")
    fill(page, "txt2img", "batch_count", "4")
    wait_until_kept(page)
    page.click("#txt2img_generate")
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.running?.step > 0", timeout=MADE_WITHIN_MS)
    job = page.evaluate(f"{PANEL.format('txt2img')}.running.id")
    page.reload()
    page.wait_for_function(f"() => window.webui?.panels.get('txt2img')?.running?.id === '{job}'")
    assert page.input_value("#txt2img_prompt textarea") == "a long job"
    assert page.input_value("#txt2img_batch_count input[type=number]") == "4"
    step = page.evaluate(f"{PANEL.format('txt2img')}.running.progress")
    page.wait_for_function(
        f"() => ({PANEL.format('txt2img')}.running?.progress ?? 1) > {step}"
    )  # it moves on by itself
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.pictures.length >= 4", timeout=MADE_WITHIN_MS)
    assert {picture["job"] for picture in pictures(page, "txt2img")} == {job}


def test_interrupt_ends_the_running_job_and_keeps_what_there_is(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "prompt", "to be interrupted")
    fill(page, "txt2img", "steps", "150")
    page.click("#txt2img_generate")
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.running?.step > 1", timeout=MADE_WITHIN_MS)
    job = page.evaluate(f"{PANEL.format('txt2img')}.running.id")
    page.click("#txt2img_interrupt")
    page.wait_for_function(f"() => window.webui.feed.jobs.get('{job}').state === 'interrupted'", timeout=MADE_WITHIN_MS)
    assert page.is_disabled("#txt2img_interrupt")


def test_img2img_starts_from_the_picture_sent_to_it(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "prompt", "a house")
    fill(page, "txt2img", "steps", "6")
    generate(page, "txt2img")
    page.click("#txt2img_send_to_img2img")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.image")
    assert page.input_value("#img2img_prompt textarea") == "a house"
    fill(page, "img2img", "denoising_strength", "0.2")
    fill(page, "img2img", "steps", "10")
    (picture,) = generate(page, "img2img")
    assert picture["saved"].startswith("outputs/img2img-images/")
    assert "Denoising strength: 0.2" in picture["infotext"]
    with saved(server, picture) as made, saved(server, pictures(page, "txt2img")[0]) as source:
        distance = np.abs(np.asarray(made, float) - np.asarray(source, float)).mean()
    assert 0 < distance < 40, "a fifth of the noise must leave the picture recognisable"


def test_inpainting_changes_the_masked_part_only_and_keeps_the_mask(browser, server, tmp_path):
    page = open_page(browser, server)
    source = tmp_path / "source.png"
    Image.linear_gradient("L").resize((128, 128)).convert("RGB").save(source)
    open_tab(page, "inpaint")
    page.locator("#inpaint_image .webui-source-file").set_input_files(source)
    editor = "window.webui.pictures.get('inpaint_image')"
    page.wait_for_function(f"() => {editor}?.value?.image")
    page.wait_for_timeout(200)
    page.evaluate(f"{editor}.setSize(30)")
    box = page.locator("#inpaint_image .webui-board").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    fill(page, "inpaint", "prompt", "a red ball")
    fill(page, "inpaint", "steps", "8")
    fill(page, "inpaint", "mask_blur", "0")
    (picture,) = generate(page, "inpaint")
    before = np.asarray(Image.open(source).convert("RGB"))
    with saved(server, picture) as image:
        after = np.asarray(image.convert("RGB"))
    changed = (before != after).any(axis=2)
    inside = np.zeros_like(changed)
    inside[48:80, 48:80] = True
    assert changed[inside].mean() > 0.5
    assert not changed[~inside].any()
    assert page.evaluate(f"{editor}.mask.done") == 1, "the mask stays after generating"


def test_two_browsers_work_side_by_side_and_see_only_their_own(browser, server):
    first, second = open_page(browser, server), open_page(browser, server)
    for page, text in ((first, "mine alone"), (second, "somebody else's")):
        fill(page, "txt2img", "prompt", text)
        fill(page, "txt2img", "steps", "10")
        page.click("#txt2img_generate")
    for page, text in ((first, "mine alone"), (second, "somebody else's")):
        page.wait_for_function(f"() => {PANEL.format('txt2img')}.pictures.length === 1", timeout=MADE_WITHIN_MS)
        assert pictures(page, "txt2img")[0]["infotext"].startswith(text)
    job = pictures(first, "txt2img")[0]
    for address in (job["url"], f"/jobs/{job['job']}"):
        answer = second.evaluate("async (address) => (await fetch(address)).status", address)
        assert answer == 404
    wait_until_kept(second)
    second.reload()
    second.wait_for_function("() => document.querySelector('#txt2img_prompt textarea')?.value === \"somebody else's\"")


def test_png_info_reads_a_picture_and_sends_everything_on(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "prompt", "a green <b>bottle</b>")
    fill(page, "txt2img", "steps", "7")
    fill(page, "txt2img", "cfg_scale", "4.5")
    (picture,) = generate(page, "txt2img")
    page.get_by_role("tab", name="PNG Info").click()
    page.locator(".webui-pnginfo-file").set_input_files(Path(server.data) / picture["saved"])
    page.wait_for_function("() => document.querySelector('.webui-pnginfo .details')?.textContent.includes('CFG scale')")
    assert "a green <b>bottle</b>" in page.inner_text(".webui-pnginfo .details")
    page.click("#pnginfo_send_to_img2img")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.image")
    assert page.input_value("#img2img_prompt textarea") == "a green <b>bottle</b>"
    assert page.input_value("#img2img_cfg_scale input[type=number]") == "4.5"
    assert page.input_value("#img2img_steps input[type=number]") == "7"


def test_png_info_reads_a_picture_of_comfyui_and_sends_it_on(browser, server, tmp_path):
    text = PngInfo()
    text.add_text("prompt", json.dumps(COMFY))
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "comfy.png", pnginfo=text)
    page = open_page(browser, server)
    page.get_by_role("tab", name="PNG Info").click()
    page.locator(".webui-pnginfo-file").set_input_files(tmp_path / "comfy.png")
    page.locator(".webui-pnginfo .program", has_text="Made with ComfyUI").wait_for()
    page.click("#pnginfo_send_to_txt2img")
    prompt = "document.querySelector('#txt2img_prompt textarea').value"
    page.wait_for_function(f"() => {prompt}.startsWith('a glass bottle')")
    assert page.input_value("#txt2img_seed input") == "156680208700286"
    assert page.input_value("#txt2img_height input[type=number]") == "768"


def test_an_error_is_shown_in_words_where_the_picture_would_be(browser, server):
    page = open_page(browser, server)
    open_tab(page, "inpaint")
    page.click("#inpaint_generate")
    message = page.locator("#inpaint_results .message.error")
    message.wait_for()
    assert "needs a picture" in message.inner_text()
    stage, box = (page.locator(f"#inpaint_results {part}").bounding_box() for part in (".stage", ".message"))
    assert stage["y"] < box["y"] and box["y"] + box["height"] < min(800, stage["y"] + stage["height"])
    page.get_by_role("button", name="Close this message").click()
    message.wait_for(state="hidden")


def test_settings_are_found_changed_and_reset(browser, server):
    page = open_page(browser, server)
    page.get_by_role("tab", name="Settings").click()
    page.wait_for_selector(".webui-settings-page .setting")
    page.fill(".webui-settings-page input[type=search]", "eta noise seed delta")
    field = page.locator(".webui-settings-page .setting:visible")
    assert field.count() == 1
    field.locator("input").fill("31337")
    assert field.locator(".usual").inner_text() == "Default: 0", "what differs says from what"
    page.click("#settings_submit")
    page.wait_for_function(
        "() => document.querySelector('.webui-settings-page .applied').textContent.includes('eta_noise_seed_delta')"
    )
    assert server.get("sdapi/v1/options")["eta_noise_seed_delta"] == 31337
    field.locator(".reset").click()
    page.click("#settings_submit")
    page.wait_for_function("() => document.querySelector('#settings_submit').disabled")
    assert server.get("sdapi/v1/options")["eta_noise_seed_delta"] == 0
