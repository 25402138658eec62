"""More of the page, without a worker: another language, and what the prompt boxes take and offer."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, PngImagePlugin

from modules.generation.part import Size
from modules.planning.hires import target
from modules.prompts.styles import Style, StyleBook
from modules.settings.store import SettingsStore
from tests.browser.bare_app import BareApp
from tests.browser.waits import wait_until_kept

pytestmark = pytest.mark.browser

BOX = "#txt2img_prompt textarea"


def serve(app: BareApp) -> Iterator[str]:
    from modules.ui import assets, blocks

    page = blocks.build(app)
    _, url, _ = page.launch(
        prevent_thread_lock=True, quiet=True, run_history=False, footer_links=[], head=assets.head()
    )
    yield url
    page.close(verbose=False)


def open_page(browser, url: str):
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(url)
    page.wait_for_function("() => window.webui?.panels.get('txt2img')", timeout=60_000)
    return page


@pytest.fixture(scope="module")
def chinese_app(tmp_path_factory: pytest.TempPathFactory) -> BareApp:
    folder = Path(tmp_path_factory.mktemp("data"))
    own = folder / "localizations"
    own.mkdir()
    (own / "zh_CN.json").write_text('{"Seed": "我的种子", "a cat": "一只猫"}', encoding="utf-8")
    keys = ["sd_model_checkpoint", "CLIP_stop_at_last_layers", "send_seed", "quicksettings_list", "no such thing"]
    (folder / "config.json").write_text(json.dumps({"localization": "zh_CN", "quicksettings_list": keys}))
    return BareApp(folder, settings=SettingsStore(folder / "config.json", environment={}))


@pytest.fixture(scope="module")
def chinese_url(chinese_app: BareApp) -> Iterator[str]:
    yield from serve(chinese_app)


def test_the_page_speaks_the_language_of_the_settings_and_leaves_what_people_wrote(browser, chinese_url):
    page = open_page(browser, chinese_url)
    page.wait_for_function("() => document.querySelector('#txt2img_generate').textContent.trim() === '生成'")
    assert page.get_attribute(BOX, "placeholder").startswith("提示词")
    assert page.get_attribute("#txt2img_paste", "title") or "从提示词" in page.inner_text("#txt2img_paste")
    assert "我的种子" in page.inner_text("#txt2img_seed_row")  # the person's own file goes over ours
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    page.fill(BOX, "a cat")
    page.get_by_role("tab", name="图生图").click()  # drawn only now
    page.wait_for_function("() => document.querySelector('#img2img_generate')?.textContent.trim() === '生成'")
    page.get_by_text("裁剪后缩放").click()
    assert page.evaluate("document.querySelector('#img2img_resize_mode input:checked').value") == "Crop and resize"
    assert page.input_value(BOX) == "a cat"
    page.evaluate("window.webui.panels.get('txt2img').infotext.textContent = 'Width'")
    page.wait_for_timeout(100)
    assert page.evaluate("window.webui.panels.get('txt2img').infotext.textContent") == "Width"
    page.context.close()


def test_settings_named_for_the_top_travel_with_the_browsers_own_requests(browser, chinese_app, chinese_url):
    page, other = open_page(browser, chinese_url), open_page(browser, chinese_url)
    assert page.locator("#quicksettings input[type=number], #quicksettings input[type=checkbox]").count() == 2
    skip = "#setting_CLIP_stop_at_last_layers input[type=number]"
    page.fill(skip, "2")
    page.keyboard.press("Tab")
    for one in (page, other):
        asked = len(chinese_app.requests)
        one.click("#txt2img_generate")
        one.wait_for_function("() => window.webui.panels.get('txt2img').ids.length === 1")
        assert len(chinese_app.requests) == asked + 1
    assert [request.overrides for request in chinese_app.requests[-2:]] == [{"CLIP_stop_at_last_layers": 2}, {}]
    page.uncheck("#setting_send_seed input")  # changes no picture: it is everybody's, and kept
    wait_until_kept(page)
    assert chinese_app.settings.current.send_seed is False
    page.reload()
    page.wait_for_function(f"() => document.querySelector('{skip}')?.value === '2'")
    assert page.is_checked("#setting_send_seed input") is False
    page.context.close()
    other.context.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> BareApp:
    return BareApp(Path(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def url(app: BareApp) -> Iterator[str]:
    yield from serve(app)


def test_generate_forever_asks_again_and_again_until_it_is_cancelled_or_refused(browser, app, url):
    page = open_page(browser, url)
    page.fill(BOX, "again")
    page.click("#txt2img_generate", button="right")
    page.keyboard.press("Enter")  # the first entry has the focus
    page.wait_for_function("() => window.webui.panels.get('txt2img').ids.length >= 3")
    assert {request.prompt for request in app.requests} == {"again"}
    page.click("#txt2img_generate", button="right")
    page.get_by_role("menuitem", name="Cancel generate forever").click()
    page.wait_for_timeout(1200)
    asked = len(app.requests)
    page.wait_for_timeout(1500)
    assert len(app.requests) == asked
    page.get_by_role("tab", name="img2img").click()  # which has no picture: refused
    page.click("#img2img_generate", button="right")
    page.get_by_role("menuitem", name="Generate forever").click()
    page.wait_for_selector(".webui-toast:has-text('needs a picture')")
    assert not page.locator("#img2img_generate.is-forever").count()
    page.context.close()


def test_settings_of_the_scripts_are_those_of_now_in_every_page_that_opens_and_once_they_are_saved(browser, app, url):
    page = open_page(browser, url)
    page.wait_for_function("() => window.webui.config.notification_volume === 100")
    app.settings.set_many({"notification_volume": 30})
    page.reload()
    page.wait_for_function("() => window.webui?.config.notification_volume === 30")
    page.get_by_role("tab", name="Settings").click()
    volume = page.locator(".setting", has_text="notification_volume").locator("input[type=number]")
    volume.fill("70")
    volume.press("Tab")
    page.click("#settings_submit")
    page.wait_for_function("() => window.webui.config.notification_volume === 70")
    page.context.close()


TOLD = """() => {
    window.told = [];
    window.Notification = class {
        static permission = "granted";
        constructor(title, { body }) { window.told.push(body); }
    };
    document.hasFocus = () => false;
}"""


def test_word_comes_of_jobs_asked_for_here_however_quick_and_of_none_that_were_over_before(browser, url):
    page = open_page(browser, url)
    page.evaluate(TOLD)
    job = """(id, state, kind) => {
        const { feed, panels } = window.webui;
        panels.get("txt2img").show({ [kind]: kind === "jobs" ? [id] : id });
        feed.put({ id, state, images: [], notices: [], error: { message: "no memory" } });
    }"""
    for id, state, kind in (("old", "done", "jobs"), ("quick", "done", "submitted"), ("bad", "failed", "submitted")):
        page.evaluate(f"({job})('{id}', '{state}', '{kind}')")
    assert page.evaluate("window.told") == ["Your pictures are done.", "A job failed: no memory"]
    page.context.close()


DROP = """([selector, name, kind, data]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type: kind }));
    const box = document.querySelector(selector);
    for (const type of ["dragover", "drop"]) {
        box.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }
}"""


def drop(page, selector: str, name: str, kind: str, content: bytes) -> None:
    page.evaluate(DROP, [selector, name, kind, base64.b64encode(content).decode()])


def test_a_picture_or_a_text_file_dropped_on_a_prompt_brings_its_parameters(browser, url):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", "a boat\nNegative prompt: fog\nSteps: 11, Sampler: Euler a, Seed: 99, Size: 64x96")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG", pnginfo=notes)
    page = open_page(browser, url)
    drop(page, BOX, "boat.png", "image/png", picture.getvalue())
    page.wait_for_function("() => document.querySelector('#txt2img_steps input[type=number]').value === '11'")
    assert page.input_value(BOX) == "a boat"
    assert page.input_value("#txt2img_neg_prompt textarea") == "fog"
    text = b"a hill\nSteps: 12, Sampler: Euler a, Seed: 98, Size: 64x96"
    drop(page, "#txt2img_neg_prompt textarea", "hill.txt", "text/plain", text)
    page.wait_for_function("() => document.querySelector('#txt2img_steps input[type=number]').value === '12'")
    assert page.input_value(BOX) == "a hill"
    drop(page, BOX, "broken.png", "image/png", b"no picture")
    page.wait_for_selector(".webui-toast.error")
    assert page.input_value(BOX) == "a hill"
    page.context.close()


def test_names_are_offered_while_typing_and_put_in_by_keyboard(browser, app, url):
    app.styles = StyleBook.load((app.data_dir / "styles.csv",)).with_style(
        Style("inky look", "{prompt}, ink drawing, bold lines", "")
    )
    page = open_page(browser, url)
    entries = page.locator("#webui_complete [role=option] .name")
    page.click(BOX)
    page.keyboard.type("a cat <lora:IN")
    page.wait_for_selector("#webui_complete:visible")
    assert entries.all_inner_texts() == ["ink", "Inkwash"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.input_value(BOX) == "a cat <lora:Inkwash:1>"
    page.keyboard.type(", inkb")
    page.wait_for_selector("#webui_complete:visible")
    page.keyboard.press("Tab")
    assert page.input_value(BOX) == "a cat <lora:Inkwash:1>, inkblot"
    page.keyboard.type(", inky")
    page.wait_for_selector("#webui_complete:visible")
    assert entries.all_inner_texts() == ["inky look"]
    page.keyboard.press("Escape")
    assert page.locator("#webui_complete").is_hidden()
    page.keyboard.type(" ")
    page.keyboard.press("Backspace")
    page.wait_for_selector("#webui_complete:visible")
    entries.first.click()
    assert page.input_value(BOX) == "a cat <lora:Inkwash:1>, inkblot, ink drawing, bold lines"
    page.click("#txt2img_generate")  # what was put in has reached the form
    page.wait_for_function("() => window.webui.panels.get('txt2img').ids.length")
    assert app.requests[-1].prompt.endswith("ink drawing, bold lines")
    page.context.close()


def test_picture_and_mask_are_chosen_together_for_inpainting(browser, url, tmp_path):
    Image.new("RGB", (96, 64), "navy").save(tmp_path / "shore.png")
    mask = Image.new("L", (96, 64))
    mask.paste(255, (0, 0, 48, 64))
    mask.save(tmp_path / "shore_mask.png")
    page = open_page(browser, url)
    page.get_by_role("tab", name="inpaint").click()
    chooser = page.locator("#inpaint_image .webui-source-file")
    chooser.set_input_files([tmp_path / "shore_mask.png", tmp_path / "shore.png"])
    page.wait_for_function("() => window.webui.pictures.get('inpaint_image')?.value?.mask")
    editor = "window.webui.pictures.get('inpaint_image')"
    assert page.evaluate(f"[{editor}.value.width, {editor}.value.height]") == [96, 64]
    assert page.evaluate(f"{editor}.mask.raster.isEmpty()") is False
    assert page.get_by_role("button", name="White is repainted").is_visible()  # its tooltip is its name
    page.context.close()


def test_a_ratio_is_chosen_for_the_size_and_what_it_takes_of_the_picture_is_framed(browser, url, tmp_path):
    page = open_page(browser, url)
    page.click("#txt2img_aspect_btn")
    page.get_by_role("menuitem", name="16:9").click()
    sides = [page.locator(f"#txt2img_{side} input[type=number]") for side in ("width", "height")]
    page.wait_for_function("() => document.querySelector('#txt2img_height input').value === '96'")
    assert [side.input_value() for side in sides] == ["168", "96"]  # the area of 128x128, in steps of 8
    page.click("#txt2img_aspect_btn")
    page.keyboard.press("Escape")
    page.wait_for_timeout(200)
    assert [side.input_value() for side in sides] == ["168", "96"]
    Image.new("RGB", (80, 120), "navy").save(tmp_path / "tall.png")
    page.get_by_role("tab", name="img2img").click()
    page.locator("#img2img_image .webui-source-file").set_input_files(tmp_path / "tall.png")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.image")
    page.fill("#img2img_height input[type=number]", "64")
    frame = page.locator("#img2img_image .webui-aspect")
    frame.wait_for()
    box = frame.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(2, abs=0.05)  # 128x64
    frame.wait_for(state="detached")
    page.context.close()


def choose_checkpoint(page, name: str) -> None:
    page.click("#setting_sd_model_checkpoint input")
    page.get_by_role("option", name=name).click()


def test_what_suits_a_distilled_checkpoint_is_offered_and_taken_by_one_click(browser, url, app):
    page = open_page(browser, url)
    line = page.locator("#txt2img_advice")
    assert not line.is_visible()
    choose_checkpoint(page, "sdxl_lightning_4step")
    line.get_by_text("Lightning model by its name: 4 steps, CFG scale 1.5, Euler, SGM Uniform").wait_for()
    line.get_by_role("button", name="Use").click()
    line.wait_for(state="detached")
    page.fill(BOX, "quick")
    page.click("#txt2img_generate")
    page.wait_for_function("() => window.webui.panels.get('txt2img').ids.length > 0")
    sampling = next(request for request in reversed(app.requests) if request.prompt == "quick").sampling
    assert (sampling.sampler, sampling.schedule, sampling.steps, sampling.cfg_scale) == ("Euler", "SGM Uniform", 4, 1.5)
    page.get_by_role("tab", name="img2img", exact=True).click()
    page.locator("#img2img_advice").get_by_role("button", name="Use").wait_for()  # the other tab's values stay its own
    assert page.input_value("#img2img_steps input[type=number]") != "4"
    choose_checkpoint(page, "other")
    page.locator("#img2img_advice").wait_for(state="detached")
    page.context.close()


@pytest.fixture
def arranged_app(tmp_path: Path) -> BareApp:
    chosen = {
        "samplers_in_dropdown": False, "dimensions_and_batch_together": False, "img2img_settings_accordion": True,
        "gallery_height": "333px", "img2img_editor_height": 500, "show_progressbar": False, "compact_prompt_box": True,
        "ui_reorder_list": ["seed", "sampler"], "extra_options_txt2img": ["CLIP_stop_at_last_layers", "send_seed"],
        "extra_options_cols": 2, "ui_extra_networks_tab_reorder": "Lora, checkpoints",
        "img2img_sketch_default_brush_color": "#123456", "set_scale_by_when_changing_upscaler": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(chosen))
    app = BareApp(tmp_path / "data", settings=SettingsStore(tmp_path / "config.json", environment={}))
    app.flags.hide_ui_dir_config = True
    app.upscalers = SimpleNamespace(names=lambda: ("None", "Lanczos", "Nearest", "3x-Sharp"))
    return app


@pytest.fixture
def arranged_url(arranged_app: BareApp) -> Iterator[str]:
    yield from serve(arranged_app)


def test_the_page_is_arranged_as_the_settings_say(browser, arranged_app, arranged_url):
    page = open_page(browser, arranged_url)
    prompt, seed, sampler, panel = (
        page.locator(f"#txt2img_{name}").bounding_box() for name in ("prompt", "seed_row", "sampling", "results")
    )
    assert prompt["x"] + prompt["width"] <= panel["x"] and panel["y"] < prompt["y"] + prompt["height"], "compact"
    assert prompt["y"] < seed["y"] < sampler["y"]
    pages = page.locator("#txt2img_extra_networks [role=tab]").all_inner_texts()
    assert pages == ["Generation", "Lora", "Checkpoints", "Textual Inversion", "Hypernetworks"]
    skip, sends = (page.locator(f"#txt2img_setting_{key}") for key in ("CLIP_stop_at_last_layers", "send_seed"))
    assert skip.bounding_box()["x"] < sends.bounding_box()["x"], "two columns"
    skip.locator("input[type=number]").fill("2")
    page.keyboard.press("Tab")
    page.click("#txt2img_generate")
    page.wait_for_function("() => window.webui.panels.get('txt2img').ids.length === 1")
    assert arranged_app.requests[-1].overrides == {"CLIP_stop_at_last_layers": 2}
    wait_until_kept(page)
    page.reload()
    page.wait_for_function(
        "() => document.querySelector('#txt2img_setting_CLIP_stop_at_last_layers input[type=number]')?.value === '2'"
    )
    page.get_by_role("tab", name="Extras").click()
    page.wait_for_selector("#extras_upscaler_1 option[value='3x-Sharp']", state="attached")
    page.select_option("#extras_upscaler_1", "3x-Sharp")
    assert page.get_by_label("Resize", exact=True).last.input_value() == "3"
    page.get_by_role("tab", name="txt2img", exact=True).click()
    page.get_by_role("radio", name="Euler a", exact=True).check()
    page.wait_for_function("() => document.querySelector('#txt2img_sampling input:checked')?.value === 'Euler a'")
    places = [page.locator(f"#txt2img_{name}").bounding_box() for name in ("height", "batch_count", "batch_size")]
    assert places[0]["y"] < places[1]["y"] == places[2]["y"], "the batch below the size, side by side"
    assert page.locator("#txt2img_results .show").bounding_box()["height"] == 333
    assert not page.locator("#txt2img_results .bar").is_visible()
    folder = page.get_by_role(
        "button", name="Folders cannot be opened here: the server was started with --hide-ui-dir-config"
    )
    folder.wait_for()
    assert folder.is_disabled()
    page.get_by_role("tab", name="img2img", exact=True).click()
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')")
    assert page.evaluate("window.webui.pictures.get('img2img_image').colour") == "#123456"
    steps = page.locator("#img2img_steps")
    assert not steps.is_visible()
    page.get_by_role("button", name="Generation settings").click()
    steps.wait_for()
    page.context.close()


RUNNING = {"id": "made-up", "state": "running", "images": [], "notices": [], "progress": 0.5}


def hold(page, **settings) -> None:
    """Settings in the browser, whatever the server says of them once the page is open."""
    page.evaluate(
        "(settings) => { for (const [key, value] of Object.entries(settings)) Object.defineProperty("
        "window.webui.config, key, { get: () => value, set() {}, configurable: true, enumerable: true }); }",
        settings,
    )


def test_previews_come_as_often_as_the_settings_say_and_also_in_the_viewer(browser, url):
    page = open_page(browser, url)
    page.evaluate("(id) => window.webui.panels.get('txt2img').ids.push(id)", RUNNING["id"])

    def preview(number: int, period_ms: int) -> int:
        hold(page, live_preview_refresh_period=period_ms)
        page.evaluate("(job) => window.webui.feed.put(job)", {**RUNNING, "preview": number})
        return page.evaluate("window.webui.panels.get('txt2img').shownPreview.number")

    assert [preview(1, 600_000), preview(2, 600_000), preview(3, 0), preview(4, 0)] == [1, 1, 3, 4]
    hold(page, js_live_preview_in_modal_lightbox=True)
    page.evaluate("window.webui.panels.get('txt2img').enlarge()")
    shown = "document.querySelector('.webui-lightbox > img').src"
    assert page.evaluate(shown).endswith("preview?n=4")
    preview(5, 0)
    assert page.evaluate(shown).endswith("preview?n=5")
    page.context.close()


def test_a_gamepads_stick_switches_pictures_in_the_viewer_if_wanted(browser, url):
    page = open_page(browser, url)
    made = [{"id": str(k), "url": f"data:,{k}", "shown": True, "seed": k} for k in range(4)]
    page.evaluate("(id) => window.webui.panels.get('txt2img').ids.push(id)", "made-up")
    page.evaluate("(job) => window.webui.feed.put(job)", {**RUNNING, "state": "done", "images": made})
    page.evaluate("navigator.getGamepads = () => [{ axes: [window.tilt ?? 0] }]")
    selected = "window.webui.panels.get('txt2img').selected.id"
    for every, tilts, expected in ((0, [1], "0"), (60_000, [1, 0, -1, 0, 1], "1"), (5, [1], "3")):
        hold(page, js_modal_lightbox_gamepad=every > 0, js_modal_lightbox_gamepad_repeat=every)
        page.evaluate("() => { window.tilt = 0; window.webui.panels.get('txt2img').enlarge(); }")
        for tilt in tilts:
            page.evaluate("(tilt) => { window.tilt = tilt; }", tilt)
            page.wait_for_timeout(100)  # six looks at the gamepad
        if every != 5:
            assert page.evaluate(selected) == expected, (every, tilts)
        else:
            page.wait_for_function(f"() => {selected} === '{expected}'", polling=4)  # held: on and on, past the end
        page.keyboard.press("Escape")
        page.wait_for_selector(".webui-lightbox", state="detached")
    page.context.close()


def test_settings_without_effect_say_so_and_unsaved_changes_are_told_and_guarded(browser, url):
    page = open_page(browser, url)
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.get_by_role("tab", name="Settings").click()
    find = page.locator(".webui-settings-page input[type=search]")
    find.fill("not part of tensorboard")
    rows = page.locator(".webui-settings-page .setting:visible")
    rows.first.wait_for()
    assert rows.count() == 3
    note = page.locator(".webui-settings-page section:visible > .idle")  # once for the whole page of settings
    assert note.inner_text().split("\n") == ["No effect", "training is not part of this program"]
    assert all(box.is_disabled() for box in rows.locator("input").all())
    find.fill("deepbooru_escape")
    assert rows.locator(".idle").inner_text().split("\n") == ["No effect", "DeepBooru is not part of this program"]
    page.check("#settings_only_in_use")
    assert rows.count() == 0
    find.fill("jpeg_quality")
    rows.locator("input").fill("91")
    assert page.inner_text(".webui-settings-page .waiting") == "1 change not applied"
    page.get_by_role("tab", name="txt2img", exact=True).click()
    assert page.locator("#tab_settings-button[data-unsaved]").count() == 1
    page.reload()
    page.wait_for_function("() => window.webui?.panels.get('txt2img')")
    assert asked == ["beforeunload"]
    page.get_by_role("tab", name="Settings").click()
    find.fill("jpeg_quality")
    rows.locator("input").fill("91")
    page.click("#settings_submit")
    page.wait_for_function("() => document.querySelector('.webui-settings-page .applied').textContent.includes('jpeg')")
    assert page.locator(".webui-settings-page .waiting").inner_text() == ""
    page.reload()
    page.wait_for_function("() => window.webui?.panels.get('txt2img')")
    assert asked == ["beforeunload"], "nothing is lost any more"
    page.context.close()


def test_two_sides_pasted_into_one_fill_both(browser, url):
    page = open_page(browser, url)
    page.locator("#txt2img_width input[type=number]").focus()
    page.evaluate(
        "() => { const data = new DataTransfer(); data.setData('text', ' 192x320 ');"
        " const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true });"
        " document.activeElement.dispatchEvent(event); }"
    )
    page.check("#txt2img_hr_enable input")  # whose header says what sizes the page has
    said(page, "#txt2img_hr", "from 192×320 to 384×640")
    page.context.close()


def said(page, place: str, text: str) -> None:
    page.wait_for_function(
        "([place, text]) => document.querySelector(`${place} .webui-fromto`)?.textContent === text", arg=[place, text]
    )


def test_hires_fix_and_resize_by_say_what_size_will_come_of_them(browser, url, tmp_path):
    page = open_page(browser, url)
    page.check("#txt2img_hr_enable input")
    said(page, "#txt2img_hr", "from 128×128 to 256×256")
    page.fill("#txt2img_width input[type=number]", "192")
    page.fill("#txt2img_hr_scale input[type=number]", "1.5")
    page.keyboard.press("Tab")
    said(page, "#txt2img_hr", "from 192×128 to 288×192")
    faint = "getComputedStyle(document.querySelector('#txt2img_hr_{}')).opacity"
    page.mouse.move(5, 5)
    assert [page.evaluate(faint.format(name)) for name in ("scale", "resize_x")] == ["1", "0.5"]
    page.fill("#txt2img_hr_resize_x input[type=number]", "640")
    page.keyboard.press("Tab")
    said(page, "#txt2img_hr", "from 192×128 to 640×424")
    assert page.evaluate(faint.format("scale")) == "0.5", "a size that is given leaves the factor no say"
    page.uncheck("#txt2img_hr_enable input")
    said(page, "#txt2img_hr", "")
    Image.new("RGB", (80, 120), "navy").save(tmp_path / "tall.png")
    page.get_by_role("tab", name="img2img").click()
    page.check("#img2img_resize_by input")
    page.fill("#img2img_scale input[type=number]", "1.5")
    page.keyboard.press("Tab")
    page.locator("#img2img_image .webui-source-file").set_input_files(tmp_path / "tall.png")
    said(page, "#img2img_scale_size", "from 80×120 to 120×176")
    page.context.close()


@pytest.mark.parametrize("scale, resize", [(1.05, (0, 0)), (2, (0, 0)), (2, (700, 0)), (2, (0, 700)), (2, (900, 512))])
def test_the_size_after_hires_fix_is_the_planners(browser, page_url, scale, resize):
    page = open_page(browser, page_url)
    for width, height in ((512, 512), (136, 232), (768, 320)):
        first = Size(width=width, height=height)
        final = target(first, scale=scale, resize_width=resize[0], resize_height=resize[1]).final
        shown = page.evaluate("(values) => window.webui.hiresSize(...values)", [width, height, scale, *resize])
        assert shown == [final.width, final.height], first
    page.context.close()


def test_values_become_defaults_for_new_browsers_and_come_back_on_demand(browser, app, url):
    page = open_page(browser, url)
    page.fill("#txt2img_steps input[type=number]", "33")
    page.keyboard.press("Tab")
    wait_until_kept(page)
    page.get_by_role("tab", name="Settings").click()
    page.click("#settings_defaults_view")
    row = page.locator("#settings_defaults tbody tr")
    row.first.wait_for()
    assert row.all_inner_texts() == ["txt2img\tSampling steps\t20\t33"]
    page.click("#settings_defaults_apply")
    page.wait_for_selector("#settings_defaults p:has-text('shows the defaults')")
    steps = "document.querySelector('#txt2img_steps input[type=number]')?.value"
    fresh = open_page(browser, url)
    fresh.wait_for_function(f"() => {steps} === '33'")
    fresh.fill("#txt2img_steps input[type=number]", "5")
    fresh.keyboard.press("Tab")
    wait_until_kept(fresh)
    fresh.on("dialog", lambda dialog: dialog.accept())
    fresh.get_by_role("tab", name="Settings").click()
    fresh.click("#settings_defaults_reset")
    fresh.wait_for_function(f"() => {steps} === '33'")
    (app.data_dir / "ui-config.json").unlink()
    page.context.close()
    fresh.context.close()
