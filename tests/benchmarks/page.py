"""The page in a real browser: how soon it and its tabs show, whether typing lags while pictures are made."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import table
from tests.browser.server import RunningServer, free_port, start_server

TABS = ("txt2img", "img2img", "inpaint", "Extras", "Queue", "Gallery", "PNG Info", "Models", "Extensions", "Settings")
TYPED = "a red apple on a yellow background, "

# From the click to the frame after the one in which the tab's content has a size.
_SWITCH = """(label) => new Promise((done) => {
    const tab = [...document.querySelectorAll("button[role=tab]")].find((one) => one.textContent.trim() === label);
    const panel = () => document.querySelector(`[role=tabpanel]#${tab.getAttribute("aria-controls") ?? "none"}`);
    const started = performance.now();
    tab.click();
    const look = () => {
        const shown = tab.getAttribute("aria-selected") === "true" && (panel()?.offsetHeight ?? 1) > 0;
        if (shown) requestAnimationFrame(() => done(performance.now() - started));
        else requestAnimationFrame(look);
    };
    look();
})"""

# For every key: from the event to the next frame, in which the letter is seen.
_WATCH_KEYS = """() => {
    window.__keys = [];
    document.querySelector("#txt2img_prompt textarea").addEventListener("keydown", (event) => {
        requestAnimationFrame(() => setTimeout(() => window.__keys.push(performance.now() - event.timeStamp)));
    });
}"""


def page() -> str:
    """First paint, tab switches, components, and typing while the starter generates; medians in milliseconds."""
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import ARGUMENTS, chromium

    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        server = start_server(Path(data), free_port())
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            server.wait_until_ready()
            return table("The page in Chromium", ("what", "figure"), _measured(browser, server))
        finally:
            browser.close()
            server.stop()


def _measured(browser: Any, server: RunningServer) -> list[tuple[str, str]]:
    paints, usable = zip(*(_opened(browser, server) for _ in range(3)), strict=True)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    shown = context.new_page()
    shown.goto(server.url)
    shown.wait_for_function("() => window.webui?.panels.get('txt2img')")
    rows = [
        ("first paint", f"{statistics.median(paints):.0f} ms"),
        ("prompt can be typed in", f"{statistics.median(usable):.0f} ms"),
        ("Gradio components at start", str(shown.evaluate("window.gradio_config.components.length"))),
    ]
    first = {tab: shown.evaluate(_SWITCH, tab) for tab in TABS[1:]}
    again = [shown.evaluate(_SWITCH, tab) for _ in range(3) for tab in TABS]
    slowest = max(first, key=first.__getitem__)
    rows += [
        ("tab switch, first time (median; slowest)", f"{statistics.median(first.values()):.0f} ms; {slowest} "
         f"{first[slowest]:.0f} ms"),
        ("tab switch, again (median; slowest)", f"{statistics.median(again):.0f} ms; {max(again):.0f} ms"),
    ]  # fmt: skip
    shown.evaluate(_SWITCH, "txt2img")
    shown.evaluate(_WATCH_KEYS)
    rows.append(("a key in the prompt, at rest (median; slowest)", _typed(shown)))
    shown.locator("#txt2img_steps input[type=number]").fill("150")
    shown.keyboard.press("Tab")
    shown.click("#txt2img_generate")
    shown.wait_for_function("() => window.webui.panels.get('txt2img').running?.step > 0", timeout=60_000)
    rows.append(("a key in the prompt, while a picture is made", _typed(shown)))
    return rows


def _opened(browser: Any, server: RunningServer) -> tuple[float, float]:
    """First contentful paint, and when the prompt box is there and our scripts have attached, in ms after the request.

    A browser context of its own: nothing is in its cache.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.goto(server.url)
    opened.wait_for_function("() => window.webui?.panels.get('txt2img')")
    usable = opened.evaluate("performance.now()")
    paint = opened.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    return paint, usable


def _typed(shown: Any) -> str:
    shown.evaluate("() => { window.__keys.length = 0; }")
    shown.click("#txt2img_prompt textarea")
    shown.keyboard.type(TYPED, delay=40)
    shown.wait_for_function(f"() => window.__keys.length >= {len(TYPED)}")
    times = shown.evaluate("window.__keys")
    return f"{statistics.median(times):.0f} ms; {max(times):.0f} ms"
