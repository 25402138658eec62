"""A1111's routes around the making of pictures, through HTTP: what clients ask, create, and switch."""

from __future__ import annotations

import base64
import io
import json
import struct
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.support.server import Client, RunningServer

SMALL = {"prompt": "a red apple", "width": 64, "height": 64, "steps": 2, "sampler_name": "Euler", "seed": 1}


def picture(size=(8, 8)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server of this file's own, with a LoRA that has a cover, and stopping through the API allowed."""
    data = tmp_path_factory.mktemp("routes")
    loras = data / "models" / "Lora"
    loras.mkdir(parents=True)
    header = json.dumps(
        {"__metadata__": {"ssmd_cover_images": json.dumps([picture()]), "ss_output_name": "style"}}
    ).encode()
    (loras / "style.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    Image.new("RGB", (8, 8), "blue").save(loras / "style.preview.png")
    running = RunningServer(data, "--nowebui", "--api-server-stop", "--api-auth", "anna:secret,bert:hidden")
    running.headers["Authorization"] = "Basic " + base64.b64encode(b"anna:secret").decode()
    running.data = data
    running.wait_until_ready()
    yield running
    if running.process.poll() is None:
        running.stop()


def test_a_new_embedding_is_written_listed_and_changes_the_picture(own):
    asked = {"name": "apple*/", "num_vectors_per_token": 2, "init_text": "apple tree"}
    answer = own.post("/sdapi/v1/create/embedding", asked)
    assert answer.json() == {"info": f"create embedding filename: {own.data / 'embeddings' / 'apple.pt'}"}
    listed = own.get("/sdapi/v1/embeddings").json()
    new = {"step": 0, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": listed["loaded"]["apple"]["shape"]}
    assert listed == {"loaded": {"apple": {**new, "vectors": 2}}, "skipped": {}}
    assert new["shape"] > 1
    plain, with_it = (own.post("/sdapi/v1/txt2img", {**SMALL, "prompt": text}).json() for text in ("a", "a apple"))
    assert 'TI hashes: "apple: ' in json.loads(with_it["info"])["infotexts"][0]
    assert plain["images"] != with_it["images"]


def test_an_embedding_that_is_there_is_kept_unless_it_is_to_be_overwritten(own):
    asked = {"name": "twice", "init_text": ""}
    first = own.data / "embeddings" / "twice.pt"
    own.post("/sdapi/v1/create/embedding", asked)
    before = first.read_bytes()
    again = own.post("/sdapi/v1/create/embedding", {**asked, "init_text": "other"})
    assert again.json()["info"].startswith("create embedding error: file twice.pt already exists")
    assert first.read_bytes() == before
    own.post("/sdapi/v1/create/embedding", {**asked, "init_text": "other", "overwrite_old": True})
    assert first.read_bytes() != before


@pytest.mark.parametrize("name", ["../../escape", "..", "", "///", "x" * 300])
def test_a_name_cannot_lead_out_of_the_folder(own, name):
    before = {path for path in own.data.rglob("*.pt")}
    answer = own.post("/sdapi/v1/create/embedding", {"name": name})
    new = {path for path in own.data.rglob("*.pt")} - before
    assert all(path.parent == own.data / "embeddings" for path in new)
    assert new or "no name for a file" in answer.json()["detail"]


def test_a_new_hypernetwork_is_written_and_used(own):
    asked = {"name": "style", "enable_sizes": [32, 64, 128, 768], "activation_func": "mish", "add_layer_norm": True}
    answer = own.post("/sdapi/v1/create/hypernetwork", {**asked, "use_dropout": True})
    path = own.data / "models" / "hypernetworks" / "style.pt"
    assert answer.json() == {"info": f"create hypernetwork filename: {path}"}
    assert own.get("/sdapi/v1/hypernetworks").json() == [{"name": "style", "path": str(path)}]
    used = own.post("/sdapi/v1/txt2img", {**SMALL, "prompt": "a <hypernet:style:1>"})
    assert used.status == 200, used.content
    wrong = own.post("/sdapi/v1/create/hypernetwork", {"name": "wrong", "layer_structure": [2, 1]})
    assert "must begin and end with 1" in wrong.json()["info"]


@pytest.mark.parametrize("what", ["embedding", "hypernetwork"])
def test_training_says_that_it_is_not_there(own, what):
    answer = own.post(f"/sdapi/v1/train/{what}", {"learn_rate": "0.005"})
    assert (answer.status, answer.json()["error"]) == (501, "HTTPException")
    assert "training is not built in" in answer.json()["detail"]


def test_interrogating_answers_as_a1111_does_for_what_is_missing(own):
    for body, status, words in (
        ({}, 404, "Image not found"),
        ({"image": picture(), "model": "owl"}, 404, 'no model "owl"'),
        ({"image": "????"}, 422, "image: "),
        ({"image": picture()}, 501, "a BLIP model is needed"),
    ):
        answer = own.post("/sdapi/v1/interrogate", body)
        assert (answer.status, words in answer.json()["detail"]) == (status, True), answer.content


def test_pictures_by_address_are_off_and_stay_off_through_the_api(own):
    body = {**SMALL, "init_images": [f"{own.url}/nothing.png"]}
    assert "switch the setting api_enable_requests on" in own.post("/sdapi/v1/img2img", body).json()["detail"]
    own.post("/sdapi/v1/options", {"api_enable_requests": True})
    for stays in (True, False):
        on = {"override_settings": {"api_enable_requests": True}, "override_settings_restore_afterwards": stays}
        assert own.post("/sdapi/v1/txt2img", {**SMALL, **on}).status == 200
    assert own.get("/sdapi/v1/options").json()["api_enable_requests"] is False


def test_who_waits_for_the_busy_worker_keeps_nobody_else_from_being_answered(own):
    job = own.post("/api/v1/jobs", {"prompt": "long", "size": {"width": 64, "height": 64}, "save": False,
                                    "sampling": {"steps": 150}, "batch": {"count": 200}}).json()["id"]  # fmt: skip
    answers = []
    asking = [
        threading.Thread(target=lambda path=path: answers.append(own.post(f"/sdapi/v1/{path}").status))
        for path in ("unload-checkpoint", "reload-checkpoint") * 30
    ]
    try:
        own.wait_for(lambda: own.get(f"/jobs/{job}").json()["step"] > 0)
        for thread in asking:
            thread.start()
        own.wait_for(lambda: sum(thread.is_alive() for thread in asking) > 50)
        started = time.monotonic()
        memory = own.get("/sdapi/v1/memory").json()
        assert memory["ram"]["used"] > 0  # A1111 tells it while it makes pictures, too
        assert own.get("/sdapi/v1/progress").json()["state"]["job"] == job
        assert time.monotonic() - started < 5
        assert own.get(f"/jobs/{job}").json()["state"] == "running"
    finally:
        own.post("/sdapi/v1/interrupt")
        for thread in asking:
            thread.join(120)
    assert answers == [200] * len(asking)


@pytest.mark.parametrize("field", ["styles", "sampler_name", "scheduler", "script_name", "force_task_id"])
def test_a_name_of_a_book_is_none(own, field):
    name = "x" * 100_000
    answer = own.post("/sdapi/v1/txt2img", {**SMALL, field: [name] if field == "styles" else name})
    assert (answer.status, field in str(answer.json()["detail"]), len(answer.content) < 1000) == (422, True, True)


@pytest.mark.parametrize("place", ["comments", "override_settings", "alwayson_scripts"])
def test_what_is_nested_without_end_is_refused_before_it_costs_a_picture(own, place):
    nested = b"[" * 400 + b"]" * 400
    answer = own.ask("POST", "/sdapi/v1/txt2img", b'{"steps": 1, "%s": {"a": %s}}' % (place.encode(), nested))
    assert (answer.status, "nested deeper" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize("field", ["cfg_scale", "eta", "s_churn", "s_noise", "subseed_strength"])
@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999"])
def test_what_is_no_number_is_refused_by_name(own, field, number):
    answer = own.ask("POST", "/sdapi/v1/txt2img", b'{"steps": 1, "%s": %s}' % (field.encode(), number))
    assert (answer.status, field in str(answer.json()["detail"])) == (422, True), answer.content
    setting = own.ask("POST", "/sdapi/v1/options", b'{"initial_noise_multiplier": %s}' % number)
    assert (setting.status, own.get("/sdapi/v1/options").status) == (422, 200)


def test_progress_names_the_task_and_shows_a_preview(own):
    body = {**SMALL, "steps": 100, "n_iter": 20, "force_task_id": "task(mine)",
            "override_settings": {"show_progress_every_n_steps": 1}}  # fmt: skip
    asking = threading.Thread(target=own.post, args=("/sdapi/v1/txt2img", body))
    asking.start()
    try:
        own.wait_for(lambda: own.get("/sdapi/v1/progress").json()["current_image"], timeout=60)
        said = own.get("/sdapi/v1/progress").json()
        assert 0 < said["progress"] <= 1 and said["state"]["job"] == "task(mine)"
        assert (said["state"]["job_count"], said["state"]["sampling_steps"], said["textinfo"]) == (20, 100, None)
        assert own.get("/sdapi/v1/progress?skip_current_image=true").json()["current_image"] is None
        task = own.post("/internal/progress", {"id_task": "task(mine)"}).json()
        assert task["active"] and task["live_preview"].startswith("data:image/") and task["id_live_preview"] > 0
        known = own.post(
            "/internal/progress", {"id_task": "task(mine)", "id_live_preview": 10**6, "live_preview": False}
        )
        assert known.json()["live_preview"] is None
    finally:
        assert own.post("/sdapi/v1/interrupt").json() == {}
        asking.join(60)
    done = own.post("/internal/progress", {"id_task": "task(mine)"}).json()
    assert (done["active"], done["completed"], done["id_live_preview"]) == (False, True, -1)
    assert own.get("/sdapi/v1/progress").json()["progress"] == 0


def test_progress_of_a_script_is_the_whole_of_its_pictures(own):
    """Three lines of two batches are six pictures: one bar, not one that begins anew with each."""
    lines = "\n".join(f"--prompt apple --steps 30 --seed {seed}" for seed in (1, 2, 3))
    body = {**SMALL, "n_iter": 2, "script_name": "prompts from file or textbox", "force_task_id": "task(lines)",
            "script_args": [False, False, "start", lines]}  # fmt: skip
    asking = threading.Thread(target=own.post, args=("/sdapi/v1/txt2img", body))
    asking.start()
    seen, tasks = [], []
    while asking.is_alive():
        said = own.get("/sdapi/v1/progress").json()
        if said["state"]["job"]:
            seen.append(said)
            tasks.append(own.post("/internal/progress", {"id_task": "task(lines)"}).json())
        time.sleep(0.02)
    assert {said["state"]["job"] for said in seen} == {"task(lines)"}
    assert {said["state"]["job_count"] for said in seen} - {1, 3} == {6}  # before the first step less is known
    assert {said["textinfo"] for said in seen if said["state"]["job_count"] == 6} == {None}
    numbers = [said["state"]["job_no"] for said in seen]
    assert numbers == sorted(numbers) and numbers[-1] >= 3
    shares = [said["progress"] for said in seen]
    assert shares == sorted(shares) and shares[0] < 0.5 < shares[-1]
    assert {said["state"]["sampling_steps"] for said in seen[1:]} >= {30}
    active = [task for task in tasks if task["active"]]
    assert any(task["eta"] is not None and 0 < task["progress"] < 1 for task in active)


def test_pending_tasks_and_queue_status_count_who_waits(own):
    own.post("/jobs/pause")
    made = own.post("/api/v1/jobs", {"prompt": "waits"}).json()["id"]
    assert own.get("/internal/pending-tasks").json() == {"size": 1, "tasks": [made]}
    assert own.get("/queue/status").json()["queue_size"] == 1
    assert own.post("/internal/progress", {"id_task": made}).json()["textinfo"] == "In queue: 1/1"
    own.post(f"/jobs/{made}/cancel")
    own.post("/jobs/resume")
    assert own.get("/queue/status").json()["queue_size"] == 0


def test_sysinfo_and_flags_keep_secrets(own):
    for path in ("/internal/sysinfo", "/internal/sysinfo-download", "/sdapi/v1/cmd-flags"):
        answer = own.get(path)
        assert answer.status == 200
        assert b"secret" not in answer.content and b"hidden" not in answer.content, path
    assert own.get("/internal/sysinfo").json()["Flags"]["api_auth"] == "***"
    download = own.get("/internal/sysinfo-download")
    assert download.headers["content-disposition"].startswith('attachment; filename="sysinfo-')


def test_settings_have_labels_for_the_quick_settings(own):
    hints = {one["name"]: one["label"] for one in own.get("/internal/quicksettings-hint").json()}
    assert set(hints) == set(own.get("/sdapi/v1/options").json())
    assert hints["sd_model_checkpoint"]


def test_previews_covers_and_metadata_of_model_files(own):
    preview = own.data / "models" / "Lora" / "style.preview.png"
    assert own.get(f"/sd_extra_networks/thumb?filename={preview}").content == preview.read_bytes()
    cover = own.get("/sd_extra_networks/cover-images?page=lora&item=style&index=0")
    assert base64.b64encode(cover.content).decode() == picture()
    metadata = json.loads(own.get("/sd_extra_networks/metadata?page=lora&item=style").json()["metadata"])
    assert metadata["ss_output_name"] == "style"
    assert own.get("/sd_extra_networks/metadata?page=lora&item=none").json() == {}
    assert "style" in own.get("/sd_extra_networks/get-single-card?page=lora&name=style").json()["html"]


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../../../etc/passwd", "models/Lora/style.safetensors", "models/Lora/../../config.json", ""]
)
def test_nothing_else_is_served_as_a_preview(own, file):
    path = file if file.startswith("/") or not file else own.data / Path(file)
    assert own.get(f"/sd_extra_networks/thumb?filename={path}").status == 404


@pytest.fixture
def bert(own):
    """Somebody with a login who is not the administrator."""
    return Client(own.url, {"Authorization": "Basic " + base64.b64encode(b"bert:hidden").decode()})


def test_everybody_has_a_folder_of_outputs_and_a_history_of_their_own(own, bert):
    for client, name in ((own, "anna"), (bert, "bert")):
        asked = {
            "prompt": f"by {name}",
            "size": {"width": 64, "height": 64},
            "sampling": {"sampler": "Euler", "steps": 1},
        }
        made = client.post("/api/v1/jobs", asked).json()["id"]
        (image,) = client.get(f"/api/v1/jobs/{made}/result").json()["images"]
        assert image["saved"].startswith(f"outputs/{name}/txt2img-images/")
        assert (own.data / image["saved"]).is_file()
        assert {one["words"] for one in client.get("/api/v1/history").json()["pictures"]} == {f"by {name}"}


def test_only_the_administrator_changes_what_is_everybodys(own, bert):
    refused = [
        bert.post("/sdapi/v1/options", {"jpeg_quality": 1}),
        bert.post("/sdapi/v1/unload-checkpoint"),
        bert.post("/sdapi/v1/server-stop"),
        bert.post("/sdapi/v1/create/embedding", {"name": "berts"}),
        bert.post("/sdapi/v1/txt2img", {**SMALL, "override_settings": {"jpeg_quality": 1},
                                        "override_settings_restore_afterwards": False}),
    ]  # fmt: skip
    assert [(one.status, one.json()["error"]) for one in refused] == [(403, "NotPermitted")] * len(refused)
    assert own.get("/sdapi/v1/options").json()["jpeg_quality"] == 80
    assert bert.post("/sdapi/v1/txt2img", {**SMALL, "override_settings": {"jpeg_quality": 1}}).status == 200


def test_nobody_with_a_login_chooses_where_on_the_machine_pictures_go(own, bert, tmp_path):
    for client in (own, bert):
        body = {**SMALL, "save_images": True, "override_settings": {"outdir_samples": str(tmp_path)}}
        answer = client.post("/sdapi/v1/txt2img", body)
        assert (answer.status, "outdir_samples" in answer.json()["detail"]) == (403, True)
    assert list(tmp_path.iterdir()) == []


def test_the_administrator_sees_everybodys_jobs_and_others_their_own(own, bert):
    berts = bert.post(
        "/api/v1/jobs", {"prompt": "berts", "size": {"width": 64, "height": 64}, "sampling": {"steps": 1}}
    )
    job = berts.json()["id"]
    bert.get(f"/api/v1/jobs/{job}/result")
    assert own.get(f"/api/v1/jobs/{job}").json()["id"] == job
    assert job in {one["id"] for one in own.get("/api/v1/jobs?everybody=true&limit=500").json()["jobs"]}
    assert job not in {one["id"] for one in own.get("/api/v1/jobs?limit=500").json()["jobs"]}
    assert bert.get("/api/v1/jobs?everybody=true").status == 403


def test_checkpoints_are_unloaded_and_loaded_again(own):
    assert own.post("/sdapi/v1/unload-checkpoint").json() == {}
    assert own.get("/worker").json()["models"] == []
    assert own.post("/sdapi/v1/reload-checkpoint").json() == {}
    assert len(own.get("/worker").json()["models"]) == 1


def test_a_body_that_is_no_json_is_the_askers_fault(own):
    answer = own.ask("POST", "/sdapi/v1/txt2img", b"\xff\xfe{")
    assert answer.status in (400, 422) and answer.json()["detail"]


def test_the_server_begins_anew_and_stops_when_it_is_told_to(own):
    """Last in this file: afterwards the server is gone."""
    before = own.get("/internal/sysinfo").json()["Worker"]
    assert own.post("/sdapi/v1/server-restart").json() == "Restarting."
    time.sleep(1)
    own.wait_for(own._is_up)
    own.wait_until_ready()
    assert before["state"] in ("ready", "busy")
    assert own.post("/sdapi/v1/txt2img", SMALL).status == 200
    assert own.post("/sdapi/v1/server-stop").json() == "Stopping."
    assert own.process.wait(20) == 0


def test_the_server_does_not_stop_unless_a_flag_allows_it(server):
    for name in ("stop", "kill", "restart"):
        answer = server.post(f"/sdapi/v1/server-{name}")
        assert (answer.status, answer.json()["error"]) == (403, "NotPermitted")
    assert server.get("/internal/ping").json() == {}
