"""Live previews by every method, out of a real job."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import save_file

from modules.engine import previews
from modules.engine.engine import Engine
from modules.errors import ModelUnsupported
from modules.generation.events import Event, StepDone
from modules.generation.plan import PreviewPlan
from modules.models.approximations import Approximations
from modules.models.catalog import Catalog
from modules.models.manager import ModelManager
from tests.unit.engine.conftest import IN_FLOAT32, pictures
from tests.unit.networks.test_taesd import in_original_layout, tiny


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "PER_SECOND", 1e9)


@pytest.fixture(scope="module")
def with_taesd(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("VAE-approx")
    save_file(in_original_layout(tiny(), "decoder"), folder / "taesd_decoder.safetensors")
    return Engine(ModelManager(IN_FLOAT32, approximations=Approximations([folder])), catalog=catalog)


def shown(events: list[Event]) -> list[Image.Image | None]:
    return [event.preview and event.preview.open() for event in events if isinstance(event, StepDone)]


def test_taesd_previews_are_full_size_and_come_every_so_many_steps(
    with_taesd: Engine, planned: Callable, run: Callable
) -> None:
    settings = {"show_progress_type": "TAESD", "show_progress_every_n_steps": 2}
    made = shown(run(planned(sampling={"steps": 5}, settings=settings), engine=with_taesd))
    assert [picture is not None for picture in made] == [False, True, False, True, False]
    assert made[1].size == (64, 64)


def test_each_method_draws_another_picture_and_the_last_full_one_is_the_result(
    with_taesd: Engine, planned: Callable, run: Callable
) -> None:
    found = {}
    for method in ("Full", "TAESD", "Approx cheap"):
        settings = {"show_progress_type": method, "show_progress_every_n_steps": 1}
        events = run(planned(settings=settings), engine=with_taesd)
        found[method] = shown(events)[-1].convert("RGB").resize((64, 64))
    assert len({picture.tobytes() for picture in found.values()}) == 3
    difference = ImageChops.difference(found["Full"], pictures(events)[0])
    assert max(high for _, high in difference.getextrema()) <= 1  # the last step's expectation is what it ends with


def test_without_a_file_taesd_and_approx_are_drawn_by_the_matrix(planned: Callable, run: Callable) -> None:
    made = [shown(run(planned(settings={"show_progress_type": kind, "show_progress_every_n_steps": 1})))[-1]
            for kind in ("TAESD", "Approx NN", "Approx cheap")]  # fmt: skip
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()


@pytest.mark.parametrize("settings", [{"live_previews_enable": False}, {"show_progress_every_n_steps": -1}])
def test_nobody_who_wants_none_gets_previews(planned: Callable, run: Callable, settings: dict) -> None:
    assert set(shown(run(planned(settings=settings)))) == {None}


def test_the_format_and_the_grid_are_as_asked(planned: Callable, run: Callable) -> None:
    wanted = {"live_previews_image_format": "webp", "show_progress_grid": False}
    alone, both = (
        [event.preview for event in run(planned(batch={"size": 3}, settings=settings)) if isinstance(event, StepDone)]
        for settings in (wanted, {})
    )
    assert alone[0].content[8:12] == b"WEBP" and both[0].content[1:4] == b"PNG"
    assert alone[0].open().size == (256, 256) and both[0].open().size == (256, 256)
    fourth_place = (140, 140, 256, 256)
    black = ((0, 0),) * 3
    assert both[0].open().convert("RGB").crop(fourth_place).getextrema() == black
    assert alone[0].open().convert("RGB").crop(fourth_place).getextrema() != black


@pytest.mark.parametrize("sampler", ["Euler a", "DDIM"])  # predictions of x0, and of the noise
def test_previews_show_what_the_settings_name(planned: Callable, run: Callable, sampler: str) -> None:
    found = {}
    for content in ("Combined", "Prompt", "Negative prompt"):
        settings = {"live_preview_content": content, "show_progress_type": "Full", "show_progress_every_n_steps": 1}
        fields = {"negative_prompt": "a dog", "sampling": {"sampler": sampler, "cfg_scale": 12}}
        events = run(planned(settings=settings, **fields))
        found[content] = shown(events)[-1].convert("RGB")
    assert len({picture.tobytes() for picture in found.values()}) == 3
    difference = ImageChops.difference(found["Combined"].resize((64, 64)), pictures(events)[0])
    assert max(high for _, high in difference.getextrema()) <= 1  # the last step ends with what guidance expects


def test_previews_keep_to_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "PER_SECOND", 1e-3)
    made = previews.Previews(PreviewPlan())
    assert [made.due(step) for step in (1, 2, 3)] == [True, False, False]


def test_a_picture_decoded_by_taesd_says_so(with_taesd: Engine, planned: Callable, run: Callable) -> None:
    events = run(planned(settings={"sd_vae_decode_method": "TAESD"}), engine=with_taesd)
    done = next(event for event in events if event.kind == "image")
    assert "VAE Decoder: TAESD" in done.infotext
    plain = run(planned(), engine=with_taesd)
    assert pictures(plain)[0].tobytes() != pictures(events)[0].tobytes()


def test_taesd_without_its_file_fails_the_job_in_one_sentence(planned: Callable, run: Callable) -> None:
    with pytest.raises(ModelUnsupported, match="choose Full"):
        run(planned(settings={"sd_vae_decode_method": "TAESD"}))
    assert torch.is_grad_enabled()
