"""The Extras tab against the real server: pictures in, larger pictures out, saved under A1111's names."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageOps
from PIL.PngImagePlugin import PngInfo

from tests.support import faces

pytestmark = pytest.mark.browser

PANEL = "window.webui.panels.get('extras')"
MADE_WITHIN_MS = 60_000


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    open_tab(page, server)
    yield page
    context.close()


def open_tab(page, server) -> None:
    page.goto(server.url)
    page.wait_for_function("() => window.webui && window.webui.panels.get('txt2img')")
    page.get_by_role("tab", name="Extras", exact=True).click()
    page.wait_for_function("() => document.querySelector('#extras_upscaler_1')?.options.length >= 3")


def load(page, *files: Path) -> None:
    page.locator(".webui-extras-file").set_input_files(list(files))
    page.wait_for_function("() => !document.querySelector('#extras_generate').disabled")


def generate(page, count: int) -> list[dict]:
    page.click("#extras_generate")
    page.wait_for_function(f"() => {PANEL}.pictures.length >= {count} && !{PANEL}.running", timeout=MADE_WITHIN_MS)
    return page.evaluate(f"{PANEL}.pictures")


def gradient(folder: Path, name: str, size: tuple[int, int]) -> Path:
    path = folder / name
    Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    return path


def test_one_picture_is_enlarged_saved_and_there_again_after_a_reload(page, server, tmp_path):
    load(page, gradient(tmp_path, "one.png", (96, 64)))
    with page.expect_response(lambda answer: '"factor":2.5' in (answer.request.post_data or "")):  # the form is kept
        page.fill(".webui-extras input[type=number][max='8']", "2.5")
    assert page.inner_text(".webui-extras .facts") == "96 × 64 → 240 × 160"
    (picture,) = generate(page, 1)
    assert (picture["width"], picture["height"]) == (240, 160)
    assert picture["infotext"] == "Postprocess upscale by: 2.5, Postprocess upscaler: Lanczos"
    with Image.open(Path(server.data) / picture["saved"]) as saved:
        assert saved.size == (240, 160) and saved.text["extras"] == picture["infotext"]
    assert picture["saved"].startswith("outputs/extras-images/0")
    open_tab(page, server)
    page.wait_for_function(f"() => {PANEL}.pictures.length === 1")
    page.wait_for_function("() => document.querySelector('.webui-extras .facts').textContent.includes('240 × 160')")


@pytest.mark.parametrize("width", [1280, 2560])
def test_interrupt_and_skip_stand_beside_generate_and_nothing_jumps_when_a_picture_comes(page, tmp_path, width):
    page.set_viewport_size({"width": width, "height": 800})
    buttons = [page.locator(f"#extras_{name}").bounding_box() for name in ("generate", "interrupt", "skip")]
    assert len({box["y"] for box in buttons}) == 1
    before = page.locator(".webui-extras section").bounding_box()
    gap = before["y"] - page.evaluate("document.querySelector('.webui-extras .zone').getBoundingClientRect().bottom")
    assert 0 < gap <= 12, "nothing empty between the picture and what is done to it"
    load(page, gradient(tmp_path, "one.png", (96, 64)))
    assert page.inner_text(".webui-extras .facts") == "96 × 64 → 384 × 256"
    assert page.locator(".webui-extras section").bounding_box() == before


def test_a_batch_keeps_the_names_of_its_files_and_never_overwrites_one(page, server, tmp_path):
    files = [gradient(tmp_path, f"{name}.png", (32, 32)) for name in ("left", "right")]
    load(page, *files)
    page.get_by_role("tab", name="Scale to").click()
    page.select_option("#extras_upscaler_2", "Nearest")
    first = generate(page, 2)
    folder = "outputs/extras-images"
    assert [picture["saved"] for picture in first] == [f"{folder}/left.png", f"{folder}/right.png"]
    assert all("Postprocess upscaler 2: Nearest" in picture["infotext"] for picture in first)
    again = generate(page, 4)
    assert [picture["name"] for picture in again[:2]] == ["left-1.png", "right-1.png"]


def test_a_hostile_file_name_is_text_and_stays_in_its_folder(page, server, tmp_path):
    name = "<img src=x onerror=window.hit=1>.png"
    load(page, gradient(tmp_path, name, (16, 16)), gradient(tmp_path, "b.png", (16, 16)))
    assert page.inner_text(".webui-extras .batch .name >> nth=0") == name
    made = generate(page, 2)
    assert all(Path(picture["saved"]).parent == Path("outputs/extras-images") for picture in made)
    assert page.evaluate("window.hit") is None


def test_a_result_is_sent_on_to_img2img(page, server, tmp_path):
    load(page, gradient(tmp_path, "one.png", (64, 64)))
    generate(page, 1)
    page.click("#extras_send_to_img2img")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.width === 256")


def test_a_folder_is_worked_over_into_another_with_mirrored_copies_and_their_parameters(page, server, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    text = PngInfo()
    text.add_text("parameters", "a garden\nSteps: 20, Seed: 5")
    Image.linear_gradient("L").resize((32, 16)).save(source / "one.png", pnginfo=text)
    gradient(source, "two.png", (16, 16))
    page.get_by_role("tab", name="Batch from Directory").click()
    page.fill("#extras_batch_input_dir", str(source))
    page.fill("#extras_batch_output_dir", str(target))
    page.check("#extras_flips")
    made = generate(page, 4)
    assert sorted(path.name for path in target.iterdir()) == ["one-1.png", "one.png", "two-1.png", "two.png"]
    with Image.open(target / "one.png") as plain, Image.open(target / "one-1.png") as mirrored:
        assert plain.size == (128, 64) and plain.text["parameters"].startswith("a garden\nSteps: 20, Seed: 5")
        assert mirrored.text == plain.text and "Postprocess upscaler: Lanczos" in mirrored.text["postprocessing"]
        assert ImageChops.difference(ImageOps.mirror(plain.convert("RGB")), mirrored.convert("RGB")).getbbox() is None
    assert [picture["name"] for picture in made] == ["one.png", "one-1.png", "two.png", "two-1.png"]


def test_a_folder_that_is_not_there_is_said(page):
    page.get_by_role("tab", name="Batch from Directory").click()
    page.fill("#extras_batch_input_dir", "no/such/folder")
    page.click("#extras_generate")
    page.locator("#extras_results .message.error", has_text='there is no folder "no/such/folder"').wait_for()


def test_faces_are_restored_once_the_files_are_there_and_until_then_it_says_which_are_missing(page, server, tmp_path):
    models = Path(server.data) / "models" / "GFPGAN"
    switch = page.locator("#extras_gfpgan")
    assert switch.is_disabled() and page.locator("#extras_codeformer").is_disabled()
    page.click("#extras_gfpgan_fold summary")
    assert page.inner_text("#extras_gfpgan_fold .problem") == (
        "GFPGAN cannot restore faces yet: put GFPGANv1.4.pth and detection_Resnet50_Final.pth, which finds faces, "
        f"into {models}"
    )
    assert page.locator("#extras_focal_crop_fold").get_by_text("Face weight").count() == 0
    try:
        detector = faces.planted_detector(always_at=(320, 320), side=480)
        faces.write(models, GFPGANv1_4=faces.painting_gfpgan((-1.0, 0.0, 1.0)), detection=detector)
        page.click("[aria-label='Look for new upscalers']")
        page.wait_for_function("() => !document.querySelector('#extras_gfpgan').disabled")
        assert page.locator("#extras_codeformer").is_disabled()
        assert page.locator("#extras_focal_crop_fold").get_by_text("Face weight").count() == 1
        given = gradient(tmp_path, "one.png", (128, 128))
        load(page, given)
        page.select_option("#extras_upscaler_1", "None")
        switch.check()
        (picture,) = generate(page, 1)
        assert picture["infotext"] == "GFPGAN visibility: 1"
        with Image.open(Path(server.data) / picture["saved"]) as saved, Image.open(given) as source:
            assert saved.getpixel((64, 64)) == (0, 127, 255)
            assert saved.crop((0, 0, 12, 128)).tobytes() == source.crop((0, 0, 12, 128)).tobytes()
    finally:
        for file in models.iterdir():
            file.unlink()
        page.click("[aria-label='Look for new upscalers']")
        page.wait_for_function("() => document.querySelector('#extras_gfpgan').disabled")
