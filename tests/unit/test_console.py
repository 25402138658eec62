"""What the application says on the console where the settings ask for it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from modules.app import App
from modules.generation.events import ImageDone
from modules.generation.request import GenerationRequest
from modules.images.data import ImageData
from modules.settings.flags import Flags

STARTER = Path(__file__).parents[2] / "models" / "Stable-diffusion" / "starter.safetensors"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """An application that was not started: nothing takes its jobs."""
    models = tmp_path / "data" / "models" / "Stable-diffusion"
    models.mkdir(parents=True)
    shutil.copy(STARTER, models)
    made = App(Flags(data_dir=str(tmp_path / "data"), no_hashing=True))
    yield made
    made.close()


@pytest.mark.parametrize("wants", [False, True])
def test_prompts_and_parameters_are_logged_if_the_settings_say_so(app: App, caplog, wants: bool) -> None:
    app.settings.set_many({"enable_console_prompts": wants, "samples_log_stdout": wants})
    caplog.set_level(logging.INFO)
    request = GenerationRequest(prompt="a brass cat", negative_prompt="a dog")
    job = app.find_job(app.submit(request, owner="browser:1").id, "browser:1")
    picture = ImageData.from_image(Image.new("RGB", (8, 8)))
    done = ImageDone(index=0, seed=7, width=8, height=8, image=picture, infotext="a brass cat\nSteps: 3", saved=False)
    app.pictures.keep(job, app.plan(request, "browser:1"), done)
    said = [record.getMessage() for record in caplog.records]
    assert ("Prompt: a brass cat\nNegative prompt: a dog" in said) is wants
    assert ("a brass cat\nSteps: 3" in said) is wants
