"""The mask editor in a real browser: what is painted at a place of the picture is in the mask at that place."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.waits import wait_until_kept

pytestmark = pytest.mark.browser

EDITOR = "window.webui.pictures.get('inpaint_image')"


@dataclass
class Editor:
    """Drives the inpaint tab's editor by mouse and keyboard; reads the mask that the server would be sent."""

    page: object
    width: int
    height: int

    def client(self, x: float, y: float) -> tuple[float, float]:
        """Where picture point (x, y) is on the screen while the whole picture is fitted and centred in its board."""
        box = self.page.locator("#inpaint_image .webui-board").bounding_box()
        scale = min(box["width"] / self.width, box["height"] / self.height)
        left = box["x"] + (box["width"] - self.width * scale) / 2
        top = box["y"] + (box["height"] - self.height * scale) / 2
        return left + x * scale, top + y * scale

    @property
    def scale(self) -> float:
        """Screen pixels (CSS) per picture pixel."""
        (x0, _), (x1, _) = self.client(0, 0), self.client(1000, 0)
        return (x1 - x0) / 1000

    def stroke(self, x0: float, y0: float, x1: float, y1: float, *, moves: int = 6) -> None:
        self.page.mouse.move(*self.client(x0, y0))
        self.page.mouse.down()
        self.page.mouse.move(*self.client(x1, y1), steps=moves)
        self.page.mouse.up()

    def set_size(self, pixels: int) -> None:
        slider = self.page.locator("#inpaint_image input[aria-label='Brush size']")
        slider.evaluate("(node, size) => { node.value = size; node.dispatchEvent(new Event('input')); }", str(pixels))

    def click(self, title: str) -> None:
        button = self.page.locator(f"#inpaint_image button[title^='{title}']")
        if not button.is_visible():
            self.page.locator("#inpaint_image .webui-mask-menu summary").click()
        button.click()

    def png(self) -> bytes:
        """The mask's file as the server has it."""
        sha = self.page.evaluate(f"{EDITOR}.flush().then((value) => value.mask)")
        if sha is None:
            return b""
        data = self.page.evaluate(
            f"{EDITOR}.store.getPicture('{sha}').then(b => b.arrayBuffer()).then(b => [...new Uint8Array(b)])"
        )
        return bytes(data)

    def mask(self) -> np.ndarray:
        content = self.png()
        if not content:
            return np.zeros((self.height, self.width), bool)
        image = Image.open(io.BytesIO(content))
        assert image.mode == "L" and image.size == (self.width, self.height)
        return np.asarray(image) > 127


def picture(folder: Path, width: int, height: int, name: str = "source.png") -> Path:
    path = folder / f"{width}x{height}-{name}"
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(path)
    return path


def open_editor(browser, url: str, source: Path, **context) -> Editor:
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context}).new_page()
    page.goto(url)
    page.get_by_role("tab", name="inpaint").click()
    return load(page, source)


def load(page, source: Path) -> Editor:
    page.locator("#inpaint_image .webui-source-file").set_input_files(source)
    with Image.open(source) as image:
        width, height = image.size
    page.wait_for_function(f"() => {EDITOR}?.value?.image && {EDITOR}.value.width === {width}")
    page.wait_for_timeout(200)  # the board grows when the first picture arrives
    return Editor(page, width, height)


def capsule(editor: Editor, ends: tuple[float, float, float, float], radius: float) -> np.ndarray:
    """The pixels whose centres are at most `radius` from a line, from its definition."""
    x0, y0, x1, y1 = ends
    ys, xs = np.mgrid[0 : editor.height, 0 : editor.width] + 0.5
    along = ((xs - x0) * (x1 - x0) + (ys - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
    along = np.clip(along, 0, 1)
    return np.hypot(xs - x0 - along * (x1 - x0), ys - y0 - along * (y1 - y0)) <= radius


@pytest.mark.parametrize("size", [(1536, 1024), (4096, 3072)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize(
    "display",
    [
        {"device_scale_factor": 1},
        {"device_scale_factor": 2},
        # Ctrl+minus to 80 %: fewer device pixels per CSS pixel, more CSS pixels in the window
        {"device_scale_factor": 0.8, "viewport": {"width": 1600, "height": 1000}},
    ],
    ids=["scale 1", "scale 2", "zoom 80 %"],
)
def test_a_stroke_lands_where_it_was_painted(browser, page_url, tmp_path, size, display):
    editor = open_editor(browser, page_url, picture(tmp_path, *size), **display)
    editor.set_size(120)
    ends = (0.2 * size[0], 0.3 * size[1], 0.7 * size[0], 0.6 * size[1])
    editor.stroke(*ends)
    mask = editor.mask()
    tolerance = max(1.0, 1 / editor.scale)  # one picture pixel, or one display pixel where the picture is shown smaller
    assert not (mask & ~capsule(editor, ends, 60 + tolerance)).any(), "painted outside"
    assert not (capsule(editor, ends, 60 - tolerance) & ~mask).any(), "left out inside"


def test_a_stroke_lands_where_it_was_painted_when_the_page_itself_is_zoomed(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 1536, 1024))
    editor.page.evaluate("document.documentElement.style.zoom = '0.8'")
    editor.page.wait_for_timeout(300)
    editor.set_size(100)
    ends = (300, 300, 1100, 700)
    editor.stroke(*ends)
    mask = editor.mask()
    tolerance = max(1.0, 1 / editor.scale)
    assert not (mask & ~capsule(editor, ends, 50 + tolerance)).any()
    assert not (capsule(editor, ends, 50 - tolerance) & ~mask).any()


@pytest.mark.parametrize("pixels", [1, 2, 25, 300])
def test_the_brush_size_is_in_picture_pixels(browser, page_url, tmp_path, pixels):
    editor = open_editor(browser, page_url, picture(tmp_path, 1536, 1024))
    editor.set_size(pixels)
    x, y = editor.client(700, 500)
    editor.page.mouse.click(x, y)
    mask = editor.mask()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    for extent in (np.ptp(rows) + 1, np.ptp(columns) + 1):
        assert pixels - 1 <= extent <= pixels + 1


def test_twenty_strokes_undone_and_redone_give_the_same_mask_bytes(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 1536, 1024))
    for k in range(20):
        editor.set_size(10 + 7 * k)
        editor.stroke(60 + 70 * k, 100 + 30 * k, 100 + 60 * k, 900 - 20 * k, moves=4)
    painted = editor.png()
    editor.page.locator("#inpaint_image .webui-board").focus()
    for _ in range(20):
        editor.page.keyboard.press("Control+z")
    assert not editor.mask().any()
    for k in range(20):
        editor.page.keyboard.press("Control+y" if k % 2 else "Control+Shift+Z")
    assert editor.png() == painted


def test_eraser_invert_fill_clear_and_the_buttons_of_undo_do_what_they_say(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 640, 480))
    editor.set_size(80)
    editor.stroke(100, 240, 540, 240)
    assert editor.mask()[240, 320]
    editor.click("Eraser")
    editor.set_size(20)
    editor.stroke(320, 150, 320, 330)
    assert not editor.mask()[240, 320] and editor.mask()[240, 280]
    editor.click("Swap masked")
    assert editor.mask()[240, 320] and not editor.mask()[240, 280] and editor.mask()[10, 10]
    editor.click("Undo")
    assert not editor.mask()[10, 10]
    editor.click("Redo")
    assert editor.mask()[10, 10]
    editor.click("Mask everything")
    assert editor.mask().all()
    editor.click("Remove everything painted here")
    assert not editor.mask().any()


def test_rectangle_and_lasso_fill_exactly_what_they_enclose(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 600, 400))
    editor.click("Fill a rectangle")
    editor.stroke(100, 100, 300, 200)
    mask = editor.mask()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert all(abs(edge - wanted) <= 2 for edge, wanted in zip(found, (100, 100, 300, 200), strict=True))
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    editor.click("Fill a free-hand outline")
    mouse = editor.page.mouse
    mouse.move(*editor.client(400, 200))
    mouse.down()
    for corner in ((550, 200), (475, 350), (400, 200)):
        mouse.move(*editor.client(*corner), steps=5)
    mouse.up()
    mask = editor.mask()
    assert mask[220, 475] and not mask[340, 420] and not mask[340, 530]


def test_painting_is_right_after_zooming_at_the_pointer_and_panning(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 1536, 1024))
    page, (left, top) = editor.page, editor.client(0, 0)
    x, y = round(left + 900 * editor.scale), round(top + 400 * editor.scale)  # a mouse stands on whole display pixels
    at_x, at_y = (x - left) / editor.scale, (y - top) / editor.scale
    page.mouse.move(x, y)
    page.keyboard.down("Alt")
    for _ in range(8):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Alt")
    under = page.evaluate(f"{EDITOR}.view.toImage({x}, {y})")
    assert under["x"] == pytest.approx(at_x, abs=0.5) and under["y"] == pytest.approx(at_y, abs=0.5)
    page.keyboard.down("Space")
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=3)
    page.mouse.up()
    page.keyboard.up("Space")
    editor.set_size(20)
    page.mouse.click(x + 60, y + 40)  # the same picture point, which has moved along
    rows, columns = np.nonzero(editor.mask())
    assert columns.mean() + 0.5 == pytest.approx(at_x, abs=1) and rows.mean() + 0.5 == pytest.approx(at_y, abs=1)


def test_two_fingers_zoom_and_leave_no_stroke(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 800, 600), has_touch=True)
    session = editor.page.context.new_cdp_session(editor.page)
    (x, y), before = editor.client(400, 300), editor.page.evaluate(f"{EDITOR}.view.stage.scaleX()")

    def touch(kind: str, *spread: float) -> None:
        points = [{"x": x + sign * gap, "y": y, "id": k} for gap in spread for k, sign in enumerate((-1, 1))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 20)
    for gap in (30, 45, 60):
        touch("touchMove", gap)
    touch("touchEnd")
    assert editor.page.evaluate(f"{EDITOR}.view.stage.scaleX()") == pytest.approx(3 * before, rel=0.05)
    assert not editor.mask().any()


def test_a_pen_paints_wider_where_it_is_pressed_harder_and_the_stroke_is_undone_and_redone(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 800, 600))
    editor.set_size(60)
    session = editor.page.context.new_cdp_session(editor.page)

    def pen(kind: str, x: float, force: float) -> None:
        where = dict(zip("xy", editor.client(x, 300), strict=True))
        pressed = {"button": "left", "buttons": 1, "pointerType": "pen", "force": force}
        session.send("Input.dispatchMouseEvent", {"type": kind, **where, **pressed})

    pen("mousePressed", 200, 0.25)
    for x, force in ((300, 0.25), (400, 0.5), (500, 1.0), (600, 1.0)):
        pen("mouseMoved", x, force)
    pen("mouseReleased", 600, 0)
    mask = editor.mask()
    heights = [int(mask[:, x].sum()) for x in (250, 350, 450, 550)]
    assert heights == pytest.approx([24, 36, 60, 60], abs=2)  # 0.2 + 0.8 * pressure of the brush's 60 pixels
    png = editor.png()
    editor.click("Undo")
    assert not editor.mask().any()
    editor.click("Redo")
    assert editor.png() == png
    editor.stroke(200, 100, 600, 100)  # a mouse feels nothing: the whole size
    assert int(editor.mask()[:200, 400].sum()) == pytest.approx(60, abs=2)


def test_one_finger_paints(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 800, 600), has_touch=True)
    session = editor.page.context.new_cdp_session(editor.page)
    for kind, x in (("touchStart", 200), ("touchMove", 300), ("touchMove", 500), ("touchEnd", None)):
        points = [] if x is None else [dict(zip("xy", editor.client(x, 300), strict=True))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    mask = editor.mask()
    assert mask[300, 210:490].all() and not mask[200].any()


def test_the_mask_survives_tabs_and_a_reload_and_ends_with_another_picture(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 1024, 768))
    page = editor.page
    editor.set_size(90)
    editor.stroke(200, 200, 700, 500)
    painted = editor.png()
    page.get_by_role("tab", name="txt2img").click()
    page.get_by_role("tab", name="inpaint").click()
    assert editor.png() == painted
    wait_until_kept(page)
    page.reload()
    page.get_by_role("tab", name="inpaint").click()
    page.wait_for_function(f"() => {EDITOR}?.mask?.done === 1")
    assert editor.png() == painted
    page.locator("#inpaint_image .webui-board").focus()
    page.keyboard.press("Control+z")  # the strokes themselves came back, not only their picture
    assert not editor.mask().any()
    page.keyboard.press("Control+y")
    other = load(page, picture(tmp_path, 800, 600, "other.png"))
    assert not other.mask().any()
    assert page.evaluate(f"{EDITOR}.mask.operations.length") == 0


def test_a_pasted_picture_and_a_dropped_one_are_loaded(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 400, 300))
    give = """([name, width, height]) => new Promise((done) => {
        const canvas = new OffscreenCanvas(width, height); canvas.getContext('2d').fillRect(0, 0, 9, 9);
        canvas.convertToBlob().then((blob) => {
            const data = new DataTransfer(); data.items.add(new File([blob], 'x.png', {type: 'image/png'}));
            const event = name === 'paste'
                ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})
                : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
            document.querySelector('#inpaint_image .webui-board').dispatchEvent(event); done();
        }); })"""
    for name, width, height in (("paste", 333, 222), ("drop", 444, 333)):
        editor.page.evaluate(give, [name, width, height])
        editor.page.wait_for_function(f"() => {EDITOR}.value?.width === {width} && {EDITOR}.value.image")


def test_strokes_painted_just_before_generate_are_in_the_request(browser, page_url, tmp_path):
    editor = open_editor(browser, page_url, picture(tmp_path, 512, 512))
    editor.set_size(50)
    editor.stroke(100, 100, 400, 400)
    wanted = time.monotonic()
    value = editor.page.evaluate("window.webui.flushPicture('inpaint_image', null)")
    assert value["mask"] and value["image"] and time.monotonic() - wanted < 5
