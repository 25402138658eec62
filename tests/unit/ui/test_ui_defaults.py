"""A1111's ui-config.json: what it changes here, what is written into it, and what is left alone."""

from __future__ import annotations

import json

import pytest

from modules.errors import SettingsError
from modules.ui.defaults import PageDefaults


@pytest.fixture
def file(tmp_path):
    return tmp_path / "ui-config.json"


def test_a_file_of_a1111_sets_what_somebody_changed_and_nothing_else(file):
    content = {
        "txt2img/Prompt/value": "",
        "customscript/sampler.py/txt2img/Sampling method/value": "Euler a",
        "customscript/sampler.py/txt2img/Sampling steps/value": 20,  # A1111's own default: says nothing
        "txt2img/Width/value": 768,
        "img2img/Mask blur/value": 8,
        "img2img/Tabs@mode_img2img/selected": None,
    }
    file.write_text(json.dumps(content))
    assert PageDefaults(file).values() == {
        "txt2img/sampling.sampler": "Euler a",
        "txt2img/size.width": 768,
        "inpaint/source.inpaint.blur": 8,
    }


@pytest.mark.parametrize("value", ["many", None, [1]])
def test_a_value_that_is_none_of_its_control_is_left_out_and_named(file, value, caplog):
    file.write_text(json.dumps({"txt2img/Batch count/value": value, "txt2img/Batch size/value": 2}))
    assert PageDefaults(file).values() == {"txt2img/batch.size": 2}
    assert "txt2img/Batch count/value" in caplog.text


def test_bounds_of_sliders_are_taken_from_the_file(file):
    file.write_text(json.dumps({"txt2img/Batch size/maximum": 64, "txt2img/Batch size/minimum": 1}))
    assert PageDefaults(file).bounds("txt2img", "batch.size") == {"maximum": 64}
    assert PageDefaults(file).bounds("img2img", "batch.size") == {}


def test_saving_writes_what_differs_and_keeps_what_it_does_not_know(file):
    file.write_text(json.dumps({"extras/Resize/value": 2, "txt2img/Sampling steps/value": 25}))
    defaults = PageDefaults(file)
    page = {"txt2img/sampling.steps": 30, "txt2img/size.width": 128, "txt2img/prompt": "", "txt2img/overrides": ["x"]}
    rows = defaults.changes(page, {"txt2img/size.width": 128})
    assert [(row["label"], row["default"], row["value"]) for row in rows] == [("Sampling steps", 25, 30)]
    assert defaults.save(page, {"txt2img/size.width": 128}) == 1
    assert json.loads(file.read_text()) == {
        "extras/Resize/value": 2,
        "customscript/sampler.py/txt2img/Sampling steps/value": 30,
    }
    assert PageDefaults(file).values() == {"txt2img/sampling.steps": 30}


def test_a_broken_file_is_left_as_it_is_and_the_page_shows_our_own_defaults(file, caplog):
    file.write_text("{")
    assert PageDefaults(file).values() == {}
    assert "ui-config.json" in caplog.text and file.read_text() == "{"
    with pytest.raises(SettingsError, match="broken"):
        PageDefaults(file).save({"txt2img/sampling.steps": 30}, {})
    assert file.read_text() == "{"
