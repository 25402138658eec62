"""The rest of the page against the real server: shortcuts, small buttons, scripts, styles; text that is never HTML."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from modules.sampling.sampler import SAMPLERS
from tests.browser.test_generation import MADE_WITHIN_MS, PANEL, fill, generate, open_page, open_tab, pictures
from tests.browser.waits import wait_until_kept

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=window.__xss=1>${window.__xss=2}{{7*7}}</script><script>window.__xss=3</script>"


def test_ctrl_enter_generates_and_escape_interrupts(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "steps", "150")
    page.locator("#txt2img_prompt textarea").fill("by keyboard")
    page.keyboard.press("Control+Enter")
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.running?.step > 0", timeout=MADE_WITHIN_MS)
    page.keyboard.press("Escape")
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.jobs[0].state === 'interrupted'", timeout=MADE_WITHIN_MS)


def test_alt_enter_skips_to_the_next_batch(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "steps", "100")
    fill(page, "txt2img", "batch_count", "2")
    page.click("#txt2img_generate")
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.running?.step > 0", timeout=MADE_WITHIN_MS)
    page.keyboard.press("Alt+Enter")
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.running?.batch === 1", timeout=MADE_WITHIN_MS)
    page.click("#txt2img_interrupt")
    page.wait_for_function(f"() => !{PANEL.format('txt2img')}.running", timeout=MADE_WITHIN_MS)


def test_size_is_swapped_and_the_seed_reused_and_drawn_again(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "width", "192")
    fill(page, "txt2img", "steps", "2")
    page.click("#txt2img_res_switch_btn")
    page.wait_for_function("() => document.querySelector('#txt2img_height input').value === '192'")
    (picture,) = generate(page, "txt2img")
    assert (picture["width"], picture["height"]) == (128, 192)
    page.click("#txt2img_reuse_seed")
    page.wait_for_function(f"() => document.querySelector('#txt2img_seed input').value === '{picture['seed']}'")
    page.click("#txt2img_random_seed")
    page.wait_for_function("() => document.querySelector('#txt2img_seed input').value === '-1'")


def test_the_paste_button_reads_an_infotext_from_the_prompt_box(browser, server):
    page = open_page(browser, server)
    page.locator("#txt2img_prompt textarea").fill(
        "a boat\nNegative prompt: fog\nSteps: 11, Sampler: Euler a, CFG scale: 3.5, Seed: 99, Size: 64x96, Clip skip: 2"
    )
    page.click("#txt2img_paste")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt textarea').value === 'a boat'")
    assert page.input_value("#txt2img_neg_prompt textarea") == "fog"
    assert page.input_value("#txt2img_steps input[type=number]") == "11"
    assert page.input_value("#txt2img_sampling input") == "Euler a"
    page.wait_for_selector("#txt2img_override_settings:visible")
    assert "Clip skip: 2" in page.inner_text("#txt2img_override_settings")
    (picture,) = generate(page, "txt2img")
    assert "Clip skip: 2" in picture["infotext"] and "Seed: 99, Size: 64x96" in picture["infotext"]


def test_hires_fix_makes_the_larger_picture(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "steps", "4")
    page.check("#txt2img_hr_enable input")
    page.wait_for_selector("#txt2img_hr_scale:visible")
    fill(page, "txt2img", "hr_scale", "1.5")
    (picture,) = generate(page, "txt2img")
    assert (picture["width"], picture["height"]) == (192, 192)
    assert "Hires upscale: 1.5" in picture["infotext"]


def test_hires_fix_of_a_chosen_picture_takes_it_as_first_pass_with_its_own_seed(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "steps", "4")
    fill(page, "txt2img", "batch_count", "2")
    *_, second = generate(page, "txt2img", 3)  # behind their grid
    page.locator(f"#txt2img_results .thumb[data-id='{second['id']}']").click()
    page.click("#txt2img_upscale")
    page.wait_for_function(f"() => {PANEL.format('txt2img')}.pictures.length === 4", timeout=MADE_WITHIN_MS)
    made = pictures(page, "txt2img")[0]
    assert (made["width"], made["height"], made["seed"]) == (256, 256, second["seed"])
    assert "Hires upscale: 2.0" in made["infotext"]


def test_a_folder_goes_through_img2img_under_its_files_names_and_goes_on_where_it_was_stopped(
    browser, server, tmp_path
):
    page = open_page(browser, server)
    for name in ("one", "sub/two", "sub/three"):
        (tmp_path / "in" / "sub").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 64), "navy").save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    open_tab(page, "img2img")
    fill(page, "img2img", "steps", "4")
    page.click("#img2img_batch_open")
    page.click("#img2img_batch_folder")
    page.fill("#img2img_batch_input_dir", str(tmp_path / "in"))
    page.fill("#img2img_batch_output_dir", str(tmp_path / "out"))
    made = generate(page, "img2img", 3)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["one.png", "three.png", "two.png"]
    assert len({picture["seed"] for picture in made}) == 1  # each starts from the same, as in A1111
    page.locator("#img2img_results .message", has_text="broken.jpg").wait_for()
    job = page.evaluate(
        "async (id) => (await (await fetch(`jobs/${id}/retry`, { method: 'POST' })).json()).id", made[0]["job"]
    )
    page.evaluate("(id) => window.webui.feed.follow([id])", job)
    page.wait_for_function("(id) => window.webui.feed.jobs.get(id)?.state === 'done'", arg=job)
    again = page.evaluate("(id) => window.webui.feed.jobs.get(id).images", job)
    assert [picture["saved"] for picture in again] == [picture["saved"] for picture in made]
    assert len(list((tmp_path / "out").iterdir())) == 3  # nothing was made twice


def test_pictures_and_masks_that_were_uploaded_are_inpainted_one_by_one(browser, server, tmp_path):
    page = open_page(browser, server)
    mask = Image.new("L", (96, 64))
    mask.paste(255, (0, 0, 48, 64))
    mask.save(tmp_path / "half.png")
    for name in ("red", "lime"):
        Image.new("RGB", (96, 64), name).save(tmp_path / f"{name}.png")
    open_tab(page, "inpaint")
    for name, value in (("steps", "4"), ("width", "96"), ("height", "64"), ("mask_blur", "0")):
        fill(page, "inpaint", name, value)
    page.click("#inpaint_batch_open")
    page.locator("#inpaint_batch .webui-batch-pictures").set_input_files([tmp_path / "red.png", tmp_path / "lime.png"])
    page.locator("#inpaint_batch li", has_text="lime.png").wait_for()
    page.click("#inpaint_generate")
    page.locator("#inpaint_results .message.error", has_text="no masks yet").wait_for()
    page.locator("#inpaint_batch .webui-batch-masks").set_input_files(tmp_path / "half.png")
    page.locator("#inpaint_batch li", has_text="half.png").wait_for()
    wait_until_kept(page)
    page.reload()
    open_tab(page, "inpaint")
    page.locator("#inpaint_batch li", has_text="half.png").wait_for()
    second, first = generate(page, "inpaint", 2)[::-1]
    for picture, colour in ((first, (255, 0, 0)), (second, (0, 255, 0))):
        with Image.open(Path(server.data) / picture["saved"]) as image:
            assert image.convert("RGB").getpixel((90, 32)) == colour
            assert image.convert("RGB").getpixel((10, 32)) != colour


def test_an_empty_prompt_pastes_the_last_generation(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "prompt", "a lost thought")
    fill(page, "txt2img", "steps", "3")
    generate(page, "txt2img")
    page.locator("#txt2img_prompt textarea").fill("")
    fill(page, "txt2img", "steps", "20")
    page.click("#txt2img_paste")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt textarea').value === 'a lost thought'")
    assert page.input_value("#txt2img_steps input[type=number]") == "3"


def test_a_script_runs_with_the_arguments_on_the_page_and_they_survive_a_reload(browser, server):
    page = open_page(browser, server)
    fill(page, "txt2img", "steps", "2")
    page.select_option("#txt2img_script_list", "Prompts from file or textbox")
    prompts = {"name": "prompts.txt", "mimeType": "text/plain", "buffer": b"a duck\na house\n"}
    page.locator("#txt2img_scripts input[type=file]").set_input_files(prompts)
    page.wait_for_function("() => document.querySelector('#txt2img_scripts textarea').value === 'a duck\\na house'")
    generate(page, "txt2img", 2)
    assert [picture["infotext"].split("\n")[0] for picture in pictures(page, "txt2img")] == ["a duck", "a house"]
    wait_until_kept(page)
    page.reload()
    page.wait_for_function("() => document.querySelector('#txt2img_scripts textarea')?.value === 'a duck\\na house'")
    assert page.input_value("#txt2img_script_list") == "Prompts from file or textbox"


def test_a_style_is_written_kept_chosen_and_applied(browser, server):
    page = open_page(browser, server)
    page.click("#txt2img_style_edit")
    dialog = page.locator("dialog.webui-dialog")
    dialog.get_by_label("Style", exact=True).fill("painted")
    dialog.get_by_label("Prompt", exact=True).fill("oil painting of {prompt}")
    dialog.get_by_role("button", name="Save").click()
    page.wait_for_selector(".webui-toast")
    dialog.get_by_role("button", name="Close").click()
    page.locator("#txt2img_prompt textarea").fill("a cat")
    before = page.locator("#txt2img_steps").bounding_box()
    page.locator("#txt2img_styles input").click()
    page.get_by_role("option", name="painted").click()
    page.keyboard.press("Escape")
    page.wait_for_selector("#txt2img_styles .token")
    assert page.locator("#txt2img_steps").bounding_box() == before, "nothing moves when a style is chosen"
    page.click("#txt2img_style_apply")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt textarea').value === 'oil painting of a cat'")


def test_text_from_pictures_and_prompts_is_never_run_as_html(browser, server, tmp_path):
    page = open_page(browser, server)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", f"{EVIL}\nSteps: 2, Sampler: {EVIL.replace(',', '')}, Seed: 1, Size: 128x128")
    notes.add_text(EVIL[:60], EVIL)
    buffer = io.BytesIO()
    Image.new("RGB", (128, 128)).save(buffer, "PNG", pnginfo=notes)
    source = tmp_path / "evil.png"
    source.write_bytes(buffer.getvalue())
    page.get_by_role("tab", name="PNG Info").click()
    page.locator(".webui-pnginfo-file").set_input_files(source)
    page.wait_for_function("() => document.querySelector('.webui-pnginfo .details')?.textContent.includes('onerror')")
    page.click("#pnginfo_send_to_txt2img")
    page.wait_for_function("() => document.querySelector('#txt2img_prompt textarea').value.includes('onerror')")
    page.click("#txt2img_generate")  # the sampler is no sampler: the refusal quotes it
    page.locator("#txt2img_results .message.error").wait_for()
    page.locator("#txt2img_sampling input").fill("Euler")
    page.keyboard.press("Enter")
    generate(page, "txt2img")
    for tab in ("Gallery", "Settings", "Models"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(700)
    open_tab(page, "txt2img")
    assert "onerror" in page.inner_text("#txt2img_results .infotext")
    assert page.evaluate("window.__xss") is None


LOCALIZATIONS = Path(__file__).parents[2] / "localizations"
TEXTS = """async () => {
    const main = [...document.scripts].find(({ src }) => src.includes("/js/main.js")).src;
    return (await import(main.replace("main.js", "localization.js"))).collect();
}"""
NAMES = re.compile(  # of files, samplers, keys and units; what the worker and extensions say of themselves
    r"[\W\d]*|[a-z]|[\d.,]+ ?(MB|GB|kB|px).*|px|(→ )?(txt2img|img2img|inpaint|extras)|\w+_\w+.*|(Ctrl|Shift|Alt)\+.*|"
    r"Enter|Esc|CPU|CUDA|SD\w*|Carriage Return|Line Feed|(number input|range slider) for .*|starter.*|sd1 · .*|"
    r"[0-9a-f]{10}|[\w-]+\.png|Installed: \. .*|Stable Diffusion 1|loopback|upscale|GFPGAN|CodeFormer|"
    r".*(xformers|bfloat16|float32|whole model on the device).*|attention \w+: .*|"
    r".*(A1111's (script|names)|operation of that name).*"
)


def test_every_text_of_every_tab_has_its_chinese(browser, server):
    table = json.loads((LOCALIZATIONS / "zh_CN.json").read_text(encoding="utf-8"))
    shapes = [
        re.compile("".join({"{}": ".+?", "{n}": r"[\d.,\s]+"}.get(part, re.escape(part)) for part in parts))
        for parts in (re.split(r"(\{n?\})", key) for key in table)
        if len(parts) > 1
    ]
    page = open_page(browser, server)
    missing = {}
    for tab in page.get_by_role("tab").all():
        if not tab.is_visible() or not (tab.get_attribute("id") or "").startswith("tab_"):
            continue
        tab.click()
        page.wait_for_timeout(500)
        for text in page.evaluate(TEXTS):
            known = text in table or text in SAMPLERS or any(shape.fullmatch(text) for shape in shapes)
            if not known and not NAMES.fullmatch(text):
                missing.setdefault(text, tab.inner_text())
    page.context.close()
    assert not missing, "\n".join(f"{tab}: {text}" for text, tab in missing.items())


def test_the_page_is_one_column_and_nothing_sticks_out_on_a_phone(browser, server):
    page = open_page(browser, server, viewport={"width": 390, "height": 844}, has_touch=True)
    for tab in ("txt2img", "img2img", "inpaint"):
        open_tab(page, tab)
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


AXE = Path(__file__).parent / "vendor" / "axe" / "axe.min.js"
SERIOUS = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).flatMap(
        ({ id, help, nodes }) => nodes.map(({ html, any }) =>
            `${id} (${help}): ${html.slice(0, 160)} ${any.map(({ message }) => message).join("; ").slice(0, 200)}`));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_on_any_tab(browser, server, scheme):
    page = open_page(browser, server, color_scheme=scheme)
    page.add_script_tag(path=AXE)
    found = {}
    for tab in page.locator("button[role=tab][id^=tab_]").all():
        tab.click()
        page.wait_for_timeout(600)
        found[tab.inner_text()] = page.evaluate(SERIOUS)
    page.context.close()
    assert len(found) >= 10
    assert not any(found.values()), "\n".join(f"{tab}: {one}" for tab, ones in found.items() for one in ones)
