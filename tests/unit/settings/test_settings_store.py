"""The settings file and what stands above it."""

from __future__ import annotations

import json
import threading

import pytest

from modules.errors import InvalidRequest, NotPermitted, SettingsError, UnknownName
from modules.settings import flags
from modules.settings.check import with_overrides
from modules.settings.option import Section, option
from modules.settings.schema import SECTIONS, Settings
from modules.settings.store import SettingsStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.json"


def store(path, *argv, environment=None):
    return SettingsStore(path, flags=flags.parse(list(argv), {}), environment=environment or {})


def test_without_a_file_every_setting_has_its_default(path):
    assert store(path).current == Settings()
    assert not path.exists()


def test_a_change_survives_a_restart_and_only_it_is_in_the_file(path):
    assert store(path).set_many({"jpeg_quality": 95, "n_rows": -1}) == ("jpeg_quality",)
    assert json.loads(path.read_text()) == {"jpeg_quality": 95}
    assert store(path).current.jpeg_quality == 95


def test_the_file_is_written_as_a1111_writes_it(path):
    store(path).set_many({"samples_filename_pattern": "[seed]-中文"})
    assert path.read_text("utf-8") == '{\n    "samples_filename_pattern": "[seed]-中文"\n}'


def test_unknown_keys_are_kept_and_can_be_seen(path):
    path.write_text('{"some_extension_level": 3, "jpeg_quality": 90}')
    made = store(path)
    made.set_many({"jpeg_quality": 91})
    assert made.unknown == {"some_extension_level": 3}
    assert json.loads(path.read_text())["some_extension_level"] == 3


def test_a_value_that_does_not_fit_is_reported_and_stays_in_the_file(path):
    path.write_text('{"jpeg_quality": "very good", "webp_lossless": true}')
    made = store(path)
    assert made.current.jpeg_quality == 80 and made.current.webp_lossless
    assert "jpeg_quality" in made.problems[0] and "very good" in made.problems[0]
    made.set_many({"n_rows": 2})
    assert json.loads(path.read_text())["jpeg_quality"] == "very good"


@pytest.mark.parametrize("key", ["samples_format", "grid_format"])
def test_a_format_that_pictures_are_not_made_in_is_refused_when_it_is_set(path, key):
    """Pillow could write BMP and GIF; a job of ours could not hand them on."""
    made = store(path)
    for wrong in ("bmp", ".GIF", "jxx", ""):
        with pytest.raises(InvalidRequest) as refused:
            made.set_many({key: wrong})
        told = f"setting {key}: {wrong!r} does not fit: pictures are written as png, jpg, webp, avif"
        assert str(refused.value) == told
        with pytest.raises(InvalidRequest, match="pictures are written as") as refused:
            with_overrides(Settings(), {key: wrong})
        assert refused.value.field == f"overrides.{key}"
    assert made.get(key) == "png"


def test_names_of_the_formats_there_are_stay_as_they_were_written(path):
    made = store(path)
    for extension in ("jpg", "JPEG", ".webp", "avif", "jfif", "PNG"):
        made.set_many({"samples_format": extension})
        assert made.current.samples_format == extension


def test_a_file_with_a_format_that_pictures_are_not_made_in_means_the_default_and_says_so(path):
    path.write_text('{"samples_format": "bmp", "grid_format": "webp"}')
    made = store(path)
    assert (made.current.samples_format, made.current.grid_format) == ("png", "webp")
    (problem,) = made.problems
    assert "samples_format" in problem and "'bmp'" in problem and "png, jpg, webp, avif" in problem
    made.set_many({"jpeg_quality": 90})
    assert json.loads(path.read_text())["samples_format"] == "bmp"


def test_whole_numbers_and_floats_are_interchangeable_and_keep_their_look(path):
    path.write_text('{"jpeg_quality": 90.0, "eta_ancestral": 0, "s_churn": 20.0}')
    read = store(path).current
    assert read.jpeg_quality == 90
    assert (str(read.eta_ancestral), str(read.s_churn)) == ("0", "20.0")


def test_a_broken_file_is_moved_aside_and_the_one_before_is_used(path):
    store(path).set_many({"jpeg_quality": 95})
    store(path).set_many({"n_rows": 3})
    path.write_text('{"jpeg_quality": 95, "n_ro')
    made = store(path)
    assert made.current.jpeg_quality == 95
    assert "damaged" in made.problems[0]
    (aside,) = path.parent.glob("config.json.broken-*")
    assert aside.read_text() == '{"jpeg_quality": 95, "n_ro'


def test_a_broken_file_without_a_former_one_means_defaults(path):
    path.write_text("[1, 2]")
    assert store(path).current == Settings()


def test_settings_of_older_versions_are_understood(path):
    path.write_text('{"sd_vae_as_default": true, "quicksettings": "sd_model_checkpoint, sd_vae"}')
    read = store(path).current
    assert read.sd_vae_overrides_per_model_preferences is False
    assert read.quicksettings_list == ("sd_model_checkpoint", "sd_vae")


def test_the_environment_beats_the_file_and_the_flags_beat_the_environment(path):
    path.write_text('{"jpeg_quality": 90, "enable_console_prompts": false}')
    environment = {"SD_WEBUI_JPEG_QUALITY": "70", "SD_WEBUI_ENABLE_CONSOLE_PROMPTS": "false", "SD_WEBUI_RESTART": "x"}
    made = store(path, "--enable-console-prompts", environment=environment)
    assert made.current.jpeg_quality == 70
    assert made.current.enable_console_prompts is True
    assert made.problems == ()


def test_what_the_environment_decides_cannot_be_changed_and_is_not_written(path):
    made = store(path, environment={"SD_WEBUI_JPEG_QUALITY": "70"})
    with pytest.raises(NotPermitted, match="SD_WEBUI_JPEG_QUALITY"):
        made.set_many({"jpeg_quality": 80})
    made.set_many({"n_rows": 2, "jpeg_quality": 70})
    assert json.loads(path.read_text()) == {"n_rows": 2}


def test_an_unknown_key_is_refused_with_the_nearest_one(path):
    with pytest.raises(UnknownName, match='"jpeg_quality"'):
        store(path).set_many({"jpg_quality": 3})


@pytest.mark.parametrize(
    "key, value", [("jpeg_quality", 101), ("randn_source", "cpu"), ("profiling_activities", ["TPU"]), ("tiling", None)]
)
def test_a_value_out_of_bounds_is_refused_naming_the_setting(path, key, value):
    with pytest.raises(InvalidRequest, match=key):
        store(path).set_many({key: value})


def test_a_refused_change_changes_nothing(path):
    made = store(path)
    with pytest.raises(InvalidRequest):
        made.set_many({"n_rows": 3, "jpeg_quality": 0})
    assert made.current == Settings() and not path.exists()


@pytest.mark.parametrize(
    "argv, key, value",
    [
        (["--freeze-settings"], "n_rows", 3),
        (["--freeze-specific-settings", "tiling, n_rows"], "n_rows", 3),
        (["--freeze-settings-in-sections", "saving-images,sd"], "n_rows", 3),
        (["--hide-ui-dir-config"], "outdir_samples", "elsewhere"),
        (["--hide-ui-dir-config"], "directories_filename_pattern", ""),
    ],
)
def test_frozen_settings_cannot_be_changed(path, argv, key, value):
    made = store(path, *argv)
    with pytest.raises(NotPermitted):
        made.set_many({key: value})
    assert made.why_locked(key)


def test_writing_the_value_a_frozen_setting_has_is_no_change(path):
    assert store(path, "--freeze-settings").set_many({"n_rows": -1}) == ()


def test_subscribers_hear_of_changes_until_they_leave(path):
    made, heard = store(path), []
    leave = made.subscribe(lambda settings, keys: heard.append((settings.n_rows, keys)))
    made.set_many({"n_rows": 2})
    made.set_many({"n_rows": 2})
    leave()
    made.set_many({"n_rows": 3})
    assert heard == [(2, ("n_rows",))]


def test_reset_and_difference_from_defaults(path):
    made = store(path)
    made.set_many({"n_rows": 2, "jpeg_quality": 50})
    assert made.changed_from_defaults() == {"n_rows": 2, "jpeg_quality": 50}
    assert made.reset("n_rows") == ("n_rows",)
    assert made.changed_from_defaults() == {"jpeg_quality": 50}


def test_changes_from_many_threads_are_all_kept(path):
    made = store(path)
    keys = ("samples_filename_pattern", "outdir_samples", "outdir_grids", "font", "temp_dir", "api_useragent")
    threads = [threading.Thread(target=made.set_many, args=({key: key},)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads(path.read_text()) == {key: key for key in keys}


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path):
    made = store(tmp_path / "config.json")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(SettingsError, match="cannot be written"):
        made.set_many({"n_rows": 2})
    assert made.current.n_rows == -1


class Sparkles(Section, title="Sparkles", page="sparkles"):
    sparkle_level: int = option(1, "Sparkle level", minimum=0, maximum=5)


def test_an_extension_adds_settings_that_the_file_already_knows(path):
    path.write_text('{"sparkle_level": 4}')
    made = store(path)
    made.add_section(Sparkles)
    assert made.get("sparkle_level") == 4 and made.unknown == {}
    made.set_many({"sparkle_level": 5})
    with pytest.raises(InvalidRequest):
        made.set_many({"sparkle_level": 6})
    made.remove_section(Sparkles)
    assert made.unknown == {"sparkle_level": 5}
    with pytest.raises(UnknownName):
        made.get("sparkle_level")


def test_overrides_of_one_request_are_checked_and_leave_the_settings_alone():
    base = Settings()
    assert with_overrides(base, {"randn_source": "NV"}).randn_source == "NV"
    assert base.randn_source == "GPU"
    with pytest.raises(InvalidRequest) as caught:
        with_overrides(base, {"randn_source": "XX"})
    assert caught.value.field == "overrides.randn_source"


def test_every_default_fits_its_own_setting():
    assert with_overrides(Settings(), Settings().model_dump()) == Settings()


def test_every_page_has_a_title_and_an_id():
    assert all(section.section_title and section.section_page for section in SECTIONS)
    assert Sparkles.section_title == "Sparkles"


def test_every_setting_has_one_page_and_a_label_for_people():
    for key, field in Settings.model_fields.items():
        assert field.title and "§" not in field.title and "  " not in field.title, key
        assert sum(key in section.model_fields for section in SECTIONS) == 1, key
