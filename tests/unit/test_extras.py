"""Jobs of the Extras tab in the application itself: what is written, under which names, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from modules.app import App
from modules.extras import KIND, pictures_in
from modules.generation.extras import ExtrasRequest
from modules.settings.flags import Flags


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An application that was not started: jobs are run by the tests, pictures described without a model."""
    made = App(Flags(data_dir=str(tmp_path / "data")))
    monkeypatch.setattr(App, "describe", lambda self, image: f"{image.size[0]} pixels wide")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("one", "two"):
        Image.linear_gradient("L").resize((32, 16)).save(source / f"{name}.png")
    (source / "one.txt").write_text("old words")
    return source


def run(app: App, request: ExtrasRequest) -> list[str]:
    """The paths of a job's results."""
    handle = app.extras.submit(request, owner="browser:1")
    job = app.queue.claim((KIND,))
    assert job is not None and job.id == handle.id
    app.extras._run(job)
    return [Path(result.path).name for result in app.queue.results(job.id)]


def test_descriptions_stand_beside_the_results_joined_with_those_of_the_sources(app: App, folder: Path, tmp_path: Path):
    app.settings.set_many({"postprocessing_existing_caption_action": "Prepend"})
    target = tmp_path / "target"
    request = ExtrasRequest(
        pictures=pictures_in(folder), is_batch=True, output_folder=str(target), caption={}, flips={"horizontal": True}
    )
    assert run(app, request) == ["one.png", "one-1.png", "two.png", "two-1.png"]
    assert (target / "one.txt").read_text() == (target / "one-1.txt").read_text() == "old words 32 pixels wide"
    assert (target / "two.txt").read_text() == "32 pixels wide"


def test_a_file_that_is_no_picture_is_said_and_the_rest_of_the_folder_goes_on(app: App, folder: Path, tmp_path: Path):
    (folder / "broken.png").write_bytes(b"no picture")
    request = ExtrasRequest(pictures=pictures_in(folder), is_batch=True, output_folder=str(tmp_path / "target"))
    assert run(app, request) == ["one.png", "two.png"]
    (job,) = app.queue.jobs(owner="browser:1", limit=5)
    assert len(job.notices) == 1 and job.notices[0].startswith("broken.png: ")


def test_what_was_enlarged_is_kept_for_the_next_try_as_often_as_the_settings_say(app: App, folder: Path):
    upscaler = {"upscaler": "Lanczos", "factor": 2.0}
    app.settings.set_many({"upscaling_max_images_in_cache": 1})
    run(app, ExtrasRequest(pictures=pictures_in(folder), upscale=upscaler))
    (kept,) = app.extras._enlarged.values()
    run(app, ExtrasRequest(pictures=pictures_in(folder)[:1], upscale=upscaler))
    assert list(app.extras._enlarged.values()) == [kept], "both pictures look the same, so nothing was made anew"
    app.settings.set_many({"upscaling_max_images_in_cache": 0})
    run(app, ExtrasRequest(pictures=pictures_in(folder), upscale=upscaler))
    assert not app.extras._enlarged
