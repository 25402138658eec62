"""Faces restored as a part of generation: in which order, what is kept and said, and what goes wrong without a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modules.engine.engine import Engine
from modules.engine.stages import Stage, StageContext
from modules.faces.restoration import FaceRestorer
from modules.generation.events import Event, ImageDone, JobDone, Notice
from modules.generation.plan import Plan
from modules.images.data import ImageData
from modules.models.catalog import Catalog
from modules.models.places import ModelFolders
from tests.support import faces
from tests.unit.engine.conftest import pictures

Planned = Callable[..., Plan]
Run = Callable[..., list[Event]]

GFPGAN = {"face_restoration": True, "face_restoration_model": "GFPGAN", "samples_save": True}
PAINTED = (0, 127, 255)


@dataclass
class Restoring:
    engine: Engine
    models: Path


@pytest.fixture(scope="module")
def restoring(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Restoring:
    """The engine with a face in the middle of every picture, three quarters as large, that GFPGAN paints blue."""
    models = tmp_path_factory.mktemp("models")
    detector = faces.planted_detector(always_at=(320, 320), side=480)
    faces.write(models / "GFPGAN", GFPGANv1_4=faces.painting_gfpgan((-1.0, 0.0, 1.0)), detection=detector)
    files = Catalog(ModelFolders.below(models, models)).faces
    restorer = FaceRestorer(lambda: files, lambda part: torch.device("cpu"))
    return Restoring(Engine(engine.manager, catalog=engine.catalog, faces=restorer), models)


def notices(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def test_the_face_of_a_picture_is_restored_and_the_rest_is_the_picture_without(
    planned: Planned, run: Run, restoring: Restoring
) -> None:
    (plain,) = pictures(run(planned()))
    events = run(planned(settings=GFPGAN), engine=restoring.engine)
    (restored,) = pictures(events)
    assert restored.getpixel((32, 32)) == PAINTED
    before, after = np.asarray(plain), np.asarray(restored)
    changed = np.abs(before.astype(int) - after).max(axis=2) > 0
    assert changed[12:52, 12:52].all() and not changed[:7].any() and not changed[:, 58:].any()
    done = events[-1]
    assert isinstance(done, JobDone) and "Seed: 1, Face restoration: GFPGAN, Size: 64x64" in done.infotexts[0]
    assert notices(events) == []


def test_the_picture_before_is_kept_where_the_settings_say_so(planned: Planned, run: Run, restoring: Restoring) -> None:
    settings = {**GFPGAN, "save_images_before_face_restoration": True}
    events = run(planned(settings=settings, save=True), engine=restoring.engine)
    (before,) = pictures(events, "before_face_restoration")
    (plain,) = pictures(run(planned()))
    assert before.tobytes() == plain.tobytes()
    roles = [(event.role, event.shown) for event in events if isinstance(event, ImageDone)]
    assert roles == [("before_face_restoration", False), ("sample", True)]


def test_colours_are_corrected_after_faces_are_restored(planned: Planned, run: Run, restoring: Restoring) -> None:
    source = {"images": [ImageData.from_image(Image.new("RGB", (64, 64), (200, 60, 60)))], "denoising_strength": 0.5}
    settings = {**GFPGAN, "img2img_color_correction": True}
    (made,) = pictures(run(planned(settings=settings, source=source), engine=restoring.engine))
    assert made.getpixel((32, 32)) != PAINTED  # it has the source's tones now


def test_a_picture_in_which_no_face_is_found_stays_and_that_is_said(
    planned: Planned, run: Run, restoring: Restoring, tmp_path: Path
) -> None:
    faces.write(tmp_path / "GFPGAN", GFPGANv1_4=faces.painting_gfpgan((0, 0, 0)), detection=faces.planted_detector())
    files = Catalog(ModelFolders.below(tmp_path, tmp_path)).faces
    engine = restoring.engine
    blind = Engine(engine.manager, faces=FaceRestorer(lambda: files, lambda part: torch.device("cpu")))
    events = run(planned(settings=GFPGAN, batch={"count": 2}), engine=blind)
    assert [one.tobytes() for one in pictures(events)] == [
        one.tobytes() for one in pictures(run(planned(batch={"count": 2})))
    ]
    assert notices(events) == [f"no face was found in picture {number}; it is as it was made" for number in (1, 2)]


class RestoringStage(Stage):
    def on_composed(self, image: Image.Image, context: StageContext) -> Image.Image:
        return context.restore_faces(image, "CodeFormer", 0.0)[0]


def test_a_script_may_restore_faces_and_one_whose_file_is_missing_leaves_the_picture(
    planned: Planned, run: Run, restoring: Restoring
) -> None:
    engine = restoring.engine
    scripted = Engine(engine.manager, faces=engine.faces, stages_for=lambda plan: [RestoringStage()])
    events = run(planned(batch={"count": 2}), engine=scripted)
    assert [one.tobytes() for one in pictures(events)] == [
        one.tobytes() for one in pictures(run(planned(batch={"count": 2})))
    ]
    assert [notice.split(":")[0] for notice in notices(events)] == [
        f"the faces of picture {number} were not restored" for number in (1, 2)
    ]
    assert "codeformer-v0.1.0.pth" in notices(events)[0]


def test_a_picture_is_not_lost_when_its_faces_cannot_be_restored(
    planned: Planned, run: Run, engine: Engine, tmp_path: Path
) -> None:
    detector = faces.planted_detector(always_at=(320, 320), side=480)
    named_alike = {
        f"{prefix}weight": torch.zeros(1) for prefix in ("conv_body_first.", "stylegan_decoder.style_conv1.")
    }
    faces.write(tmp_path / "GFPGAN", detection=detector, GFPGANv1_4=named_alike)
    files = Catalog(ModelFolders.below(tmp_path, tmp_path)).faces
    broken = Engine(engine.manager, faces=FaceRestorer(lambda: files, lambda part: torch.device("cpu")))
    events = run(planned(settings=GFPGAN), engine=broken)
    assert len(pictures(events)) == 1 and isinstance(events[-1], JobDone)
    (notice,) = notices(events)
    assert notice.startswith("the faces of the picture were not restored: ") and "GFPGANv1.4.pth" in notice
