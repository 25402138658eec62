"""Localization files: found, joined, and never the end of the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from modules.ui.localization import Localizations

ROOT = Path(__file__).parents[3]


def write(folder: Path, name: str, content: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(content, encoding="utf-8")
    return folder


def test_files_of_one_name_join_and_later_folders_win(tmp_path):
    ours = write(tmp_path / "ours", "de", '{"Seed": "Saat", "Width": "Breite"}')
    own = write(tmp_path / "own", "de", '{"Seed": "Startwert", "rtl": true}')
    found = Localizations([ours, own, tmp_path / "missing"])
    assert found.names() == ("de",)
    assert found.table("de") == {"Seed": "Startwert", "Width": "Breite", "rtl": True}


def test_english_is_the_empty_table(tmp_path):
    assert Localizations([write(tmp_path / "one", "None", '{"Seed": "x"}')]).table("None") == {}


def test_a_broken_or_missing_file_leaves_the_page_english_and_is_logged(tmp_path, caplog):
    found = Localizations([write(tmp_path / "one", "fr", '{"Seed": '), write(tmp_path / "two", "es", "[]")])
    assert found.table("fr") == found.table("es") == found.table("../secret") == {}
    assert "fr.json" in caplog.text and "one JSON object" in caplog.text


def test_our_chinese_translates_every_label_of_the_generation_tabs():
    from modules.ui.controls import CONTROLS, SHARED

    table = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
    labels = {control.label for control in (CONTROLS | SHARED).values()} - {"Source"}  # a picture shows no label
    choices = {word for one in CONTROLS.values() if one.kind == "radio" for word in one.choices}
    placeholders = {one.placeholder for one in CONTROLS.values() if one.placeholder}
    assert (labels | choices | placeholders) - set(table) == set()


def test_our_chinese_translates_every_setting_and_every_argument_of_our_scripts(tmp_path):
    from modules.extensions.loader import Extensions
    from modules.settings.check import why_without_effect
    from modules.settings.schema import SECTIONS

    table = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
    shown = [section for section in SECTIONS if section.section_page != "hidden"]
    labels = {section.section_title for section in shown}
    fields = [item for section in shown for item in section.model_fields.items()]
    labels |= {field.title or key for key, field in fields} | {why_without_effect(field) for _, field in fields}
    scripts = Extensions((ROOT / "extensions", tmp_path), disabled=(), only=None).scripts
    arguments = [item for script in scripts for item in script.Args.model_fields.items()]
    hidden = {field.title for _, field in arguments if (field.json_schema_extra or {}).get("is_hidden")}
    labels |= {field.title or name.replace("_", " ").capitalize() for name, field in arguments}
    assert {label for label in labels - hidden - set(table) if label.strip(" ") and not label.startswith("_")} == set()


def test_translations_keep_the_places_of_numbers_and_names():
    table = json.loads((ROOT / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
    for key, text in table.items():
        assert sorted(re.findall(r"\{n?\}", key)) == sorted(re.findall(r"\{n?\}", text)), key
