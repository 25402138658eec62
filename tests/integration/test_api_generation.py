"""A1111's generation routes through real HTTP, with a real (tiny) checkpoint."""

from __future__ import annotations

import base64
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

SMALL = {"prompt": "a red apple", "steps": 2, "width": 64, "height": 64, "seed": 7, "sampler_name": "Euler"}


def decoded(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def photo():
    rows, columns = np.mgrid[0:64, 0:64]
    return Image.fromarray(np.stack([rows * 4, columns * 4, 255 - rows * 4], axis=2).astype(np.uint8))


def test_txt2img_answers_as_a1111_does(server):
    answer = server.post("/sdapi/v1/txt2img", {**SMALL, "batch_size": 2, "n_iter": 2}).json()
    assert len(answer["images"]) == 4
    assert decoded(answer["images"][0]).size == (64, 64)
    assert answer["parameters"]["cfg_scale"] == 7.0  # the echo holds the defaults
    info = json.loads(answer["info"])
    assert info["all_seeds"] == [7, 8, 9, 10]
    assert info["index_of_first_image"] == 0
    assert info["infotexts"][3] == decoded(answer["images"][3]).info["parameters"]
    assert "Seed: 10" in info["infotexts"][3]


def test_the_parts_of_a1111s_page_are_scripts_without_effect_as_there(server):
    listed = server.get("/sdapi/v1/scripts").json()
    known = {one["name"] for one in server.get("/sdapi/v1/script-info").json()}
    assert {"sampler", "seed", "refiner", "x/y/z plot"} <= set(listed["txt2img"]) <= known
    sent_back = {"Sampler": {"args": [20, "DPM++ 2M", "Karras"]}, "Seed": {"args": [7, False, -1, 0, 0, 0]}}
    plain, with_parts = (
        server.post("/sdapi/v1/txt2img", {**SMALL, **more}).json() for more in ({}, {"alwayson_scripts": sent_back})
    )
    assert with_parts["images"] == plain["images"]


def test_the_same_seed_gives_the_same_picture(server):
    first, second = (server.post("/sdapi/v1/txt2img", SMALL).json()["images"][0] for _ in range(2))
    assert first == second
    other = server.post("/sdapi/v1/txt2img", {**SMALL, "seed": 8}).json()["images"][0]
    assert decoded(other).tobytes() != decoded(first).tobytes()


def test_nothing_is_saved_unless_asked_and_then_where_a1111_saves(server):
    saved = list(server.log.parent.rglob("outputs/**/*.png"))
    server.post("/sdapi/v1/txt2img", SMALL)
    assert list(server.log.parent.rglob("outputs/**/*.png")) == saved
    answer = server.post("/sdapi/v1/txt2img", {**SMALL, "save_images": True, "send_images": False}).json()
    assert answer["images"] == []
    (new,) = set(server.log.parent.rglob("outputs/**/*.png")) - set(saved)
    assert new.parent.parent.name == "txt2img-images"
    assert new.name.endswith("-7.png")
    assert Image.open(new).info["parameters"].startswith("a red apple")


def test_img2img_changes_more_the_higher_the_denoising_strength(server, photo):
    body = {**SMALL, "steps": 10, "init_images": [encoded(photo)]}
    made = []
    for strength in (0.1, 0.2, 0.9):
        answer = server.post("/sdapi/v1/img2img", {**body, "denoising_strength": strength}).json()
        made.append(np.asarray(decoded(answer["images"][0]).convert("RGB")).astype(int))
        assert answer["parameters"]["init_images"] is None  # not echoed unless asked
    # a checkpoint of random weights does not give the source back, so the weakest change stands for it
    little, much = (np.abs(one - made[0]).mean() for one in made[1:])
    assert 0 < little < much


def test_inpainting_leaves_what_is_outside_the_mask_byte_for_byte(server, photo):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (24, 24, 40, 40))
    body = {
        **SMALL, "init_images": [encoded(photo)], "mask": encoded(mask), "mask_blur": 0, "inpaint_full_res": False,
        "inpainting_fill": 1, "denoising_strength": 0.9,
    }  # fmt: skip
    made = np.asarray(decoded(server.post("/sdapi/v1/img2img", body).json()["images"][0]).convert("RGB"))
    outside = np.asarray(mask) == 0
    assert (made[outside] == np.asarray(photo)[outside]).all()
    assert (made[~outside] != np.asarray(photo)[~outside]).any()


def test_override_settings_are_restored(server):
    before = server.get("/sdapi/v1/options").json()
    body = {**SMALL, "override_settings": {"CLIP_stop_at_last_layers": 2, "jpeg_quality": 60}}
    answer = server.post("/sdapi/v1/txt2img", body).json()
    assert "Clip skip: 2" in json.loads(answer["info"])["infotexts"][0]
    assert server.get("/sdapi/v1/options").json() == before


def test_infotext_fills_only_what_the_body_leaves_open(server):
    infotext = "a green pear\nNegative prompt: blurry\nSteps: 3, Sampler: Euler a, CFG scale: 5, Seed: 99, Size: 64x64"
    answer = server.post("/sdapi/v1/txt2img", {"infotext": infotext, "seed": 7}).json()
    info = json.loads(answer["info"])
    assert (info["prompt"], info["negative_prompt"], info["seed"]) == ("a green pear", "blurry", 7)
    assert (info["steps"], info["sampler_name"], info["cfg_scale"]) == (3, "Euler a", 5.0)


def test_a_bodys_own_variation_strength_stays_beside_an_infotext(server):
    infotext = "a green pear\nSteps: 2, Sampler: Euler, CFG scale: 5, Seed: 99, Size: 64x64"
    answer = server.post("/sdapi/v1/txt2img", {"infotext": infotext, "subseed_strength": 0.5}).json()
    assert "Variation seed strength: 0.5" in json.loads(answer["info"])["infotexts"][0]


@pytest.mark.parametrize(
    "change, status, words",
    [
        ({"sampler_name": "Eulr a"}, 422, 'did you mean "Euler a"'),
        ({"override_settings": {"sd_model_checkpoint": "no such model"}}, 422, "no checkpoint named"),
        ({"override_settings": {"CLIP_stop_at_last_layer": 2}}, 422, '"CLIP_stop_at_last_layers"'),
        ({"steps": 0}, 422, "steps"),
        ({"width": 1_000_000}, 422, "width"),
        ({"script_name": "no such script"}, 422, "Script 'no such script' not found"),
        ({"alwayson_scripts": {"no such script": {"args": []}}}, 422, "always on script no such script not found"),
        ({"enable_hr": True}, 422, "denoising_strength"),
    ],
)
def test_what_cannot_be_done_is_said_in_a1111s_error_shape(server, change, status, words):
    answer = server.post("/sdapi/v1/txt2img", {**SMALL, **change})
    assert answer.status == status
    assert set(answer.json()) == {"error", "detail", "body", "errors"}
    assert words in answer.json()["errors"]


@pytest.mark.parametrize(
    "picture, words", [("no base64!", "init_images"), (base64.b64encode(b"text").decode(), "not a picture")]
)
def test_a_source_that_is_no_picture_is_refused_by_name(server, picture, words):
    answer = server.post("/sdapi/v1/img2img", {**SMALL, "init_images": [picture]})
    assert answer.status == 422
    assert words in answer.json()["errors"]


@pytest.mark.parametrize(
    "path", ["/sdapi/v1/txt2img", "/sdapi/v1/options", "/sdapi/v1/create/embedding", "/api/v1/jobs"]
)
def test_text_that_no_file_can_hold_is_nobodys_failure(server, path):
    body = rb'{"prompt": "\ud800", "name": "\ud800", "force_task_id": "\udfff", "steps": 1, "width": 64, "height": 64}'
    assert server.ask("POST", path, body).status in (200, 422)
    assert server.get("/sdapi/v1/progress").status == 200


def test_img2img_without_a_source_is_404(server):
    answer = server.post("/sdapi/v1/img2img", SMALL)
    assert (answer.status, answer.json()["detail"]) == (404, "Init image not found")


def test_progress_is_seen_while_a_job_runs_and_interrupt_ends_it_early(server):
    idle = server.get("/sdapi/v1/progress").json()
    assert (idle["progress"], idle["state"]["job_count"]) == (0.0, 0)
    answers = []
    body = {**SMALL, "steps": 150, "force_task_id": "task-1"}
    thread = threading.Thread(target=lambda: answers.append(server.post("/sdapi/v1/txt2img", body)))
    thread.start()
    seen = []
    while thread.is_alive():
        progress = server.get("/sdapi/v1/progress").json()
        if progress["state"]["sampling_step"] > 0:
            seen.append(progress)
            internal = server.post("/internal/progress", {"id_task": "task-1"}).json()
            if len(seen) == 1:
                assert internal["active"]
                server.post("/sdapi/v1/interrupt")
        time.sleep(0.01)
    assert 0 < seen[0]["progress"] < 1
    assert seen[0]["state"]["sampling_steps"] == 150
    assert seen[0]["state"]["job"] == "task-1"
    assert answers[0].status == 200
    assert len(answers[0].json()["images"]) == 1  # what there was when it ended
    assert server.post("/internal/progress", {"id_task": "task-1"}).json()["completed"]


def test_a_client_that_goes_away_does_not_end_its_job(server):
    key = {"Idempotency-Key": "gone"}
    request = {"prompt": "a", "sampling": {"sampler": "Euler", "steps": 30}, "size": {"width": 64, "height": 64}}
    job = server.post("/api/v1/jobs", request, **key).json()
    assert server.post("/api/v1/jobs", request, **key).json()["id"] == job["id"]  # a retried submit is the same job
    stream = server.lines(f"/jobs/{job['id']}/events")
    stream.readline()
    stream.close()
    done = server.get(f"/api/v1/jobs/{job['id']}/result?wait=120").json()
    assert done["state"] == "done"
    assert len(done["images"]) == 1


def test_events_can_be_taken_up_again_where_they_were_lost(server):
    request = {"prompt": "b", "sampling": {"sampler": "Euler", "steps": 3}, "size": {"width": 64, "height": 64}}
    job = server.post("/api/v1/jobs", request).json()
    events = _events(server.lines(f"/jobs/{job['id']}/events"))
    assert [event["event"] for event in events][-2:] == ["image", "done"]
    after_start = next(event["id"] for event in events if event["event"] == "started")
    again = _events(server.lines(f"/jobs/{job['id']}/events", **{"Last-Event-ID": after_start}))
    assert "started" not in {event["event"] for event in again}
    assert again[-1]["data"]["images"][0]["url"] == events[-1]["data"]["images"][0]["url"]


def test_a_finished_picture_is_served_with_its_thumbnail(server):
    job = server.post(
        "/api/v1/jobs", {"prompt": "c", "sampling": {"steps": 2}, "size": {"width": 64, "height": 64}}
    ).json()
    (image,) = server.get(f"/api/v1/jobs/{job['id']}/result?wait=120").json()["images"]
    answer = server.get(image["url"])
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(answer.content)).info["parameters"] == image["infotext"]
    assert Image.open(io.BytesIO(server.get(image["thumb"]).content)).format == "WEBP"
    download = server.get(image["url"] + "?download=1").headers["content-disposition"]
    assert download.startswith("attachment") and ".png" in download


def test_prompts_from_file_makes_one_picture_a_line(server):
    body = {
        **SMALL, "prompt": "", "script_name": "prompts from file or textbox",
        "script_args": [True, False, "start", "a dog\n--prompt a big cat --steps 3\n--seed nonsense"],
    }  # fmt: skip
    info = json.loads(server.post("/sdapi/v1/txt2img", body).json()["info"])
    assert info["all_prompts"] == ["a dog", "a big cat", "--seed nonsense"]
    assert info["all_seeds"] == [7, 8, 9]
    assert "Steps: 3" in info["infotexts"][1]


def test_loopback_runs_on_its_own_result(server, photo):
    body = {
        **SMALL, "init_images": [encoded(photo)], "denoising_strength": 0.4, "script_name": "Loopback",
        "script_args": [3, 0.8, "Linear", "None"],
    }  # fmt: skip
    answer = server.post("/sdapi/v1/img2img", body).json()
    infotexts = json.loads(answer["info"])["infotexts"]
    assert [
        f"Denoising strength: {value}" in text
        for value, text in zip(("0.4", "0.6", "0.8"), infotexts[-3:], strict=True)
    ] == [True] * 3
    assert all("Final denoising strength: 0.8" in text for text in infotexts[-3:])
    assert decoded(answer["images"][0]).size == (192, 64)  # the grid, all loops in one row


def _events(stream):
    events, event = [], {}
    for line in stream:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name in ("id", "event"):
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)
        elif not name and event:
            events.append(event)
            event = {}
    return events


def test_pictures_come_in_the_format_of_the_settings_with_their_infotext(server):
    body = {**SMALL, "override_settings": {"samples_format": "webp"}}
    image = decoded(server.post("/sdapi/v1/txt2img", body).json()["images"][0])
    assert image.format == "WEBP"
    assert "Seed: 7" in image.getexif().get_ifd(0x8769)[0x9286][8:].decode("utf-16-be")


@pytest.mark.parametrize("key", ["samples_format", "grid_format"])
def test_a_format_that_pictures_are_not_made_in_is_refused_before_anything_is_made(server, key):
    jobs = len(server.get("/jobs").json())
    refused = server.post("/sdapi/v1/txt2img", {**SMALL, "override_settings": {key: "bmp"}})
    assert refused.status == 422
    told = f"the setting \"{key}\" cannot be 'bmp': pictures are written as png, jpg, webp, avif"
    assert refused.json()["detail"] == told
    assert len(server.get("/jobs").json()) == jobs
    assert server.post("/sdapi/v1/options", {key: "gif"}).status == 422
    assert server.get("/sdapi/v1/options").json()[key] == "png"


def test_png_info_reads_back_what_was_written(server):
    image = server.post("/sdapi/v1/txt2img", SMALL).json()["images"][0]
    answer = server.post("/sdapi/v1/png-info", {"image": image}).json()
    assert answer["info"] == decoded(image).info["parameters"]
    parameters = answer["parameters"]
    assert (parameters["Prompt"], parameters["Seed"], parameters["Size-1"]) == ("a red apple", "7", "64")
    assert parameters["Clip skip"] == "1"  # a gap, filled in as A1111 does
    assert server.post("/sdapi/v1/png-info", {"image": ""}).status == 422


def test_choosing_a_checkpoint_by_any_of_its_names_loads_it(server):
    models = server.get("/sdapi/v1/sd-models").json()
    server.post("/sdapi/v1/options", {"sd_model_checkpoint": models[-1]["model_name"]})

    def is_named_as_in_the_list():  # asked again where the file was hashed between the two answers
        listed = server.get("/sdapi/v1/sd-models").json()[-1]["title"]
        return server.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == listed

    server.wait_for(is_named_as_in_the_list)
    server.wait_for(lambda: server.get("/worker").json()["model"] == models[-1]["model_name"])
    empty = {"override_settings": {"sd_model_checkpoint": ""}}  # what clients send for "the one in use"
    made = json.loads(server.post("/sdapi/v1/txt2img", {**SMALL, **empty}).json()["info"])
    assert made["sd_model_name"] == models[-1]["model_name"]
    refused = server.post("/sdapi/v1/options", {"sd_model_checkpoint": "no such model"})
    assert refused.status == 422
    assert "no checkpoint named" in refused.json()["errors"]


@pytest.mark.parametrize("chosen", [None, "gone.safetensors"])
def test_the_options_name_the_checkpoint_in_use_as_the_list_does_also_where_none_was_chosen(start, tmp_path, chosen):
    (tmp_path / "config.json").write_text(json.dumps({"sd_model_checkpoint": chosen}))
    server = start("--nowebui")

    def is_first_of_the_list():  # asked again where the file was hashed between the two answers
        first, options = server.get("/sdapi/v1/sd-models").json()[0], server.get("/sdapi/v1/options").json()
        named = (options["sd_model_checkpoint"], options["sd_checkpoint_hash"])
        return named == (first["title"], first["sha256"] or "")

    server.wait_for(is_first_of_the_list, timeout=30)
