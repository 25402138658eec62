"""The Models and Extensions tabs against the real server."""

from __future__ import annotations

import subprocess

import pytest

from tests.browser.server import free_port, start_server

pytestmark = pytest.mark.browser


def open_tab(browser, url: str, name: str):
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(url)
    page.wait_for_function("() => window.webui && window.webui.panels.get('txt2img')")
    page.get_by_role("tab", name=name, exact=True).click()
    return page


def test_models_tells_what_runs_where_and_why_and_unloads(browser, server):
    page = open_tab(browser, server.url, "Models")
    page.wait_for_function("() => document.querySelector('.webui-models .model strong')")
    facts = page.inner_text(".webui-models .cards")
    assert "cpu" in facts and "starter" in facts and "Attention" in facts
    assert "attention sdp: the first choice for cpu that passes a small test" in facts, "why, not only what"
    page.click("#models_unload")
    page.wait_for_function("() => document.querySelector('.webui-models .loaded').textContent.includes('Nothing')")
    assert server.get("worker")["models"] == []
    page.click("#models_load")
    page.wait_for_function("() => document.querySelector('.webui-models .model strong')", timeout=60_000)
    assert server.get("worker")["model"] == "starter"


def test_checkpoints_are_listed_with_architecture_and_metadata_on_demand(browser, server):
    page = open_tab(browser, server.url, "Models")
    row = page.locator(".webui-models tbody tr", has_text="starter.safetensors")
    row.locator("td", has_text="Stable Diffusion 1").wait_for()
    row.locator(".name").click()
    details = page.locator(".webui-models .details")
    details.wait_for()
    assert "sha256" in details.inner_text() and "starter.safetensors" in details.inner_text()
    page.fill(".webui-models input[type=search]", "no such thing")
    assert page.locator(".webui-models tbody tr:visible").count() == 0


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A server of its own with an extension that fails, and no model loaded."""
    data = tmp_path_factory.mktemp("extensions")
    folder = data / "extensions" / "broken"
    folder.mkdir(parents=True)
    (folder / "extension.py").write_text('raise ImportError("<img src=x onerror=window.hit=1>")\n')
    running = start_server(data, free_port(), "--skip-load-model-at-start")
    yield running
    running.stop()


def test_a_failing_extension_is_named_and_the_rest_goes_on_and_switches_last(browser, broken):
    page = open_tab(browser, broken.url, "Extensions")
    first = page.locator(".webui-extensions li").first
    first.wait_for()
    assert "ImportError: <img src=x onerror=window.hit=1>" in first.locator(".problem").inner_text()
    assert page.evaluate("window.hit") is None
    assert page.locator(".webui-extensions li.on", has_text="xyz_plot").count() == 1
    page.uncheck("#extension_loopback")
    page.click("#extensions_apply")
    page.wait_for_function("() => document.querySelector('.webui-extensions .note').textContent.includes('Restart')")
    page.reload()
    assert broken.get("sdapi/v1/options")["disabled_extensions"] == ["loopback"]


def test_an_extension_is_installed_from_a_repository_and_a_state_saved_and_another_removed(browser, broken, tmp_path):
    written = tmp_path / "sparkle"
    written.mkdir()
    (written / "extension.py").write_text("def register(to):\n    pass\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "--quiet"), ("add", "."), (*who, "commit", "--quiet", "-m", "one")):
        subprocess.run(["git", *command], cwd=written, check=True)
    page = open_tab(browser, broken.url, "Extensions")
    page.fill("#extensions_source", (tmp_path / "nothing").as_uri())
    page.click("#extensions_install")
    page.locator(".webui-toast.error", has_text="git clone failed").wait_for()
    page.fill("#extensions_source", written.as_uri())
    page.click("#extensions_install")
    page.locator(".webui-extensions .arrived", has_text="sparkle").wait_for()
    assert (broken.data / "extensions" / "sparkle" / "extension.py").is_file()
    page.fill("#extensions_state_name", "before")
    page.click("#extensions_state_save")
    page.locator(".webui-extensions .states li", has_text="before").wait_for()
    page.get_by_role("button", name="Take broken out").click()
    page.locator(".webui-extensions li", has_text="removed").wait_for()
    assert not (broken.data / "extensions" / "broken").exists()
