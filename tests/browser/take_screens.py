"""Screenshots of every tab into `tests/browser/screens/`: `python -m tests.browser.take_screens [name …]`.

A name is a tab ("gallery"), a look ("1280-light") or both ("gallery-1280-light"); without names every tab is taken at
three sizes, dark and light. They are for looking at; git keeps those that `README.md` shows. Starts the real server
with the shipped checkpoint in a temporary folder.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.browser.server import RunningServer, free_port, start_server
from tests.browser.test_generation import PANEL, fill, generate, open_page, open_tab

FOLDER = Path(__file__).parent / "screens"
SIZES = {"390": (390, 844), "1280": (1280, 800), "2560": (2560, 1440)}
PROMPT = "a red apple on a yellow background"


def looks() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every size in dark and light."""
    for name, (width, height) in SIZES.items():
        for scheme in ("dark", "light"):
            viewport = {"width": width, "height": height}
            yield f"{name}-{scheme}", {"viewport": viewport, "color_scheme": scheme, "has_touch": name == "390"}


def txt2img(page: Page, server: RunningServer) -> None:
    fill(page, "txt2img", "prompt", PROMPT)
    fill(page, "txt2img", "seed", "7")
    fill(page, "txt2img", "batch_count", "4")
    generate(page, "txt2img", 5)  # four pictures and their grid
    page.evaluate(f"{PANEL.format('txt2img')}.step(1)")


def img2img(page: Page, server: RunningServer) -> None:
    page.click("#txt2img_send_to_img2img")
    page.wait_for_function("() => window.webui.pictures.get('img2img_image')?.value?.image")
    generate(page, "img2img")


def inpaint(page: Page, server: RunningServer) -> None:
    open_tab(page, "txt2img")
    page.click("#txt2img_send_to_inpaint")
    page.wait_for_function("() => window.webui.pictures.get('inpaint_image')?.value?.image")
    page.evaluate(
        "window.webui.pictures.get('inpaint_image').commit("
        "{kind: 'stroke', size: 36, value: 255, points: [44, 70, 64, 52, 88, 66, 70, 84]})"
    )
    generate(page, "inpaint")


def tab(label: str, selector: str) -> Any:
    def show(page: Page, server: RunningServer) -> None:
        button = page.get_by_role("tab", name=label, exact=True)
        if not button.is_visible():  # on a phone the later tabs are behind a menu
            page.locator(".overflow-menu > button").first.click()
            button = page.locator(".overflow-dropdown button", has_text=label).first
        button.click()
        page.wait_for_selector(selector)

    return show


SCENES = {
    "txt2img": txt2img,
    "img2img": img2img,
    "inpaint": inpaint,
    "extras": tab("Extras", "#extras_generate"),
    "queue": tab("Queue", "#queue .job"),
    "gallery": tab("Gallery", "#gallery img"),
    "pnginfo": tab("PNG Info", ".webui-pnginfo .zone"),
    "models": tab("Models", ".webui-models dd"),
    "extensions": tab("Extensions", ".webui-extensions input"),
    "settings": tab("Settings", ".webui-settings-page .setting"),
}


FIRST = ("txt2img", "img2img", "inpaint")
"""They make the pictures that the others show."""


def main(wanted: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        server = start_server(Path(data), free_port())
        server.wait_until_ready()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for look, context in looks():
            scenes = [name for name in SCENES if not wanted or {name, look, f"{name}-{look}"} & set(wanted)]
            if not scenes:
                continue
            page = open_page(browser, server, **context)
            for name, show in SCENES.items():
                if name not in (*scenes, *FIRST):
                    continue
                show(page, server)
                page.wait_for_timeout(700)
                page.evaluate("scrollTo(0, 0)")
                if name in scenes:
                    page.screenshot(path=FOLDER / f"{name}-{look}.png")
                    print(f"{name}-{look}.png", flush=True)
            page.context.close()
        server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
