"""Colour sketches, the modes of a source, and the area of "Only masked", in a real browser: what is painted is sent."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from modules.images import masks
from modules.settings.schema import Settings
from tests.browser.bare_app import BareApp
from tests.browser.test_generation import fill, generate, open_page, open_tab, pictures
from tests.browser.test_mask_editor import Editor as MaskEditor
from tests.browser.test_mask_editor import capsule, picture
from tests.browser.test_page_more import serve
from tests.browser.waits import wait_until_kept

pytestmark = pytest.mark.browser

RED = "#e02020"


class Editor(MaskEditor):
    """The editor of either tab; `layer` reads what the server was given for one of its layers."""

    tab = "inpaint"

    @property
    def script(self) -> str:
        return f"window.webui.pictures.get('{self.tab}_image')"

    def client(self, x: float, y: float) -> tuple[float, float]:
        box = self.page.locator(f"#{self.tab}_image .webui-board").bounding_box()
        scale = min(box["width"] / self.width, box["height"] / self.height)
        left = box["x"] + (box["width"] - self.width * scale) / 2
        top = box["y"] + (box["height"] - self.height * scale) / 2
        return left + x * scale, top + y * scale

    def run(self, script: str, argument: object = None) -> object:
        """Run JavaScript in which `editor` is the editor."""
        return self.page.evaluate(f"async (argument) => {{ const editor = {self.script}; return {script}; }}", argument)

    def layer(self, name: str) -> np.ndarray | None:
        """The layer's pixels as the server has them; None when it is empty."""
        sha = self.run(f"(await editor.flush()).{name}")
        return None if sha is None else np.asarray(Image.open(io.BytesIO(self.content(sha))))

    def content(self, sha: str) -> bytes:
        script = "[...new Uint8Array(await (await editor.store.getPicture(argument)).arrayBuffer())]"
        return bytes(self.run(script, sha))

    def click(self, title: str) -> None:
        button = self.page.locator(f"#{self.tab}_image button[title^='{title}']")
        if not button.is_visible():
            self.page.locator(f"#{self.tab}_image .webui-mask-menu summary").click()
        button.click()

    def button(self, name: str):
        return self.page.locator(f"#{self.tab}_image").get_by_role("button", name=name, exact=True)


def open_editor(browser, url: str, tab: str, mode: str, source: Path, **context) -> Editor:
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context}).new_page()
    page.goto(url)
    page.get_by_role("tab", name=tab, exact=True).click()
    page.wait_for_function(f"() => window.webui?.pictures.get('{tab}_image')")
    page.locator(f"#{tab}_image").get_by_role("button", name=mode, exact=True).click()
    return load(page, tab, source)


def load(page, tab: str, source: Path) -> Editor:
    with Image.open(source) as image:
        editor = Editor(page, *image.size)
    editor.tab = tab
    page.locator(f"#{tab}_image .webui-source-file").set_input_files(source)
    page.wait_for_function(f"() => {editor.script}.value?.image && {editor.script}.value.width === {editor.width}")
    page.wait_for_function(f"() => {editor.script}.view.stage.width() > 1")
    return editor


def test_a_red_stroke_is_in_the_sketch_where_it_was_painted_and_in_its_colour(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, "img2img", "Sketch", picture(tmp_path, 640, 480))
    editor.button("Red").click()
    editor.run("editor.setSize(40)")
    ends = (120, 100, 480, 300)
    editor.stroke(*ends)
    sketch = editor.layer("sketch")
    painted = (sketch == (0xE0, 0x20, 0x20, 255)).all(-1)
    assert ((sketch == 0).all(-1) | painted).all(), "a pixel is either painted or untouched"
    tolerance = max(1.0, 1 / editor.scale)
    assert not (painted & ~capsule(editor, ends, 20 + tolerance)).any(), "painted outside"
    assert not (capsule(editor, ends, 20 - tolerance) & ~painted).any(), "left out inside"


def test_translucent_paint_covers_a_pixel_once_a_stroke_and_again_with_the_next(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, "img2img", "Sketch", picture(tmp_path, 400, 300))
    editor.run("(editor.setSize(60), editor.setColour('#ff0000'), editor.setPaintOpacity(50))")
    mouse = editor.page.mouse
    mouse.move(*editor.client(100, 150))
    mouse.down()
    for x in (300, 100, 300):  # to and fro over the same place
        mouse.move(*editor.client(x, 150), steps=4)
    mouse.up()
    assert editor.layer("sketch")[150, 200].tolist() == [255, 0, 0, 128]
    editor.run("editor.setColour('#0000ff')")
    editor.stroke(200, 60, 200, 240)
    # blue at 128 over red at 128: alpha 128 + 128 * 127 / 255, red's share 128 * 127 / 255 of it
    assert np.abs(editor.layer("sketch")[150, 200].astype(int) - (85, 0, 170, 192)).max() <= 1


def test_rectangle_lasso_eraser_and_right_button_work_in_colour(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, "img2img", "Sketch", picture(tmp_path, 600, 400))
    editor.button("Blue").click()
    editor.click("Fill a rectangle")
    editor.stroke(100, 100, 300, 300)
    assert editor.layer("sketch")[200, 200].tolist() == [0x1C, 0x5F, 0xD6, 255]
    editor.click("Eraser")
    editor.run("editor.setSize(30)")
    editor.stroke(200, 50, 200, 350)
    assert not editor.layer("sketch")[200, 200].any() and editor.layer("sketch")[200, 150].any()
    editor.click("Brush")
    editor.page.mouse.move(*editor.client(150, 200))
    editor.page.mouse.down(button="right")
    editor.page.mouse.up(button="right")
    assert not editor.layer("sketch")[200, 150].any()
    editor.click("Remove everything")
    assert editor.layer("sketch") is None
    editor.click("Undo")
    assert editor.layer("sketch")[120, 120].any()


def test_the_eyedropper_takes_the_colour_that_is_seen(browser, page_url, tmp_path):
    source = tmp_path / "colours.png"
    image = Image.new("RGB", (400, 300), (12, 200, 99))
    image.paste((250, 3, 77), (200, 0, 400, 300))
    image.save(source)
    editor = open_editor(browser, page_url, "img2img", "Sketch", source)
    editor.click("Take a colour")
    editor.page.mouse.click(*editor.client(100, 100))
    assert editor.run("editor.colour") == "#0cc863" and editor.run("editor.tool") == "brush"
    editor.page.locator("#img2img_image .webui-board").hover()
    editor.page.keyboard.press("i")
    editor.page.mouse.click(*editor.client(300, 100))
    assert editor.run("editor.colour") == "#fa034d"
    editor.run("(editor.setColour('#000000'), editor.setPaintOpacity(50), editor.setSize(50))")
    editor.page.mouse.click(*editor.client(300, 200))
    editor.page.keyboard.down("Alt")
    editor.page.mouse.click(*editor.client(300, 200))  # black at 128 / 255 over the picture
    editor.page.keyboard.up("Alt")
    assert editor.run("editor.colour") == "#7d0126"
    assert editor.run("editor.document.layer('sketch').done") == 1, "taking a colour paints nothing"


def test_mask_and_colour_are_undone_in_the_order_in_which_they_were_painted(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, "inpaint", "Inpaint sketch", picture(tmp_path, 600, 400))
    editor.run("editor.setSize(40)")
    editor.button("Red").click()
    editor.stroke(100, 100, 200, 100)
    editor.button("Mask").click()
    editor.stroke(100, 300, 200, 300)
    editor.button("Colour").click()
    editor.stroke(400, 100, 500, 100)

    def painted() -> tuple[bool, bool, bool]:
        sketch, mask = editor.layer("sketch"), editor.layer("mask")
        return (
            sketch is not None and bool(sketch[100, 150].any()),
            mask is not None and bool(mask[300, 150]),
            sketch is not None and bool(sketch[100, 450].any()),
        )

    assert painted() == (True, True, True)
    editor.page.locator("#inpaint_image .webui-board").focus()
    for wanted in ((True, True, False), (True, False, False), (False, False, False)):
        editor.page.keyboard.press("Control+z")
        assert painted() == wanted
    for wanted in ((True, False, False), (True, True, False), (True, True, True)):
        editor.page.keyboard.press("Control+y")
        assert painted() == wanted


def test_sketch_mode_and_mask_survive_a_reload_with_their_strokes(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, "inpaint", "Inpaint sketch", picture(tmp_path, 500, 400))
    editor.button("Green").click()
    editor.stroke(100, 100, 300, 300)
    editor.button("Mask").click()
    editor.stroke(400, 100, 450, 300)
    before = editor.layer("sketch"), editor.layer("mask")
    with editor.page.expect_response(lambda answer: "queue/join" in answer.url or "/run/" in answer.url):
        editor.run("editor.onChange(editor.submitted)")
    wait_until_kept(editor.page)
    editor.page.reload()
    editor.page.get_by_role("tab", name="inpaint", exact=True).click()
    editor.page.wait_for_function(f"() => {editor.script}?.document?.layer('sketch').done === 1")
    assert editor.run("editor.mode") == "inpaint_sketch"
    for one, other in zip(before, (editor.layer("sketch"), editor.layer("mask")), strict=True):
        assert (one == other).all()
    editor.page.locator("#inpaint_image .webui-board").focus()
    editor.page.keyboard.press("Control+z")
    assert editor.layer("mask") is None and editor.layer("sketch") is not None


def test_a_white_sheet_of_the_wanted_size_can_be_sketched_on(browser, page_url):
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(page_url)
    page.get_by_role("tab", name="img2img", exact=True).click()
    page.wait_for_function("() => document.querySelector('#img2img_width input')?.value === '128'")  # the draft came
    page.locator("#img2img_width input[type=number]").fill("320")
    page.keyboard.press("Tab")
    page.locator("#img2img_image").get_by_role("button", name="Sketch", exact=True).click()
    page.get_by_role("button", name="Start with a white sheet").click()
    page.wait_for_function("() => window.webui.pictures.get('img2img_image').value?.image")
    value = page.evaluate("window.webui.pictures.get('img2img_image').value")
    assert (value["width"], value["height"]) == (320, int(page.input_value("#img2img_height input[type=number]")))


def test_inpaint_upload_takes_picture_and_mask_with_its_greys(browser, page_url, tmp_path):
    source, mask = picture(tmp_path, 300, 200), tmp_path / "anything.png"
    greys = Image.linear_gradient("L").resize((300, 200))
    greys.save(mask)
    editor = open_editor(browser, page_url, "inpaint", "Inpaint upload", source)
    editor.page.locator("#inpaint_image .webui-mask-file").set_input_files(mask)
    editor.page.wait_for_function(f"() => {editor.script}.mask.done === 1")
    assert (editor.layer("mask") == np.asarray(greys)).all()
    coloured = Image.merge("RGB", (greys, greys.transpose(Image.Transpose.ROTATE_180), Image.new("L", (300, 200), 40)))
    coloured.save(mask)
    editor.page.locator("#inpaint_image .webui-mask-file").set_input_files(mask)
    editor.page.wait_for_function(f"() => {editor.script}.mask.done === 2")
    assert (editor.layer("mask") == np.asarray(masks.grey_mask(coloured))).all()
    cut = Image.new("RGBA", (300, 200))
    cut.paste((9, 9, 9, 200), (50, 50, 100, 100))
    cut.save(mask)
    editor.page.locator("#inpaint_image .webui-mask-file").set_input_files(mask)
    editor.page.wait_for_function(f"() => {editor.script}.mask.done === 3")
    assert (editor.layer("mask") == np.asarray(masks.grey_mask(cut))).all()
    wait_until_kept(editor.page)
    editor.page.reload()
    editor.page.get_by_role("tab", name="inpaint", exact=True).click()
    editor.page.wait_for_function(f"() => {editor.script}?.document?.layer('mask').done === 3")
    editor.page.locator("#inpaint_image .webui-board").focus()
    editor.page.keyboard.press("Control+z")
    assert (editor.layer("mask") == np.asarray(masks.grey_mask(coloured))).all(), "what was read from files is kept"


# ---- the area of "Only masked"


def engine_area(
    mask: np.ndarray, *, blur: int, inverted: bool, padding: int, size: tuple[int, int]
) -> list[int] | None:
    """Where the engine crops to: the functions that modules/engine/inpaint.py calls, in its order."""
    image = Image.fromarray(mask)
    image = masks.blur_mask(masks.invert(image) if inverted else image, blur, blur)
    box = masks.crop_region(image, padding)
    return None if box is None else list(masks.expand_to_aspect(box, *size, *image.size))


def some_masks() -> dict[str, np.ndarray]:
    """Masks with what is awkward: specks, edges, corners, greys, nothing, everything."""
    draw = np.random.default_rng(3)
    blank = np.zeros((90, 130), np.uint8)

    def filled(*boxes: tuple[int, int, int, int], value: int = 255) -> np.ndarray:
        mask = blank.copy()
        for left, top, right, bottom in boxes:
            mask[top:bottom, left:right] = value
        return mask

    grey = blank.copy()
    grey[20:60, 30:90] = draw.integers(0, 255, (40, 60))
    return {
        "a box": filled((40, 30, 70, 50)), "a speck": filled((64, 45, 65, 46)), "a corner": filled((0, 0, 9, 5)),
        "the far corner": filled((125, 88, 130, 90)), "a line": filled((3, 44, 127, 45)),
        "two": filled((5, 5, 9, 9), (99, 70, 120, 88)), "wide": filled((0, 30, 130, 40)), "greys": grey,
        "hardly anything": filled((50, 40, 60, 45), value=1), "nothing": blank, "everything": blank + 255,
        "noise": np.where(draw.random(blank.shape) > 0.999, 255, 0).astype(np.uint8),
    }  # fmt: skip


def test_the_area_on_the_canvas_is_the_one_the_engine_crops_to(browser, page_url):
    page = browser.new_context().new_page()
    page.goto(page_url)
    page.wait_for_function("() => window.webui")
    cases = [
        {"name": name, "blur": blur, "inverted": inverted, "padding": padding, "size": size}
        for name in some_masks()
        for blur, inverted, padding, size in (
            (0, False, 0, (512, 512)), (4, False, 32, (512, 512)), (4, True, 8, (512, 768)),
            (13, False, 16, (768, 320)), (64, False, 0, (64, 2048)), (1, False, 256, (512, 512)),
        )
    ]  # fmt: skip
    found = page.evaluate(
        """async ([masks, cases]) => {
            const main = new URL(document.querySelector('script[src*="js/main.js"]').src);
            const { maskedArea } = await import(main.href.replace('main.js', 'editor/area.js'));
            return cases.map(({ name, blur, inverted, padding, size: [width, height] }) => {
                const rows = masks[name];
                const raster = { width: rows[0].length, height: rows.length, data: Uint8Array.from(rows.flat()) };
                return maskedArea(raster, { blur, isInverted: inverted, padding, size: { width, height } });
            });
        }""",
        [{name: mask.tolist() for name, mask in some_masks().items()}, cases],
    )
    for case, area in zip(cases, found, strict=True):
        given = {key: value for key, value in case.items() if key != "name"}
        assert area == engine_area(some_masks()[case["name"]], **given), case
    assert sum(area is not None for area in found) > 50


def test_the_area_follows_strokes_and_controls(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, "inpaint", "Inpaint", picture(tmp_path, 640, 480))
    page = editor.page

    def shown() -> list[int] | None:
        page.wait_for_timeout(250)  # controls tell a moment after they were changed
        view = "editor.view.area.visible() ? editor.view.edges[0].getAttrs() : null"
        edges = editor.run(view)
        return edges and [edges["x"], edges["y"], edges["x"] + edges["width"], edges["y"] + edges["height"]]

    def wanted(**changes) -> list[int] | None:
        given = {"blur": 4, "inverted": False, "padding": 32, "size": (128, 128)} | changes
        return engine_area(editor.layer("mask"), **given)

    editor.run("editor.setSize(30)")
    editor.stroke(200, 200, 260, 230)
    assert shown() is None, "the whole picture is repainted"
    page.locator("#inpaint_inpaint_full_res label", has_text="Only masked").click()
    assert shown() == wanted()
    editor.stroke(200, 200, 300, 300)
    assert shown() == wanted()
    for path, value, changes in (
        ("inpaint_full_res_padding", "64", {"padding": 64}),
        ("mask_blur", "20", {"padding": 64, "blur": 20}),
        ("width", "512", {"padding": 64, "blur": 20, "size": (512, 128)}),
    ):
        page.locator(f"#inpaint_{path} input[type=number]").fill(value)
        page.keyboard.press("Tab")
        assert shown() == wanted(**changes)
    assert "→ 512 × 128" in page.locator("#inpaint_image .webui-facts").inner_text()
    page.locator("#inpaint_mask_mode label", has_text="Inpaint not masked").click()
    assert shown() == wanted(padding=64, blur=20, size=(512, 128), inverted=True)
    editor.button("Inpaint sketch").click()
    page.locator("#inpaint_mask_mode label", has_text="Inpaint masked").click()
    editor.button("Red").click()
    editor.stroke(500, 400, 520, 400)
    right = shown()[2]
    assert right > 520, "a sketch's strokes are part of the mask"


# ---- keys, wheel and modes


@pytest.fixture
def url_with_other_keys(tmp_path) -> Iterator[str]:
    """The page for somebody who changed the canvas settings."""
    app = BareApp(tmp_path / "data")
    app.settings = SimpleNamespace(
        current=Settings(
            canvas_hotkey_zoom="Shift",
            canvas_hotkey_adjust="Alt",
            canvas_hotkey_grow_brush="P",
            canvas_hotkey_fullscreen="Z",
            canvas_hotkey_overlap="L",
            canvas_disabled_functions=("Hotkey shrink brush",),
            canvas_auto_expand=False,
            img2img_inpaint_mask_brush_color="#00ff00",
        )
    )
    yield from serve(app)


def test_wheel_and_keys_do_what_the_settings_say_and_else_the_page_scrolls(browser, url_with_other_keys, tmp_path):
    editor = open_editor(browser, url_with_other_keys, "inpaint", "Inpaint", picture(tmp_path, 2000, 1500))
    page = editor.page
    assert editor.run("editor.view.stage.scaleX()") == 1, "large pictures are not to be fitted"
    page.mouse.move(*editor.client(1000, 750))
    page.keyboard.press("r")
    page.wait_for_function(f"() => {editor.script}.view.isFitted")
    fitted = editor.run("editor.view.stage.scaleX()")
    assert fitted < 0.5
    # the wheel arrives when the page has time for it: on the way back up, after the editor has seen it
    page.evaluate("window.addEventListener('wheel', () => { window.wheelTurns = (window.wheelTurns ?? 0) + 1; })")
    for key, zooms, sizes in ((None, 0, 0), ("Shift", 1, 0), ("Alt", 0, 1), ("Control", 0, 0)):
        before = editor.run("[editor.view.stage.scaleX(), editor.size]")
        turned = page.evaluate("window.wheelTurns ?? 0")
        if key:
            page.keyboard.down(key)
        page.mouse.wheel(0, -100)
        page.wait_for_function("(turned) => window.wheelTurns > turned", arg=turned)
        if key:
            page.keyboard.up(key)
        after = editor.run("[editor.view.stage.scaleX(), editor.size]")
        assert [now > then for now, then in zip(after, before, strict=True)] == [zooms, sizes], key
    page.keyboard.press("r")
    assert editor.run("editor.view.stage.scaleX()") == pytest.approx(fitted)
    size = editor.run("editor.size")
    page.keyboard.press("p")
    larger = editor.run("editor.size")
    assert larger > size
    for key in ("w", "q"):  # W is another key now, Q was switched off
        page.keyboard.press(key)
    assert editor.run("editor.size") == larger
    for key, name in (("z", "full"), ("l", "overlap")):
        page.keyboard.press(key)
        assert editor.run("editor.root.classList.contains(argument)", name)
        page.mouse.wheel(0, -100)  # nothing behind it could scroll
        page.wait_for_function(f"() => {editor.script}.view.isFitted === false")
        page.keyboard.press("Escape")
        assert not editor.run("editor.isLarge")
    page.locator("#inpaint_image .webui-help summary").click()
    entries = page.locator("#inpaint_image .webui-help kbd")
    entries.first.wait_for()  # the list is drawn when it is opened
    keys = entries.all_inner_texts()
    assert {"Shift+wheel", "Alt+wheel", "P", "Z", "L"} <= set(keys) and "Q" not in keys
    page.keyboard.press("Escape")
    editor.stroke(600, 600, 1200, 900)
    pixel = editor.run("[...editor.view.contexts.mask.getImageData(900, 750, 1, 1).data]")
    assert pixel == [0, 255, 0, 255], "the mask has the colour of the settings"


def test_straight_lines_grow_shrink_and_feather(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, "inpaint", "Inpaint", picture(tmp_path, 600, 400))
    editor.run("editor.setSize(20)")
    editor.page.mouse.click(*editor.client(100, 100))
    editor.page.keyboard.down("Shift")
    editor.page.mouse.click(*editor.client(400, 250))
    editor.page.keyboard.up("Shift")
    line = editor.layer("mask") > 127
    tolerance = max(1.0, 1 / editor.scale)
    assert not (line & ~capsule(editor, (100, 100, 400, 250), 10 + tolerance)).any()
    assert not (capsule(editor, (100, 100, 400, 250), 10 - tolerance) & ~line).any()
    editor.click("Remove everything")
    editor.run("editor.commit({kind: 'rectangle', value: 255, points: [200, 100, 300, 200]})")
    menu = editor.page.locator("#inpaint_image .webui-mask-menu")
    menu.locator("summary").click()
    menu.get_by_label("Pixels", exact=True).fill("10")
    menu.get_by_role("button", name="Make the mask larger").click()

    def columns() -> list[int]:
        white = np.flatnonzero(editor.layer("mask")[150] == 255)
        return [int(white[0]), int(white[-1]) + 1]

    assert columns() == [190, 310]
    editor.click("Make the mask smaller")
    assert columns() == [200, 300]
    editor.click("Soften")
    row = editor.layer("mask")[150].astype(int)
    assert row[250] == 255 and row[180] == 0 and (np.diff(row[185:216]) >= 0).all()
    assert abs(row[199] + row[200] - 255) <= 2, "the edge stays where it was: half at either side"
    assert 0 < row[194] < 128 < row[205] < 255
    editor.click("Undo")
    assert columns() == [200, 300]


# ---- with the real server: what is made of it


@pytest.fixture(scope="module")
def made(browser, server, tmp_path_factory) -> Iterator[Editor]:
    """The inpaint tab of the real server with a sketch, and one result of it: shared by the tests below."""
    source = tmp_path_factory.mktemp("made") / "noise.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (128, 128, 3), np.uint8)).save(source)
    page = open_page(browser, server)
    open_tab(page, "inpaint")
    page.locator("#inpaint_image").get_by_role("button", name="Inpaint sketch", exact=True).click()
    editor = load(page, "inpaint", source)
    editor.source = np.asarray(Image.open(source))
    editor.button("Red").click()
    editor.run("editor.setSize(24)")
    editor.stroke(40, 50, 80, 70)
    fill(page, "inpaint", "mask_blur", "0")
    fill(page, "inpaint", "steps", "4")
    generate(page, "inpaint")
    yield editor


def fetched(page, address: str) -> np.ndarray:
    data = page.evaluate("async (address) => [...new Uint8Array(await (await fetch(address)).arrayBuffer())]", address)
    return np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB"))


def test_inpaint_sketch_starts_from_the_paint_and_keeps_everything_else_to_the_byte(made):
    (result,) = pictures(made.page, "inpaint")
    started = fetched(made.page, f"/jobs/{result['job']}/source")
    tolerance = max(1.0, 1 / made.scale)
    inside = capsule(made, (40, 50, 80, 70), 12 - tolerance)
    outside = ~capsule(made, (40, 50, 80, 70), 12 + tolerance)
    assert (started[inside] == (0xE0, 0x20, 0x20)).all()
    assert (started[outside] == made.source[outside]).all()
    mask = fetched(made.page, f"/jobs/{result['job']}/mask")
    assert (mask[inside] == 255).all() and not mask[outside].any()
    after = fetched(made.page, result["url"])
    assert (after[outside] == made.source[outside]).all()
    assert (after[inside] != started[inside]).any(-1).mean() > 0.9, "the paint is repainted, not just put in"


def test_before_and_after_lie_over_each_other_at_the_line(made):
    page, stage = made.page, made.page.locator("#inpaint_results .stage")
    (result,) = pictures(page, "inpaint")
    started, after = fetched(page, f"/jobs/{result['job']}/source"), fetched(page, result["url"])
    page.click("#inpaint_compare")
    page.wait_for_selector("#inpaint_results .webui-before-after:not([hidden])")

    def seen(x: float, y: float) -> np.ndarray:
        """What is on the screen at a point of the picture."""
        shot = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("RGB"), int)
        height, width = shot.shape[:2]
        scale = min(width, height) / 128
        return shot[round(height / 2 + (y - 64) * scale), round(width / 2 + (x - 64) * scale)]

    place = (60, 60)  # in the stroke, where both differ
    assert np.abs(started[60, 60].astype(int) - after[60, 60]).max() > 40
    line = page.locator("#inpaint_results .cut")
    for value, shown in (("100", started), ("0", after)):
        line.evaluate("(node, value) => { node.value = value; node.dispatchEvent(new Event('input')); }", value)
        around = shown[58:63, 58:63].reshape(-1, 3).astype(int)  # enlarged, so between its neighbours
        assert (seen(*place) >= around.min(0) - 12).all() and (seen(*place) <= around.max(0) + 12).all()
    assert page.evaluate("document.activeElement.className") == "cut", "the arrow keys move it at once"
    page.keyboard.press("ArrowRight")
    assert line.input_value() == "0.5"
    page.click("#inpaint_compare")
    assert page.locator("#inpaint_results .webui-before-after").is_hidden()


def test_somebody_else_sees_neither_picture_nor_sketch_nor_source(made, browser, server):
    (result,) = pictures(made.page, "inpaint")
    value = made.run("editor.flush()")
    other = open_page(browser, server)
    open_tab(other, "inpaint")
    other.wait_for_function("() => window.webui.pictures.get('inpaint_image')")
    editor = "window.webui.pictures.get('inpaint_image')"
    assert other.evaluate(f"{editor}.hasPicture") is False
    for sha in (value["image"], value["sketch"]):
        assert other.evaluate(f"{editor}.store.getPicture('{sha}')") is None
    assert other.evaluate(f"{editor}.store.getDocument('inpaint_image')") is None
    for address in (f"/jobs/{result['job']}/source", f"/jobs/{result['job']}/source?under={result['id']}"):
        assert other.evaluate("async (address) => (await fetch(address)).status", address) == 404
    stranger = made.page.evaluate(f"fetch('/jobs/{result['job']}/source?under=nothing').then((a) => a.status)")
    assert stranger == 404


def test_a_result_becomes_the_source_and_the_mask_stays(made):
    (result,) = pictures(made.page, "inpaint")
    strokes = made.layer("sketch")[:, :, 3] > 0
    made.page.click("#inpaint_work_on")
    made.page.wait_for_function(f"() => {made.script}.mask.done === 1")
    assert made.layer("sketch") is None, "the paint is in the picture by now"
    assert ((made.layer("mask") > 0) == strokes).all()
    shown = fetched_layer(made, "image")
    assert (shown == fetched(made.page, result["url"])).all()
    made.page.locator("#inpaint_image .webui-board").focus()
    made.page.keyboard.press("Control+z")
    assert made.layer("sketch") is not None
    made.page.keyboard.press("Control+y")
    made.button("Inpaint").click()
    (second,) = generate(made.page, "inpaint")[:1]
    before, after = fetched(made.page, result["url"]), fetched(made.page, second["url"])
    assert (after[~strokes] == before[~strokes]).all() and (after[strokes] != before[strokes]).any()
    made.page.click("#inpaint_work_on")
    made.page.wait_for_function(f"() => {made.script}.mask.done === 1 && {made.script}.value.image")
    assert ((made.layer("mask") > 0) == strokes).all(), "strokes and all, where the size is the same"


def fetched_layer(editor: Editor, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(editor.content(editor.run(f"(await editor.flush()).{name}")))))


def test_img2img_sketch_sends_the_picture_with_the_strokes(browser, server, tmp_path):
    page = open_page(browser, server)
    open_tab(page, "img2img")
    page.locator("#img2img_image").get_by_role("button", name="Sketch", exact=True).click()
    source = tmp_path / "source.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (96, 160, 3), np.uint8)).save(source)
    editor = load(page, "img2img", source)
    editor.button("Red").click()
    editor.run("editor.setSize(30)")
    editor.stroke(30, 40, 100, 60)
    fill(page, "img2img", "steps", "2")
    (result,) = generate(page, "img2img")
    before, started = np.asarray(Image.open(source)), fetched(page, f"/jobs/{result['job']}/source")
    tolerance = max(1.0, 1 / editor.scale)
    assert (started[capsule(editor, (30, 40, 100, 60), 15 - tolerance)] == (0xE0, 0x20, 0x20)).all()
    outside = ~capsule(editor, (30, 40, 100, 60), 15 + tolerance)
    assert (started[outside] == before[outside]).all()
    fitted = fetched(page, f"/jobs/{result['job']}/source?under={result['id']}")
    assert fitted.shape == (128, 128, 3), "laid under a result of another size, it is stretched as the job did"
