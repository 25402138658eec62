"""Every setting does something, or says that it does not: the schema against the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.settings.check import why_without_effect
from modules.settings.schema import Settings
from modules.settings.store import SettingsStore
from modules.ui.settings_fields import describe

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "modules" / "settings"
INFOTEXT_TABLE = ROOT / "modules" / "infotext" / "fields.py"
HANDED_ON = {"SCRIPT_SETTINGS", "_OPTIONS", "OTHER_SAVING_KEYS"}
"""Lists of settings that are passed to others: whoever reads them there counts, being on the list does not."""


def names_in_python(tree: ast.AST) -> Iterator[str]:
    """Attributes and whole texts: `settings.samples_save`, `options["samples_save"]`, `get("samples_save")`."""
    if isinstance(tree, ast.Assign) and {getattr(target, "id", "") for target in tree.targets} & HANDED_ON:
        return
    if isinstance(tree, ast.Attribute):
        yield tree.attr
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    for child in ast.iter_child_nodes(tree):
        yield from names_in_python(child)


@pytest.fixture(scope="module")
def read_in() -> dict[Path, set[str]]:
    """What each source file outside the schema names."""
    found = {}
    for folder in ("modules", "extensions"):
        for path in (ROOT / folder).rglob("*.py"):
            if SCHEMA not in path.parents:
                found[path] = set(names_in_python(ast.parse(path.read_text("utf-8"))))
    for path in (ROOT / "modules" / "ui" / "assets" / "js").rglob("*.js"):
        code = re.sub(r"(^|\s)//.*", "", path.read_text("utf-8"))
        found[path] = set(re.findall(r"\w+", code))
    return found


def readers(key: str, read_in: dict[Path, set[str]]) -> list[str]:
    """The files that read a setting; that a picture's metadata mentions it is no effect."""
    field = Settings.model_fields[key]
    is_mentioned = "infotext" in (field.json_schema_extra or {}) or bool(why_without_effect(field))
    files = [path for path, names in read_in.items() if key in names]
    return [str(path.relative_to(ROOT)) for path in files if not (is_mentioned and path == INFOTEXT_TABLE)]


def test_every_setting_is_read_somewhere_or_says_why_it_has_no_effect(read_in):
    silent = [
        key
        for key, field in Settings.model_fields.items()
        if not why_without_effect(field) and not readers(key, read_in)
    ]
    assert silent == [], "give them an effect, or `no_effect` with the reason"


def test_no_setting_that_is_read_claims_to_have_no_effect(read_in):
    claims = {key: readers(key, read_in) for key, field in Settings.model_fields.items() if why_without_effect(field)}
    assert claims, "the scan found none"
    assert {key: files for key, files in claims.items() if files} == {}


def test_a_setting_without_effect_comes_and_goes_with_a1111s_file_like_any_other(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"training_write_csv_every": 250, "deepbooru_filter_tags": "solo"}')
    made = SettingsStore(path, environment={})
    assert (made.problems, made.get("training_write_csv_every")) == ((), 250)
    assert made.set_many({"deepbooru_filter_tags": "1girl"}) == ("deepbooru_filter_tags",)
    again = SettingsStore(path, environment={})
    assert (again.get("training_write_csv_every"), again.get("deepbooru_filter_tags")) == (250, "1girl")


def test_the_settings_tab_is_told_why_a_setting_has_no_effect():
    told = {
        key: describe(key, Settings.model_fields[key], None, None, ())["no_effect"]
        for key in ("pin_memory", "samples_save")
    }
    assert told == {"pin_memory": "training is not part of this program", "samples_save": ""}
