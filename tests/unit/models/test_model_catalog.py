from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modules.errors import UnknownName
from modules.models.catalog import Catalog
from modules.models.files import natural_order
from modules.models.hashes import BackgroundHasher, FileFacts, legacy_hash, sha256
from modules.models.places import ModelFolders
from modules.settings.stable_diffusion import GenerationOptions


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in (
        "Stable-diffusion/b10.safetensors",
        "Stable-diffusion/B9.ckpt",
        "Stable-diffusion/sub/foo.safetensors",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 50_000)  # over 1 MB: the legacy hash looks there
    (tmp_path / "Stable-diffusion" / "b10.vae.pt").write_bytes(b"vae")
    (tmp_path / "Stable-diffusion" / "notes.txt").write_text("no model")
    (tmp_path / "VAE").mkdir()
    (tmp_path / "VAE" / "good.safetensors").write_bytes(b"good")
    (tmp_path / "VAE" / "foo-vae.pt").write_bytes(b"near foo")
    return tmp_path


@pytest.fixture
def catalog(models: Path) -> Catalog:
    return Catalog(ModelFolders.below(models, models / "embeddings"))


def lora(folder: Path, stem: str, **metadata: str) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({"lora_unet_x.lora_down.weight": torch.ones(1, 1)}, folder / f"{stem}.safetensors", metadata=metadata)
    return folder / f"{stem}.safetensors"


def test_checkpoints_are_listed_in_natural_order_without_vaes(catalog: Catalog) -> None:
    assert catalog.titles() == ("B9.ckpt", "b10.safetensors", "sub/foo.safetensors")


def test_natural_order_compares_numbers_by_value_and_ignores_case() -> None:
    assert sorted(["v10", "V9", "v²", "v1.5"], key=natural_order) == ["v1.5", "V9", "v10", "v²"]


def test_every_alias_means_its_file(catalog: Catalog, models: Path) -> None:
    path = models / "Stable-diffusion" / "sub" / "foo.safetensors"
    digest = catalog.facts.computed("sha256", path, sha256)
    short = digest[:10]
    for text in (
        "sub/foo.safetensors",
        f"sub/foo.safetensors [{short}]",
        "sub_foo",
        "foo",
        f"foo [{short}]",
        short,
        digest,
        legacy_hash(path),
        f"sub/foo.safetensors [{legacy_hash(path)}]",
    ):
        ref = catalog.find_checkpoint(text)
        assert (ref.path, ref.name, ref.short_hash) == (str(path), "foo", short), text
    assert catalog.find_checkpoint("foo").title == f"sub/foo.safetensors [{short}]"


def test_a_part_of_a_title_means_the_shortest_title_with_it(catalog: Catalog) -> None:
    assert catalog.find_checkpoint("b10").name == "b10"
    assert catalog.find_checkpoint("oo.safe").name == "foo"
    assert catalog.find_checkpoint("foo.safetensors [0123456789]").name == "foo"  # renamed bytes, same name
    assert catalog.find_checkpoint("FOO").name == "foo"


def test_an_unknown_checkpoint_suggests_near_names(catalog: Catalog) -> None:
    with pytest.raises(UnknownName, match=r'no checkpoint named "fooo"; did you mean "foo"\?'):
        catalog.find_checkpoint("fooo")


def test_an_empty_folder_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"there are none in .*Stable-diffusion"):
        Catalog(ModelFolders.below(tmp_path, tmp_path)).find_checkpoint("x")


def test_a_new_file_appears_after_refresh_and_changed_bytes_lose_their_hash(catalog: Catalog, models: Path) -> None:
    path = models / "Stable-diffusion" / "new.safetensors"
    path.write_bytes(b"1")
    assert len(catalog.titles()) == 3
    catalog.refresh()
    catalog.facts.computed("sha256", path, sha256)
    assert "new.safetensors [" in catalog.find_checkpoint("new").title
    path.write_bytes(b"22")
    catalog.refresh()
    assert catalog.find_checkpoint("new").title == "new.safetensors"


def test_hashing_happens_in_the_background_and_titles_follow(models: Path) -> None:
    facts = FileFacts(models / "cache" / "facts.sqlite")
    hasher = BackgroundHasher(facts)
    catalog = Catalog(ModelFolders.below(models, models), facts, hasher=hasher)
    ref = catalog.find_checkpoint("foo")
    hasher.wait()
    expected = hashlib.sha256(Path(ref.path).read_bytes()).hexdigest()
    assert catalog.find_checkpoint("foo").sha256 == expected
    again = Catalog(ModelFolders.below(models, models), FileFacts(models / "cache" / "facts.sqlite"))
    assert again.find_checkpoint("foo").sha256 == expected  # remembered across starts
    hasher.close()


def test_a_file_that_vanishes_while_hashing_does_not_stop_the_hasher(models: Path) -> None:
    facts, done = FileFacts(), []
    hasher = BackgroundHasher(facts, lambda path, digest: done.append(path.name))
    hasher.hash_soon(models / "gone.safetensors")
    hasher.hash_soon(models / "VAE" / "good.safetensors")
    hasher.wait()
    hasher.close()
    assert done == ["good.safetensors"]


def options(**values: object) -> GenerationOptions:
    return GenerationOptions(**values)


def test_the_vae_is_chosen_by_setting_then_preference_then_nearness(catalog: Catalog, models: Path) -> None:
    foo, b9 = catalog.find_checkpoint("foo"), catalog.find_checkpoint("B9")

    def chosen(ref: object, **values: object) -> str | None:
        vae = catalog.choose_vae(ref, options(**values))  # type: ignore[arg-type]
        return vae.name if vae else None

    assert chosen(foo) == "foo-vae.pt"  # starts with the checkpoint's stem
    assert chosen(catalog.find_checkpoint("b10")) == "b10.vae.pt"
    assert chosen(b9) is None
    assert chosen(foo, sd_vae="good.safetensors") == "good.safetensors"
    assert chosen(foo, sd_vae="None") is None
    Path(foo.path).with_suffix(".json").write_text(json.dumps({"vae": "good.safetensors"}))
    assert chosen(foo) == "good.safetensors"
    keeps_preferences = {"sd_vae": "foo-vae.pt", "sd_vae_overrides_per_model_preferences": False}
    assert chosen(foo, **keeps_preferences) == "good.safetensors"
    assert chosen(b9, **keeps_preferences) == "foo-vae.pt"
    Path(foo.path).with_suffix(".json").write_text(json.dumps({"vae": "None"}))
    assert chosen(foo) is None
    with pytest.raises(UnknownName, match="no VAE named"):
        chosen(foo, sd_vae="bad.safetensors")


def test_loras_are_found_by_alias_then_by_stem(models: Path) -> None:
    folder = models / "Lora"
    lora(folder, "file-a", ss_output_name="style")
    lora(folder, "file-b", ss_output_name="twice", ss_v2="True")
    lora(folder, "file-c", ss_output_name="Twice", ss_base_model_version="sdxl_base_v1-0")
    catalog = Catalog(ModelFolders.below(models, models))
    assert [catalog.find_lora(name).stem for name in ("style", "file-a", "file-b")] == ["file-a", "file-a", "file-b"]  # type: ignore[union-attr]
    assert catalog.find_lora("twice") is None  # two share it but for case: only the file's name tells them apart
    assert catalog.find_lora("nothing") is None
    assert [file.version for file in catalog.loras] == ["SD1", "SD2", "SDXL"]


def test_a_lora_that_came_since_is_found_without_refresh(models: Path) -> None:
    catalog = Catalog(ModelFolders.below(models, models))
    assert catalog.find_lora("late") is None
    lora(models / "Lora", "late")
    assert catalog.find_lora("late") is not None


def test_a_loras_hash_is_of_its_weights_alone_or_the_trainers_own(models: Path) -> None:
    first = lora(models / "Lora", "first", note="a")
    lora(models / "Lora", "second", note="another header")
    lora(models / "Lora", "third", sshs_model_hash="f" * 64)
    catalog = Catalog(ModelFolders.below(models, models))
    hashes = {file.stem: catalog.lora_hash(file) for file in catalog.loras}
    assert hashes["first"] == hashes["second"] and len(hashes["first"]) == 12
    assert hashes["first"] != sha256(first)[:12]
    assert hashes["third"] == "f" * 12


def test_a_lora_is_named_by_its_digits_as_far_as_they_are_known(models: Path) -> None:
    lora(models / "Lora", "kohya", sshs_model_hash="f" * 64, ss_output_name="style")
    lora(models / "Lora", "plain")
    database = models / "facts.sqlite3"
    catalog, worker = (Catalog(ModelFolders.below(models, models), FileFacts(database)) for _ in range(2))
    assert catalog.lora_named("f" * 12) == "style"
    assert catalog.lora_named("f" * 12, prefers_alias=False) == "kohya"
    (plain,) = (file for file in worker.loras if file.stem == "plain")
    digits = worker.lora_hash(plain)  # another process made a picture with it
    assert catalog.lora_named(digits) == "plain"
    assert catalog.lora_named("0" * 12) is None


def test_what_is_no_file_is_passed_over_whatever_its_name(models: Path) -> None:
    """Among them a link to itself, which the system refuses to follow."""
    folder, before = models / "Stable-diffusion", Catalog(ModelFolders(checkpoints=(models / "Stable-diffusion",)))
    (folder / "itself").symlink_to("itself")
    (folder / "itself.safetensors").symlink_to("itself.safetensors")
    (folder / "gone.safetensors").symlink_to("nowhere.safetensors")
    (folder / "folder.safetensors").mkdir()
    os.mkfifo(folder / "pipe.safetensors")
    assert Catalog(before.folders).titles() == before.titles() != ()


def test_a_circle_of_links_is_walked_once(models: Path) -> None:
    (models / "Stable-diffusion" / "sub" / "back").symlink_to(models / "Stable-diffusion", target_is_directory=True)
    assert len(Catalog(ModelFolders.below(models, models)).titles()) == 3


def test_previews_and_hidden_folders_are_known(catalog: Catalog, models: Path) -> None:
    file = catalog.find_checkpoint_file("foo")
    assert file.preview is None and not file.is_hidden
    for name in ("foo.preview.png", "foo.jpg"):
        (file.path.parent / name).touch()
    assert file.preview == file.path.parent / "foo.preview.png"  # png comes before jpg
    hidden = models / "Stable-diffusion" / ".private" / "x.ckpt"
    hidden.parent.mkdir()
    hidden.touch()
    catalog.refresh()
    assert catalog.find_checkpoint_file("x").is_hidden


def test_broken_files_are_listed_like_others_and_listing_runs_no_pickle(models: Path) -> None:
    (models / "Lora").mkdir()
    (models / "Lora" / "evil.pt").write_bytes(b"cos\nsystem\n(S'touch flag'\ntR.")
    (models / "Lora" / "broken.safetensors").write_bytes(b"\xff" * 20)
    catalog = Catalog(ModelFolders.below(models, models))
    assert [file.stem for file in catalog.loras] == ["broken", "evil"]
    assert catalog.family_of(catalog.find_checkpoint_file("foo")) is None


def test_five_thousand_files_are_listed_in_two_seconds(tmp_path: Path) -> None:
    folders = [tmp_path / "Stable-diffusion" / str(number) for number in range(20)]
    for folder in folders:
        folder.mkdir(parents=True)
        for number in range(250):
            (folder / f"model {number}.safetensors").touch()
    started = time.process_time()
    catalog = Catalog(ModelFolders.below(tmp_path, tmp_path))
    assert len(catalog.titles()) == 5000
    assert catalog.find_checkpoint("7/model 249.safetensors")
    assert time.process_time() - started < 2


def test_the_catalog_needs_no_torch() -> None:
    code = (
        "import sys, pathlib; from modules.models.catalog import *; from modules.models.device import DevicePolicy;"
        "Catalog(ModelFolders.below(pathlib.Path('models'), pathlib.Path('embeddings'))).titles();"
        "import modules.models.families as f; f.register_all();"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
