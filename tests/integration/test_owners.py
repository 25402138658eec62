"""Several people at one server: nobody sees, steers or overtakes somebody else's work."""

from __future__ import annotations

import pytest

from tests.support.server import Client

VERBS = ("interrupt", "skip", "cancel", "retry", "move", "hold", "release")
REQUEST = {
    "prompt": "secret of {who}",
    "sampling": {"sampler": "Euler", "steps": 3},
    "size": {"width": 64, "height": 64},
}


@pytest.fixture
def person(server):
    """Browsers that have opened the page, each with the identity the gate gave it."""

    def person():
        answer = server.get("/login", Accept="text/html")
        cookie = answer.headers["set-cookie"].split(";")[0]
        return Client(server.url, {"Cookie": cookie})

    return person


def make(client, who):
    job = client.post("/api/v1/jobs", {**REQUEST, "prompt": f"secret of {who}"}).json()
    return client.get(f"/api/v1/jobs/{job['id']}/result?wait=120").json()


def test_the_identity_cookie_is_out_of_reach_for_scripts_and_other_sites(server):
    cookie = server.get("/login", Accept="text/html").headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_two_browsers_never_see_each_others_work(person):
    anna, bert = person(), person()
    job = make(anna, "anna")
    (image,) = job["images"]
    routes = [
        ("GET", f"/jobs/{job['id']}"), ("GET", f"/jobs/{job['id']}/events"), ("GET", f"/jobs/{job['id']}/preview"),
        ("GET", f"/jobs/{job['id']}/infotext"), ("GET", image["url"]), ("GET", image["thumb"]),
        ("GET", f"/api/v1/jobs/{job['id']}"), ("GET", f"/api/v1/jobs/{job['id']}/result"),
        *(("POST", f"/jobs/{job['id']}/{verb}") for verb in VERBS),
    ]  # fmt: skip
    for method, path in routes:
        assert bert.ask(method, path).status == 404, path
        assert b"secret" not in bert.ask(method, path).content
    assert anna.get(f"/jobs/{job['id']}").status == 200
    assert job["id"] not in str(bert.get("/jobs").json())
    assert job["id"] in str(anna.get("/jobs").json())


def test_a_client_cannot_claim_to_be_somebody_else(person):
    anna, bert = person(), person()
    job = make(anna, "anna")
    identity = anna.headers["Cookie"].split("=", 1)[1]
    forged = {"x-webui-owner": f"browser:{identity}", "x-webui-admin": "1"}
    assert bert.get(f"/jobs/{job['id']}", **forged).status == 404


def test_one_persons_interrupt_leaves_the_others_job_alone(person, server):
    anna, bert = person(), person()
    long = {**REQUEST, "sampling": {"sampler": "Euler", "steps": 120}}
    job = anna.post("/api/v1/jobs", long).json()
    server.wait_for(lambda: anna.get(f"/jobs/{job['id']}").json()["step"] > 0)
    assert bert.get("/sdapi/v1/progress").json()["state"]["job_count"] == 0
    bert.post("/sdapi/v1/interrupt")
    assert anna.get(f"/jobs/{job['id']}").json()["state"] == "running"
    anna.post("/sdapi/v1/interrupt")
    assert anna.get(f"/api/v1/jobs/{job['id']}/result?wait=60").json()["state"] == "interrupted"


def bytes_of(client, job):
    """Every picture of an ended job, its grid included, as its file's bytes."""
    shown = client.get(f"/api/v1/jobs/{job['id']}/result?wait=120").json()
    assert shown["state"] == "done", shown
    return [(image["role"], image["infotext"], client.get(image["url"]).content) for image in shown["images"]]


def test_a_long_job_lets_others_go_between_and_makes_what_it_makes_alone(person, server):
    anna, bert = person(), person()
    long = {**REQUEST, "sampling": {"sampler": "Euler a", "steps": 10}, "seed": {"value": 5}, "save": True}
    long["batch"] = {"count": 8}
    alone = bytes_of(anna, anna.post("/api/v1/jobs", long).json())
    assert [role for role, *_ in alone] == ["grid", *["sample"] * 8]

    job = anna.post("/api/v1/jobs", long).json()
    server.wait_for(lambda: anna.get(f"/jobs/{job['id']}").json()["step"] > 0)
    for _ in range(2):
        make(bert, "bert")
        between = anna.get(f"/jobs/{job['id']}").json()
        assert between["state"] == "running"
        assert len(between["images"]) < 8, "bert waited for all of anna's pictures"
    assert bytes_of(anna, job) == alone


def test_progress_skip_and_interrupt_stay_with_each_owner_while_jobs_take_turns(person, server):
    anna, bert = person(), person()
    long = {**REQUEST, "sampling": {"sampler": "Euler", "steps": 15}, "batch": {"count": 30}}
    first, second = (client.post("/api/v1/jobs", long).json()["id"] for client in (anna, bert))

    def seen(client, job):
        return client.get(f"/jobs/{job}").json()

    server.wait_for(lambda: len(seen(anna, first)["images"]) >= 2 and seen(bert, second)["images"])
    assert abs(len(seen(anna, first)["images"]) - len(seen(bert, second)["images"])) <= 2
    for client, job in ((anna, first), (bert, second)):
        shown = client.get("/sdapi/v1/progress?skip_current_image=true").json()
        assert (shown["state"]["job"], shown["state"]["job_count"]) == (job, 30)
        assert 0.01 < shown["progress"] < 1
        task = client.post("/internal/progress", {"id_task": job}).json()
        assert (task["active"], task["queued"], task["completed"]) == (True, False, False)
    anna.post("/sdapi/v1/skip")
    bert.post("/sdapi/v1/interrupt")
    ended = bert.get(f"/api/v1/jobs/{second}/result?wait=60").json()
    assert ended["state"] == "interrupted"
    assert len(ended["info"]["all_seeds"]) == 30 and len(ended["images"]) < 30
    assert seen(anna, first)["state"] == "running"
    anna.post(f"/jobs/{first}/interrupt")
    assert anna.get(f"/api/v1/jobs/{first}/result?wait=60").json()["state"] == "interrupted"
