"""The Gallery tab against the real server, with a folder of older pictures imported into it."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.browser.server import RunningServer, start_server

pytestmark = pytest.mark.browser

COUNT = 130
SUBJECTS = ("castle", "river", "fox", "lighthouse", "teapot")
GALLERY = "window.webui.gallery"


def old_outputs(folder: Path) -> None:
    """A folder as A1111 leaves it: dated folders of PNGs with their parameters."""
    dice = random.Random(3)
    (folder / "txt2img-images" / "2023-05-01").mkdir(parents=True)
    for number in range(COUNT):
        subject = SUBJECTS[number % len(SUBJECTS)]
        size = (96, 64) if number % 2 else (64, 96)
        notes = PngImagePlugin.PngInfo()
        lora = " <lora:ink:0.8>" if number % 10 == 0 else ""
        notes.add_text(
            "parameters",
            f"a <i>{subject}</i> at dusk{lora}\nNegative prompt: blurry\nSteps: {20 + number % 3}, Sampler: Euler a, "
            f"CFG scale: 7, Seed: {1000 + number}, Size: {size[0]}x{size[1]}, Model: tiny{number % 2}",
        )
        high = tuple(dice.randrange(60, 255) for _ in range(3))
        shade = np.linspace(0.25, 1, size[1])[:, None, None] * np.ones((1, size[0], 3)) * high
        path = folder / "txt2img-images" / "2023-05-01" / f"{number:05}-{1000 + number}.png"
        Image.fromarray(shade.astype(np.uint8)).save(path, pnginfo=notes)


@pytest.fixture(scope="module")
def gallery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The real server without a loaded model, and `old` beside its data folder."""
    data = tmp_path_factory.mktemp("gallery")
    old_outputs(data.parent / "old")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = start_server(data, port, "--ui-debug-mode")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def filled_page(browser, gallery_server):
    """A page whose gallery has the imported pictures."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(gallery_server.url)
    open_tab(page)
    import_folder(page, gallery_server.data.parent / "old")
    return page


@pytest.fixture
def page(filled_page):
    """The tab as it opens: no filter, nothing chosen, at the top."""
    open_tab(filled_page)
    filled_page.evaluate(f"{GALLERY}.clearFilters()")
    filled_page.wait_for_function(f"() => {GALLERY}.pages.total === {COUNT} && {GALLERY}.tile !== null")
    return filled_page


def open_tab(page) -> None:
    page.wait_for_function("() => window.webui")
    tab = page.get_by_role("tab", name="Gallery", exact=True)
    if tab.count() and tab.first.is_visible():
        tab.first.click()
    else:  # a narrow window has it in the menu at the end of the tabs
        page.locator(".overflow-menu > button").first.click()
        page.locator(".overflow-dropdown button", has_text="Gallery").click()
    page.wait_for_function("() => Number.isInteger(window.webui.gallery?.pages.total)")


def import_folder(page, folder: Path) -> None:
    page.get_by_role("button", name="Import a folder").first.click()
    page.fill(".webui-dialog input", str(folder))
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_function("() => document.querySelector('.webui-dialog .progress').textContent.startsWith('Done')")
    assert f"{COUNT} added" in page.inner_text(".webui-dialog .progress")
    page.get_by_role("button", name="Close", exact=True).last.click()


def names(page) -> list[str]:
    """The file names of the first pictures, as shown."""
    return page.evaluate(f"[0, 1, 2].map((place) => {GALLERY}.pages.at(place)?.name)")


def search(page, text: str) -> int:
    """Search and answer how many pictures are found."""
    with page.expect_response(lambda answer: "/history?" in answer.url and f"text={quote(text)}" in answer.url):
        page.fill(".gallery input[type=search]", text)
    page.wait_for_function(f"() => {GALLERY}.pages.at(0)?.words.includes({text!r}) ?? {GALLERY}.pages.total === 0")
    return page.evaluate(f"{GALLERY}.pages.total")


def test_only_what_is_in_view_is_in_the_document_and_everything_can_be_reached(page):
    page.focus(".gallery .grid")
    assert page.locator(".gallery .tile").count() < 80
    page.keyboard.press("End")
    page.wait_for_function(f"() => {GALLERY}.tile !== null")
    assert page.evaluate(f"{GALLERY}.grid.place") == COUNT - 1
    page.wait_for_function("() => document.querySelector('.gallery .tile.focused img')?.naturalWidth > 0")
    assert page.locator(".gallery .tile").count() < 80


def test_search_and_filters_find_pictures_and_outlive_a_reload(page):
    assert search(page, "castle") == COUNT // 5
    page.select_option(".gallery select[aria-label='size']", "96x64")
    page.wait_for_function(f"() => {GALLERY}.pages.total === {COUNT // 10}")
    page.reload()
    open_tab(page)
    page.wait_for_function(f"() => {GALLERY}.pages.total === {COUNT // 10}")
    page.get_by_role("button", name="Show everything").first.click()
    page.wait_for_function(f"() => {GALLERY}.pages.total === {COUNT}")


def test_a_picture_is_found_by_its_file_name_its_seed_and_its_tag(page):
    box = page.get_by_role("searchbox", name="Search prompts, tags, seeds, file names")
    for text, name in (("00003-1003.png", "00003-1003.png"), ("1007", "00007-1007.png")):
        box.fill(text)
        page.wait_for_function(f"() => {GALLERY}.pages.total === 1 && {GALLERY}.tile?.name === '{name}'")
    page.fill(".gallery .tagging input", "to print")
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => {GALLERY}.tile.tags.includes('to print')")
    box.fill("print fox -1003")
    page.wait_for_function(f"() => {GALLERY}.pages.total === 1 && {GALLERY}.tile?.name === '00007-1007.png'")


def test_a_picture_that_cannot_be_thrown_away_stays_and_the_reason_is_said(page, gallery_server):
    folder = gallery_server.data.parent / "old" / "txt2img-images" / "2023-05-01"
    trash = folder / ".trash"
    moved = trash.rename(folder / ".trash-moved") if trash.exists() else None
    trash.write_text("no folder")
    page.focus(".gallery .grid")
    page.keyboard.press("Home")
    name = page.evaluate(f"{GALLERY}.tile.name")
    page.keyboard.press("Delete")
    page.locator(".webui-toast.error", has_text=f"{name} cannot be moved to the trash").wait_for()
    assert page.evaluate(f"[{GALLERY}.pages.total, {GALLERY}.tile.name]") == [COUNT, name]
    assert (folder / name).exists()
    trash.unlink()
    if moved:
        moved.rename(trash)


def test_the_picture_in_focus_is_described_as_text_and_served_with_its_metadata(page):
    page.locator(".gallery .tile").first.click()
    facts = page.locator(".gallery .facts")
    facts.locator("dl").wait_for()
    assert "<i>" in facts.inner_text(), "a prompt is text, not HTML"
    address = page.get_attribute(".gallery .detail .head a", "href")
    answer = page.request.get(address)
    assert b"parameters" in answer.body()
    assert answer.headers["content-disposition"].startswith("attachment")


def test_dragging_a_picture_out_hands_over_the_original_file(page):
    name = names(page)[0]
    data = page.evaluate(
        """() => {
            const data = new DataTransfer();
            const drag = new DragEvent('dragstart', { bubbles: true, dataTransfer: data });
            document.querySelector('.gallery .tile').dispatchEvent(drag);
            return [data.getData('DownloadURL'), data.getData('text/uri-list')];
        }"""
    )
    assert data[0].startswith(f"application/octet-stream:{name}:http")
    assert b"parameters" in page.request.get(data[1]).body()


def test_keys_mark_rate_delete_and_bring_back(page, gallery_server):
    page.focus(".gallery .grid")
    page.keyboard.press("Home")
    first, second, _ = names(page)
    page.keyboard.press("f")
    page.keyboard.press("4")
    page.wait_for_function(
        "() => document.querySelector('.gallery .tile.focused.favourite .stars')?.textContent === '★★★★'"
    )
    page.keyboard.press("2")
    page.wait_for_function("() => document.querySelector('.gallery .tile.focused .stars')?.textContent === '★★'")
    page.keyboard.press("Delete")
    page.wait_for_function(f"() => {GALLERY}.pages.total === {COUNT - 1} && {GALLERY}.tile?.name === '{second}'")
    assert not (gallery_server.data.parent / "old" / "txt2img-images" / "2023-05-01" / first).exists()
    page.keyboard.press("Control+z")
    page.wait_for_function(f"() => {GALLERY}.pages.total === {COUNT} && {GALLERY}.tile?.name === '{first}'")
    assert (gallery_server.data.parent / "old" / "txt2img-images" / "2023-05-01" / first).exists()
    assert page.evaluate(f"{GALLERY}.tile.tags") == ["★★"], "marks survive the trash"
    page.keyboard.press("f")
    page.keyboard.press("0")
    page.wait_for_function(f"() => {GALLERY}.tile.tags.length === 0")


def test_two_chosen_pictures_are_compared_with_what_differs(page):
    tiles = page.locator(".gallery .tile")
    tiles.nth(0).click()
    tiles.nth(1).click(modifiers=["Control"])  # the one that was clicked before is the other
    page.get_by_role("button", name="Compare the two").click()
    box = page.locator(".webui-compare")
    box.wait_for()
    assert "Seed" in box.inner_text() and "Negative prompt" not in box.inner_text()
    page.keyboard.press("w")
    assert "wiping" in box.get_attribute("class")
    page.keyboard.press("Escape")
    box.wait_for(state="detached")


def test_a_range_is_chosen_and_tagged_at_once(page):
    tiles = page.locator(".gallery .tile")
    tiles.nth(0).click()
    tiles.nth(4).click(modifiers=["Shift"])
    page.wait_for_function(f"() => {GALLERY}.targets.length === 5")
    page.keyboard.press("t")
    page.keyboard.type("<b>evening</b>")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.gallery select[aria-label=tag] option')]"
        ".some((one) => one.value === '<b>evening</b>')"
    )
    page.select_option(".gallery select[aria-label='tag']", "<b>evening</b>")
    page.wait_for_function(f"() => {GALLERY}.pages.total === 5")


def test_a_picture_and_its_parameters_are_sent_to_img2img(page):
    page.locator(".gallery .tile").nth(2).click()
    page.wait_for_function(f"() => {GALLERY}.detail.picture !== null")
    seed = page.evaluate(f"{GALLERY}.detail.picture.seed")
    page.click("#gallery_send_to_img2img")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.image")
    assert "at dusk" in page.input_value("#img2img_prompt textarea")
    assert page.input_value("#img2img_seed input[type=number]") == str(seed)


def test_enter_opens_the_viewer_where_keys_go_on_working(page):
    page.focus(".gallery .grid")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.locator(".webui-lightbox").wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("f")
    page.wait_for_function("() => document.querySelector('.webui-lightbox .caption').textContent.startsWith('♥')")
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    assert page.evaluate(f"{GALLERY}.grid.place") == 1


def test_the_viewer_fills_the_window_and_zooms_to_the_pictures_own_pixels(page):
    page.focus(".gallery .grid")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    picture = page.locator(".webui-lightbox > img")
    picture.evaluate("(image) => image.decode()")
    assert picture.bounding_box()["height"] == pytest.approx(0.96 * 800, abs=1), "96 pixels high, or 64: enlarged"
    page.keyboard.press("z")
    width, height = (picture.bounding_box()[side] for side in ("width", "height"))
    assert (width, height) == tuple(picture.evaluate("(image) => [image.naturalWidth, image.naturalHeight]"))
    page.mouse.click(640, 400)  # on the picture: back again
    assert picture.bounding_box()["height"] == pytest.approx(0.96 * 800, abs=1)
    page.mouse.click(60, 200)  # in the stripe beside it: closed
    page.locator(".webui-lightbox").wait_for(state="detached")


def test_a_search_while_the_list_is_asked_for_anew_stays_at_its_own_first_picture(page):
    """The tab asks anew when it is opened and when a picture was made; the answer may come after the next search."""
    assert (
        page.evaluate(
            f"""async () => {{
            {GALLERY}.grid.moveTo(2);
            const late = {GALLERY}.refresh();
            {GALLERY}.clearFilters();
            await late;
            return {GALLERY}.grid.place;
        }}"""
        )
        == 0
    )


def test_a_picture_that_arrives_does_not_take_the_place_of_the_one_in_hand(page):
    arrived = 999_999  # an id that no picture has

    def with_one_more(route):
        answer = route.fetch()
        found = answer.json()
        fresh = {**found["pictures"][0], "id": arrived, "name": "fresh.png"}
        route.fulfill(response=answer, json={"total": found["total"] + 1, "pictures": [fresh, *found["pictures"]]})

    shown = page.evaluate(f"{GALLERY}.tile.id")
    page.focus(".gallery .grid")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.locator(".webui-lightbox").wait_for()
    page.route("**/history?*", with_one_more)
    page.evaluate(f"{GALLERY}.refresh()")
    assert page.evaluate(f"[{GALLERY}.pages.at(0).id, {GALLERY}.tile.id]") == [arrived, shown]
    page.unroute("**/history?*")
    page.keyboard.press("f")
    page.locator(".webui-lightbox .caption", has_text="♥").wait_for()
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.evaluate(f"{GALLERY}.clearFilters()")
    page.route("**/history?*", with_one_more)
    page.evaluate(f"{GALLERY}.refresh()")
    page.unroute("**/history?*")
    assert page.evaluate(f"[{GALLERY}.grid.place, {GALLERY}.tile.id]") == [0, arrived], "nobody looks: the newest first"


def test_on_a_phone_a_tap_opens_a_picture_and_the_mark_chooses_it(browser, gallery_server, page):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone = context.new_page()
    phone.goto(gallery_server.url)
    open_tab(phone)
    phone.evaluate(f"{GALLERY}.pages.total || {GALLERY}.refresh()")
    tiles = phone.locator(".gallery .tile")
    tiles.nth(2).locator(".mark").tap()
    assert phone.evaluate(f"{GALLERY}.grid.selected.size") == 1
    assert not phone.locator(".gallery .detail").is_visible()
    tiles.nth(1).tap()
    phone.get_by_role("button", name="Close", exact=True).click()
    assert not phone.locator(".gallery .detail").is_visible()
    context.close()


@pytest.mark.parametrize("width, height, scheme", [(1280, 800, "dark"), (2560, 1440, "light"), (390, 844, "dark")])
def test_the_tab_fits_the_window(browser, gallery_server, page, width, height, scheme):
    other = browser.new_context(viewport={"width": width, "height": height}).new_page()
    other.goto(f"{gallery_server.url}/?__theme={scheme}")
    open_tab(other)
    tile = other.locator(".gallery .tile").nth(1)
    tile.click()
    other.wait_for_timeout(500)
    other.screenshot(path=Path(__file__).parent / "shots" / f"gallery-{width}-{scheme}.png")
    assert other.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert other.evaluate("document.querySelector('.gallery').getBoundingClientRect().bottom <= innerHeight + 1")
    other.context.close()
