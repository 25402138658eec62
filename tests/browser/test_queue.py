"""The Queue tab against the real server: order, hold, edit, duplicate, cancel and retry of real jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.browser

MADE_WITHIN_MS = 90_000


@pytest.fixture
def page(browser, server):
    """A fresh browser's page: an owner with no jobs."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function("() => window.webui && window.webui.panels.get('txt2img')")
    page.wait_for_function("() => document.querySelector('#txt2img_width input')?.value === '128'")
    yield page
    page.evaluate(
        """async () => {
            const { jobs } = await (await fetch('jobs?state=active')).json();
            for (const { id } of jobs) await fetch(`jobs/${id}/cancel`, { method: 'POST' });
        }"""
    )
    context.close()


def fill(page, tab: str, name: str, text: str) -> None:
    page.locator(f"#{tab}_{name} :is(textarea, input[type=number])").first.fill(text)
    page.keyboard.press("Tab")


def submit(page, prompt: str, *, steps: int = 4) -> None:
    fill(page, "txt2img", "steps", str(steps))
    fill(page, "txt2img", "prompt", prompt)
    before = page.evaluate("window.webui.panels.get('txt2img').jobs.length")
    page.click("#txt2img_generate")
    page.wait_for_function(f"() => window.webui.panels.get('txt2img').jobs.length > {before}")


def block(page) -> None:
    """A job that runs until it is stopped."""
    fill(page, "txt2img", "batch_count", "100")
    submit(page, "the long one", steps=150)
    fill(page, "txt2img", "batch_count", "1")


def open_queue(page) -> None:
    page.get_by_role("tab", name="Queue", exact=True).click()
    page.wait_for_selector(".queue-tab")


def waiting(page) -> list[str]:
    return page.locator(".queue-tab .job.queued .title").all_inner_texts()


def wait_for_order(page, *titles: str) -> None:
    page.wait_for_function(
        "(titles) => JSON.stringify([...document.querySelectorAll('.queue-tab .job.queued .title')]"
        ".map((node) => node.textContent)) === JSON.stringify(titles)",
        arg=list(titles),
    )


def row(page, title: str):
    return page.locator(".queue-tab .job", has_text=title).first


def test_waiting_jobs_are_listed_in_order_and_moved_by_drag_and_keyboard(page):
    block(page)
    for title in ("one", "two", "<b>three</b>"):
        submit(page, title)
    open_queue(page)
    wait_for_order(page, "one", "two", "<b>three</b>")
    row(page, "three").get_by_title("To the front").click()
    wait_for_order(page, "<b>three</b>", "one", "two")
    row(page, "three").drag_to(row(page, "two"), target_position={"x": 200, "y": 50})
    wait_for_order(page, "one", "two", "<b>three</b>")
    row(page, "two").focus()
    page.keyboard.press("Alt+ArrowUp")
    wait_for_order(page, "two", "one", "<b>three</b>")
    page.wait_for_function("() => document.querySelector('.queue-tab .job.running .fill').offsetWidth > 0")
    page.screenshot(path=Path(__file__).parent / "shots" / "queue-1280-light.png")


def test_a_row_says_what_tells_the_job_from_others_and_shows_what_it_starts_from(page, tmp_path):
    block(page)
    fill(page, "txt2img", "batch_count", "3")
    submit(page, "three of them", steps=7)
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "source.png")
    page.get_by_role("tab", name="img2img", exact=True).click()
    page.locator("#img2img_image .webui-source-file").set_input_files(tmp_path / "source.png")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.image")
    fill(page, "img2img", "prompt", "from a picture")
    page.click("#img2img_generate")
    open_queue(page)
    row(page, "from a picture").wait_for()
    told = [row(page, title).locator(".fact").all_inner_texts() for title in ("three of them", "from a picture")]
    assert told[0] == ["txt2img", "128×128", "3 pictures", "DPM++ 2M", "7 steps", "starter"]
    assert told[1][0] == "img2img"
    page.wait_for_function("() => document.querySelector('.queue-tab .job.queued img.source')?.naturalWidth === 96")


def test_a_held_job_waits_and_a_paused_queue_starts_nothing(page):
    page.evaluate("fetch('jobs/pause', { method: 'POST' })")
    submit(page, "held back")
    open_queue(page)
    wait_for_order(page, "held back")
    page.get_by_role("button", name="Let the waiting jobs start").click()
    page.locator(".queue-tab .job.done", has_text="held back").wait_for(timeout=MADE_WITHIN_MS)
    assert row(page, "held back").locator("img").count() == 1


def test_edit_takes_a_job_out_of_the_queue_and_back_into_the_form(page):
    block(page)
    fill(page, "txt2img", "batch_count", "3")
    fill(page, "txt2img", "cfg_scale", "4.5")
    submit(page, "to be edited, (slowly:1.2)", steps=17)
    fill(page, "txt2img", "batch_count", "1")
    fill(page, "txt2img", "prompt", "something else")
    open_queue(page)
    row(page, "to be edited").get_by_title("Edit: take it").click()
    page.wait_for_function(
        "() => document.querySelector('#txt2img_prompt textarea').value === 'to be edited, (slowly:1.2)'"
    )
    values = {
        name: page.input_value(f"#txt2img_{name} input[type=number]") for name in ("steps", "cfg_scale", "batch_count")
    }
    assert values == {"steps": "17", "cfg_scale": "4.5", "batch_count": "3"}
    page.get_by_role("tab", name="Queue", exact=True).click()
    wait_for_order(page)
    assert row(page, "to be edited").get_attribute("class").split()[1] == "cancelled"


def test_a_picture_and_its_mask_come_back_with_an_edited_inpaint_job(page, tmp_path):
    source = tmp_path / "source.png"
    Image.linear_gradient("L").resize((128, 128)).convert("RGB").save(source)
    mask = tmp_path / "mask.png"
    Image.new("L", (128, 128), 0).save(mask)
    with Image.open(mask) as image:
        image.paste(255, (30, 30, 90, 90))
        image.save(mask)
    block(page)
    page.get_by_role("tab", name="inpaint", exact=True).click()
    page.locator("#inpaint_image .webui-source-file").set_input_files(source)
    editor = "window.webui.pictures.get('inpaint_image')"
    page.wait_for_function(f"() => {editor}?.value?.image")
    page.locator("#inpaint_image input[aria-label='Mask from a file']").set_input_files(mask)
    page.wait_for_function(f"() => {editor}.mask.done === 1")
    fill(page, "inpaint", "prompt", "a hole")
    page.click("#inpaint_generate")
    page.wait_for_function("() => window.webui.panels.get('inpaint').jobs.length === 1")
    page.evaluate(f"{editor}.clearPicture()")
    open_queue(page)
    row(page, "a hole").get_by_title("Edit: take it").click()
    page.wait_for_function(f"() => {editor}.value?.image && {editor}.mask?.done === 1")
    inside = page.evaluate(f"[{editor}.mask.raster.data[60 * 128 + 60], {editor}.mask.raster.data[10 * 128 + 10]]")
    assert inside == [255, 0]


def test_duplicating_draws_new_seeds_and_retrying_keeps_them(page):
    submit(page, "again and again")
    open_queue(page)
    page.locator(".queue-tab .job.done").wait_for(timeout=MADE_WITHIN_MS)
    row(page, "again").get_by_title("Retry").click()
    page.wait_for_function(
        "() => document.querySelectorAll('.queue-tab .job.done').length === 2", timeout=MADE_WITHIN_MS
    )
    page.locator(".queue-tab .job").first.get_by_title("Once more").click()
    page.wait_for_function(
        "() => document.querySelectorAll('.queue-tab .job.done').length === 3", timeout=MADE_WITHIN_MS
    )
    seeds = page.evaluate("window.webui.queue.over.map((job) => job.images[0].seed)")
    assert seeds[1] == seeds[2] != seeds[0]


def test_a_job_asked_for_elsewhere_appears_by_itself(page):
    open_queue(page)
    request = {"prompt": "from a program", "sampling": {"steps": 2}, "size": {"width": 64, "height": 64}}
    page.evaluate(
        "(body) => fetch('api/v1/jobs', { method: 'POST', headers: { 'content-type': 'application/json' },"
        " body: JSON.stringify(body) })",
        request,
    )
    page.locator(".queue-tab .job.done", has_text="from a program").wait_for(timeout=MADE_WITHIN_MS)


def test_somebody_elses_jobs_cannot_be_seen_or_made_again(page, browser, server):
    submit(page, "private")
    job = page.evaluate("window.webui.panels.get('txt2img').jobs[0].id")
    other = browser.new_context().new_page()
    other.goto(server.url)
    open_queue(other)
    other.wait_for_timeout(500)
    assert "private" not in other.inner_text(".queue-tab")
    for method, action in (("POST", "duplicate"), ("GET", "page"), ("GET", "source"), ("GET", "mask")):
        status = other.evaluate(
            "async ([id, action, method]) => (await fetch(`jobs/${id}/${action}`, { method })).status",
            [job, action, method],
        )
        assert status == 404
    other.context.close()
