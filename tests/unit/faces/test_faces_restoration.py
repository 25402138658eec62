"""Faces found, restored and put back, with small networks in the real files' layouts whose answers are planted."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modules.errors import ModelFileBroken, ModelFileUnsafe, NotANumber, NotEnoughMemory, UnknownName
from modules.faces import restoration
from modules.faces.restoration import FaceRestorer
from modules.images.faces import TEMPLATE
from modules.models.catalog import Catalog
from modules.models.places import ModelFolders
from tests.support import faces
from tests.support.pretended_device import pretended_device

CPU = torch.device("cpu")
PAINT = (-1.0, 0.0, 1.0)
PAINTED = (0, 127, 255)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    faces.write(folder / "GFPGAN", GFPGANv1_4=faces.painting_gfpgan(PAINT), detection=faces.planted_detector())
    faces.write(folder / "Codeformer", codeformer=faces.painting_codeformer(PAINT))
    return folder


def restorer(models: Path) -> FaceRestorer:
    catalog = Catalog(ModelFolders.below(models, models))
    return FaceRestorer(lambda: catalog.faces, lambda part: CPU)


def marked(*corners: tuple[int, int], size: tuple[int, int] = (800, 640)) -> Image.Image:
    """A grey picture with a purely red square of 8 pixels at each corner (x, y)."""
    image = Image.new("RGB", size, (90, 90, 90))
    for x, y in corners:
        image.paste((255, 0, 0), (x, y, x + 8, y + 8))
    return image


def test_a_face_is_found_where_it_is_with_its_five_points(models: Path) -> None:
    far, near = restorer(models).find(marked((160, 240), (560, 400)))
    for face, (x, y) in zip(sorted((far, near), key=lambda face: face.box), ((164, 244), (564, 404)), strict=True):
        half = faces.FACE_SIDE / 2
        assert face.box == pytest.approx((x - half, y - half, x + half, y + half), abs=0.01)
        assert face.points == pytest.approx((TEMPLATE / 512 - 0.5) * faces.FACE_SIDE + (x, y), abs=0.01)
        assert face.score > 0.99


def test_places_are_those_of_the_picture_however_large_it_is(models: Path) -> None:
    (face,) = restorer(models).find(marked((160, 240)).resize((1600, 1280), Image.Resampling.NEAREST))
    assert face.box == pytest.approx((232, 392, 424, 584), abs=0.02)


def test_of_faces_that_overlap_one_stays(models: Path) -> None:
    assert len(restorer(models).find(marked((160, 240), (176, 248)))) == 1


@pytest.mark.parametrize("name", ["GFPGAN", "CodeFormer"])
def test_every_face_is_restored_exactly_where_it_is_and_nothing_else(models: Path, name: str) -> None:
    image = marked((160, 240), (560, 400))
    restored = restorer(models).restore(image, name, weight=0.5)
    assert restored.faces == 2
    before, after = (np.asarray(one).astype(int) for one in (image, restored.image))
    changed = np.abs(after - before).max(axis=2) > 0
    half = int(faces.FACE_SIDE) // 2
    inside = np.zeros_like(changed)
    for x, y in ((164, 244), (564, 404)):
        inside[y - half : y + half + 1, x - half : x + half + 1] = True
        assert tuple(after[y, x]) == PAINTED
        assert changed[y - half + 8 : y + half - 8, x - half + 8 : x + half - 8].all()
    assert not changed[~inside].any()


def test_a_parser_lets_only_the_face_itself_be_pasted(models: Path, tmp_path: Path) -> None:
    for part in ("GFPGAN", "Codeformer"):
        (tmp_path / part).symlink_to(models / part)
    parser = {name: torch.zeros(shape) for name, shape in faces.parsenet_layout().items()}
    parser["out_mask_conv.conv2d.bias"][0] = 1.0  # all of it is background
    faces.write(tmp_path / "more", parsing_parsenet=parser)
    folders = ModelFolders(gfpgan=(models / "GFPGAN", tmp_path / "more"))
    with_parser = FaceRestorer(lambda: Catalog(folders).faces, lambda part: CPU)
    image = marked((160, 240))
    assert with_parser.restore(image, "GFPGAN").image.tobytes() == image.tobytes()


def test_a_picture_without_a_face_comes_back_as_it_was(models: Path) -> None:
    image = marked()
    restored = restorer(models).restore(image, "GFPGAN")
    assert restored.faces == 0 and restored.image.tobytes() == image.tobytes()


def test_very_long_and_very_small_pictures_are_searched_too(models: Path) -> None:
    assert restorer(models).find(Image.new("RGB", (8, 3000))) == ()
    assert restorer(models).find(Image.new("RGB", (1, 1))) == ()


def test_networks_are_read_once_and_let_go_where_that_is_asked(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    read = restoration.read_tensors
    monkeypatch.setattr(restoration, "read_tensors", lambda path: opened.append(path.stem) or read(path))
    one = restorer(models)
    for _ in range(2):
        one.restore(marked((160, 240)), "GFPGAN")
    assert sorted(opened) == ["GFPGANv1.4", "detection"]
    assert {(kept.name, kept.family) for kept in one.report()} == {
        ("GFPGANv1.4", "GFPGAN"),
        ("detection", "RetinaFace"),
    }
    one.restore(marked((160, 240)), "GFPGAN", keep=False)
    assert one.report() == ()
    one.restore(marked((160, 240)), "GFPGAN")
    assert len(opened) == 4


def test_what_is_missing_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"GFPGANv1\.4\.pth and detection_Resnet50_Final\.pth"):
        restorer(tmp_path).restore(marked(), "GFPGAN")
    with pytest.raises(UnknownName, match=r"detection_Resnet50_Final\.pth"):
        restorer(tmp_path).find(marked())


def test_a_damaged_file_is_named(models: Path, tmp_path: Path) -> None:
    broken = faces.painting_gfpgan(PAINT)
    del broken["final_conv.bias"]
    faces.write(tmp_path / "GFPGAN", GFPGANv1_4=broken, detection=faces.planted_detector())
    with pytest.raises(ModelFileBroken, match=r"GFPGANv1\.4\.pth: cannot be used for faces: .*final_conv\.bias"):
        restorer(tmp_path).restore(marked((160, 240)), "GFPGAN")


class Code:
    def __reduce__(self) -> tuple:
        return print, ("ran",)


def test_code_in_a_file_is_never_run(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "GFPGAN").mkdir()
    torch.save({"ClassHead.0.": Code(), "body.stage1.": 1}, tmp_path / "GFPGAN" / "detection.pth", pickle_module=pickle)
    with pytest.raises(ModelFileUnsafe, match="print"):
        restorer(tmp_path).find(marked())
    assert "ran" not in capsys.readouterr().out


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    paints_nothing = faces.painting_gfpgan((float("nan"), 0.0, 0.0))
    faces.write(tmp_path / "GFPGAN", GFPGANv1_4=paints_nothing, detection=faces.planted_detector())
    with pytest.raises(NotANumber, match="NaN"):
        restorer(tmp_path).restore(marked((160, 240)), "GFPGAN")


def test_a_device_makes_the_picture_of_the_processor_and_keeps_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, image = Catalog(ModelFolders.below(models, models)), marked((160, 240))
    expected = restorer(models).restore(image, "GFPGAN").image
    with pretended_device() as device:
        one = FaceRestorer(lambda: catalog.faces, lambda part: device)
        went, back = [], one._on
        monkeypatch.setattr(one, "_on", lambda network, to, work: went.append(to) or back(network, to, work))
        made = one.restore(image, "GFPGAN").image
        kept = {parameter.device.type for network in one._networks.values() for parameter in network.parameters()}
    assert made.tobytes() == expected.tobytes()
    assert went == [device, device] and kept == {"cpu"}


def test_a_device_with_too_little_memory_gives_way_to_the_processor(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, tried = Catalog(ModelFolders.below(models, models)), []
    one = FaceRestorer(lambda: catalog.faces, lambda part: torch.device("meta"))
    work = one._on

    def on(network, device, wanted):
        tried.append(device.type)
        if device.type == "meta":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(network, device, wanted)

    monkeypatch.setattr(one, "_on", on)
    assert one.restore(marked((160, 240)), "GFPGAN").faces == 1
    assert tried == ["meta", "cpu", "cpu"]
    monkeypatch.setattr(one, "_on", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(NotEnoughMemory, match="smaller picture"):
        one.restore(marked((160, 240)), "GFPGAN")
