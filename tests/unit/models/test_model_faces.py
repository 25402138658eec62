"""Which files restore faces: told by their tensors, and what is said while one is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modules.errors import UnknownName
from modules.models.catalog import Catalog
from modules.models.faces import restorer
from modules.models.places import ModelFolders
from modules.settings.flags import Flags
from tests.support import faces


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def found(models: Path, **flags: str):
    return Catalog(ModelFolders.of(Flags(models_dir=str(models), **flags))).faces


def detector() -> faces.Tensors:
    body, taken = faces.mobile_body(first=4, stages=((4, 4, 4, 4, 4), (4,), (4,)))
    return faces.patterned(faces.retinaface_layout(body, taken, width=8))


def large_detector() -> faces.Tensors:
    return faces.patterned(faces.retinaface_layout(*faces.residual_body(), width=8))


@pytest.mark.parametrize("manner", ["zip", "before 1.6", "safetensors"])
def test_files_are_told_by_their_tensors_whatever_they_are_called(models: Path, manner: str) -> None:
    networks = {
        "a": faces.patterned(faces.codeformer_layout(halvings=1)),
        "b": faces.patterned(faces.gfpgan_layout(side=16)),
        "c": detector(),
        "d": faces.patterned(faces.parsenet_layout()),
        "e": {"conv_first.weight": torch.zeros(2, 3, 3, 3)},
    }
    folder = models / "GFPGAN"
    folder.mkdir(parents=True)
    for name, tensors in networks.items():
        if manner == "safetensors":
            save_file(tensors, folder / f"{name}.safetensors")
        else:
            path = folder / f"{name}.pth"
            torch.save({"params_ema": tensors}, path, _use_new_zipfile_serialization=manner == "zip")
    files = found(models)
    assert {name: path.stem for name, path in files.networks.items()} == {"CodeFormer": "a", "GFPGAN": "b"}
    assert (files.detector.stem, files.parser.stem) == ("c", "d")
    assert files.names == ("CodeFormer", "GFPGAN")


def test_of_several_files_the_newest_network_and_the_larger_detector_are_used(models: Path) -> None:
    small = faces.patterned(faces.gfpgan_layout(side=16))
    faces.write(models / "GFPGAN", GFPGANv1_3=small, detection_mobilenet=detector())
    torch.save(small, models / "GFPGAN" / "GFPGANv1.4.pth")
    faces.write(models / "Codeformer", detection_Resnet50_Final=large_detector())
    files = found(models)
    assert files.networks["GFPGAN"].name == "GFPGANv1.4.pth"
    assert files.detector.name == "detection_Resnet50_Final.pth"
    assert found(models, gfpgan_model="GFPGANv1.3.pth").networks["GFPGAN"].name == "GFPGANv1.3.pth"


def test_a1111s_flags_add_folders(models: Path, tmp_path: Path) -> None:
    faces.write(tmp_path / "elsewhere", GFPGANv1_4=faces.patterned(faces.gfpgan_layout(side=16)))
    faces.write(tmp_path / "src" / "weights", detection=detector())
    assert found(models).names == ()
    files = found(models, gfpgan_models_path=str(tmp_path / "elsewhere"), gfpgan_dir=str(tmp_path / "src"))
    assert files.names == ("GFPGAN",)
    assert "into " + str(tmp_path / "mine") in found(models, codeformer_models_path=str(tmp_path / "mine")).problem(
        "CodeFormer"
    )


def test_what_is_missing_is_said_by_name_and_folder(models: Path) -> None:
    nothing = found(models)
    assert nothing.problem("GFPGAN") == (
        "GFPGAN cannot restore faces yet: put GFPGANv1.4.pth and detection_Resnet50_Final.pth, which finds faces, into "
        f"{models / 'GFPGAN'}"
    )
    faces.write(models / "GFPGAN", detection=detector())
    assert found(models).problem("CodeFormer") == (
        f"CodeFormer cannot restore faces yet: put codeformer-v0.1.0.pth into {models / 'Codeformer'}"
    )
    assert "detection_Resnet50_Final.pth" in nothing.detector_problem and found(models).detector_problem is None


def test_what_came_or_was_replaced_is_found_without_being_told(models: Path) -> None:
    folder = faces.write(models / "GFPGAN", file={"conv.weight": torch.zeros(1)})
    catalog = Catalog(ModelFolders.of(Flags(models_dir=str(models))))
    assert catalog.faces.count == 0
    faces.write(folder, file=detector())
    faces.write(models / "Codeformer", new=faces.patterned(faces.codeformer_layout(halvings=1)))
    assert catalog.faces.names == ("CodeFormer",)


def test_restorers_are_known_in_any_case_and_others_suggest_the_nearest() -> None:
    assert restorer("codeformer ") == "CodeFormer"
    with pytest.raises(UnknownName, match='did you mean "GFPGAN"'):
        restorer("GPFGAN")


def test_folders_reach_a_worker_as_json(models: Path) -> None:
    folders = ModelFolders.of(Flags(models_dir=str(models), gfpgan_model="GFPGANv1.3.pth", codeformer_models_path="/c"))
    assert ModelFolders.from_json(folders.to_json()) == folders
