"""A1111's Extras routes through real HTTP."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from tests.integration.test_api_generation import SMALL, decoded, encoded
from tests.support import faces
from tests.support.upscalers import real_esrgan


@pytest.fixture(scope="module")
def photo():
    return Image.merge("RGB", [Image.linear_gradient("L").resize((100, 60)).rotate(turn) for turn in (0, 90, 180)])


def test_a_single_picture_is_enlarged_by_the_factor_and_says_so(server, photo):
    body = {"image": encoded(photo), "upscaler_1": "Lanczos", "upscaling_resize": 3}
    answer = server.post("/sdapi/v1/extra-single-image", body).json()
    assert set(answer) == {"html_info", "image"}
    image = decoded(answer["image"])
    assert image.size == (296, 176)  # both sides down to multiples of 8, as in A1111
    assert image.text["postprocessing"] == "Postprocess upscale by: 3, Postprocess upscaler: Lanczos"
    assert image.text["postprocessing"] in answer["html_info"]


def test_the_default_factor_is_two_and_a_size_is_filled_exactly(server, photo):
    by = server.post("/sdapi/v1/extra-single-image", {"image": encoded(photo), "upscaler_1": "Nearest"}).json()
    assert decoded(by["image"]).size == (200, 120)
    to = {"resize_mode": 1, "upscaling_resize_w": 300, "upscaling_resize_h": 250, "upscaler_1": "lanczos"}
    filled = server.post("/sdapi/v1/extra-single-image", {"image": encoded(photo), **to}).json()
    assert decoded(filled["image"]).size == (300, 250)


def test_a_pictures_own_parameters_stay_and_gain_what_was_done_to_it(server):
    made = server.post("/sdapi/v1/txt2img", SMALL).json()["images"][0]
    answer = server.post("/sdapi/v1/extra-single-image", {"image": made, "upscaler_1": "Lanczos"}).json()
    image = decoded(answer["image"])
    assert image.text["parameters"] == decoded(made).text["parameters"]
    said = server.post("/sdapi/v1/png-info", {"image": answer["image"]}).json()
    assert said["items"]["postprocessing"].startswith("Postprocess upscale by: 2")


def test_a_batch_answers_in_order(server, photo):
    listed = [{"data": encoded(photo), "name": "a.png"}, {"data": encoded(photo.resize((50, 50))), "name": "b.png"}]
    answer = server.post("/sdapi/v1/extra-batch-images", {"imageList": listed, "upscaler_1": "Lanczos"}).json()
    assert [decoded(one).size for one in answer["images"]] == [(200, 120), (96, 96)]


def test_nothing_is_saved(server, photo):
    server.post("/sdapi/v1/extra-single-image", {"image": encoded(photo), "upscaler_1": "Lanczos"})
    assert not (server.log.parent / "outputs" / "extras-images").exists()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"upscaler_1": "Lanszos"}, "did you mean"),
        ({"image": "no picture"}, "image"),
        ({"gfpgan_visibility": 1}, "put GFPGANv1.4.pth and detection_Resnet50_Final.pth"),
        ({"codeformer_visibility": 0.5}, "put codeformer-v0.1.0.pth and detection_Resnet50_Final.pth"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(server, photo, change, words):
    answer = server.post("/sdapi/v1/extra-single-image", {"image": encoded(photo), "upscaler_1": "Lanczos", **change})
    assert answer.status == 422 and words in answer.json()["detail"]


@pytest.fixture(scope="module")
def network(server):
    """An ESRGAN file in its folder, found by a refresh; small, with random weights that keep the picture."""
    folder = server.log.parent / "models" / "RealESRGAN"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"params_ema": real_esrgan()}, folder / "RealESRGAN_x4plus.pth")
    server.post("/sdapi/v1/refresh-checkpoints")
    yield "R-ESRGAN 4x+"
    (folder / "RealESRGAN_x4plus.pth").unlink()
    server.post("/sdapi/v1/refresh-checkpoints")


def test_a_network_from_a_file_enlarges_a_picture_without_seams(server, photo, network):
    assert network in [one["name"] for one in server.get("/sdapi/v1/upscalers").json()]
    before = server.get("/sdapi/v1/options").json()["ESRGAN_tile"]
    results = []
    for tile in (0, 48):
        server.post("/sdapi/v1/options", {"ESRGAN_tile": tile})
        body = {"image": encoded(photo), "upscaler_1": network, "upscaling_resize": 4}
        results.append(decoded(server.post("/sdapi/v1/extra-single-image", body).json()["image"]))
    server.post("/sdapi/v1/options", {"ESRGAN_tile": before})
    whole, tiled = results
    assert whole.size == (400, 240) and whole.text["postprocessing"].endswith("Postprocess upscaler: R-ESRGAN 4x+")
    assert np.asarray(ImageChops.difference(whole, tiled)).max() <= 12  # of 255
    assert np.asarray(ImageChops.difference(whole, photo.resize(whole.size))).mean() < 60


@pytest.fixture(scope="module")
def restorers(server):
    """GFPGAN and CodeFormer that paint a face in the middle of every picture, three quarters as large."""
    folder = server.log.parent / "models" / "GFPGAN"
    faces.write(
        folder,
        GFPGANv1_4=faces.painting_gfpgan((-1.0, 0.0, 1.0)),
        codeformer=faces.painting_codeformer((1.0, 1.0, -1.0)),
        detection=faces.planted_detector(always_at=(320, 320), side=480),
    )
    server.post("/sdapi/v1/refresh-checkpoints")
    yield folder
    for file in folder.iterdir():
        file.unlink()
    server.post("/sdapi/v1/refresh-checkpoints")


def test_faces_are_restored_in_extras_as_visible_as_asked(server, restorers):
    listed = server.get("/sdapi/v1/face-restorers").json()
    assert listed == [{"name": name, "cmd_dir": str(restorers)} for name in ("CodeFormer", "GFPGAN")]
    grey = Image.new("RGB", (128, 128), (100, 100, 100))
    body = {"image": encoded(grey), "gfpgan_visibility": 0.5}
    image = decoded(server.post("/sdapi/v1/extra-single-image", body).json()["image"])
    assert image.size == grey.size
    assert image.getpixel((64, 64)) == pytest.approx((50, 114, 178), abs=1) and image.getpixel((5, 64)) == (100,) * 3
    assert image.text["postprocessing"] == "GFPGAN visibility: 0.5"
    body = {**body, "gfpgan_visibility": 1, "codeformer_visibility": 1, "codeformer_weight": 0.3}
    image = decoded(server.post("/sdapi/v1/extra-single-image", body).json()["image"])
    assert image.getpixel((64, 64)) == (255, 255, 0)  # CodeFormer comes last
    said = "GFPGAN visibility: 1, CodeFormer visibility: 1, CodeFormer weight: 0.3"
    assert image.text["postprocessing"] == said


@pytest.mark.parametrize("source", [{}, {"init_images": True}])
def test_faces_are_restored_in_generation_and_the_infotext_makes_the_picture_again(server, restorers, source):
    route = "img2img" if source else "txt2img"
    start = {"init_images": [encoded(Image.new("RGB", (128, 128), (90, 120, 60)))]} if source else {}
    asked = {**SMALL, **start, "width": 128, "height": 128, "restore_faces": True}
    by = {"override_settings": {"face_restoration_model": "GFPGAN"}}
    answer = server.post(f"/sdapi/v1/{route}", {**asked, **by}).json()
    restored = decoded(answer["images"][0])
    assert restored.getpixel((64, 64)) == (0, 127, 255)
    assert "Face restoration: GFPGAN" in restored.text["parameters"]
    info = json.loads(answer["info"])
    assert (info["restore_faces"], info["face_restoration_model"]) == (True, "GFPGAN")
    plain = decoded(server.post(f"/sdapi/v1/{route}", {**asked, "restore_faces": False}).json()["images"][0])
    assert plain.getpixel((64, 64)) != (0, 127, 255) and plain.crop((0, 0, 128, 12)).tobytes() == (
        restored.crop((0, 0, 128, 12)).tobytes()
    )
    if not source:
        again = server.post("/sdapi/v1/txt2img", {"infotext": restored.text["parameters"]}).json()
        assert decoded(again["images"][0]).tobytes() == restored.tobytes()


def test_hires_fix_enlarges_with_a_network_and_says_which(server, network):
    hires = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": network, "denoising_strength": 0.3}
    answers = [
        server.post("/sdapi/v1/txt2img", {**SMALL, **hires, "hr_upscaler": name}) for name in (network, "Lanczos")
    ]
    pictures = [decoded(answer.json()["images"][0]) for answer in answers]
    assert pictures[0].size == tuple(2 * SMALL[side] for side in ("width", "height"))
    assert f"Hires upscaler: {network}" in pictures[0].text["parameters"]
    assert pictures[0].tobytes() != pictures[1].tobytes()
