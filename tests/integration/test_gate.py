"""The gate around the real page: every route of ours and Gradio's, foreign hosts and origins, guessing passwords."""

from __future__ import annotations

import base64
import re

import pytest

from modules.api.gate import OPEN_PATHS
from modules.app import App
from modules.cli import flags_from
from modules.server import prepare_environment, rules_from, serve_page
from tests.support.server import Client, free_port

ANNA, WRONG = b"username=anna&password=right", b"username=anna&password=wrong"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The page in this process, with a login and without a worker."""
    data = tmp_path_factory.mktemp("guarded")
    flags = flags_from(["--data-dir", str(data), "--port", str(free_port()), "--gradio-auth", "anna:right,bert:left"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(data)
        prepare_environment(flags)
        app = App(flags)
        running = serve_page(app, flags)
        yield running
        running.close()
        app.close()


@pytest.fixture
def stranger(guarded):
    return Client(guarded.url)


@pytest.fixture
def anna(guarded):
    answer = Client(guarded.url).ask("POST", "/login", ANNA, **FORM)
    assert answer.status == 303
    return Client(guarded.url, {"Cookie": answer.headers["set-cookie"].split(";")[0]})


def filled(path):
    return re.sub(r"\{[^}]+\}", "x", path)


def walk(routes, prefix=""):
    """Method and path of every route; FastAPI keeps an included router as one entry."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from walk(route.original_router.routes, prefix + route.include_context.prefix)
        elif hasattr(route, "routes") and not hasattr(route, "methods"):
            yield from walk(route.routes or (), prefix + route.path)
        else:
            yield from ((method, prefix + route.path) for method in getattr(route, "methods", None) or ("GET",))


def test_without_a_login_only_the_open_list_answers(guarded, stranger):
    routes = list(walk(guarded.web.routes))
    assert len(routes) > 60  # ours and Gradio's
    assert {"/jobs", "/sdapi/v1/txt2img", "/config", "/gradio_api/queue/join", "/docs", "/openapi.json"} <= {
        path for _, path in routes
    }
    for method, path in routes:
        if path in OPEN_PATHS or path.startswith(("/assets/", "/static/", "/svelte/")):
            continue
        status = stranger.ask(method, filled(path)).status
        assert status in (401, 403), f"{method} {path} answered {status} to a stranger"


def test_the_open_list_gives_nothing_away(stranger):
    for path in OPEN_PATHS:
        assert stranger.get(path).status in (200, 404), path
        assert b"anna" not in stranger.get(path).content


def test_a_browser_is_sent_to_the_login_page_and_gets_in_with_the_password(stranger, anna):
    sent = stranger.get("/", Accept="text/html")
    assert (sent.status, sent.headers["location"]) == (303, "/login")
    assert b"<form" in stranger.get("/login").content
    assert anna.get("/", Accept="text/html").status == 200
    assert anna.get("/jobs").json() == {"jobs": [], "paused": False}


def test_logging_out_ends_the_session(anna):
    anna.post("/logout")
    assert anna.get("/jobs").status == 401


def test_the_document_describes_our_routes_and_not_gradios(anna):
    paths = anna.get("/openapi.json").json()["paths"]
    assert {"/sdapi/v1/txt2img", "/api/v1/jobs", "/api/v1/history", "/internal/progress"} <= set(paths)
    assert all(path.startswith(("/sdapi/", "/api/v1/", "/internal/", "/queue/")) for path in paths), sorted(paths)


@pytest.mark.parametrize("path", ["/app_id", "/app_id/"])
def test_the_pages_id_is_also_where_programs_for_a1111_look(stranger, anna, path):
    answer = anna.get(path)
    assert answer.status == 200 and isinstance(answer.json()["app_id"], int)
    assert answer.json() == anna.get("/gradio_api/app_id").json()
    assert stranger.get(path).status == 401


def test_the_api_takes_the_password_as_http_basic(stranger):
    right = base64.b64encode(b"anna:right").decode()
    assert stranger.get("/sdapi/v1/samplers", Authorization=f"Basic {right}").status == 200
    refused = stranger.get("/sdapi/v1/samplers")
    assert (refused.status, refused.json()) == (401, {"detail": "Incorrect username or password"})
    assert refused.headers["www-authenticate"] == "Basic"


@pytest.mark.parametrize(
    "headers", [{"Host": "attacker.example"}, {"Host": ""}, {"Host": "127.0.0.1.attacker.example"}]
)
def test_a_foreign_host_is_refused_even_with_a_login(anna, headers):
    assert anna.get("/jobs", **headers).status == 403


@pytest.mark.parametrize(
    "origin", ["https://attacker.example", "null", "http://127.0.0.1:1", "http://localhost.attacker.example"]
)
@pytest.mark.parametrize("path", ["/sdapi/v1/options", "/gradio_api/upload", "/jobs/pause", "/logout"])
def test_pages_of_other_sites_cannot_use_somebodys_login(anna, origin, path):
    assert anna.post(path, Origin=origin).status == 403


def test_ones_own_page_may_post(anna, guarded):
    assert anna.post("/jobs/pause", Origin=guarded.url).json() == {"paused": True}
    assert anna.post("/jobs/resume", Origin=guarded.url).json() == {"paused": False}


def test_a_body_over_the_limit_is_refused_before_it_is_read(anna):
    assert anna.get("/jobs", **{"Content-Length": str(10**12)}).status == 413


@pytest.mark.parametrize("secret", ["/etc/passwd", "data/jobs.sqlite3", "config.json", "../../../../etc/passwd"])
def test_gradio_serves_no_file_of_ours_or_of_the_system(anna, guarded, secret, tmp_path):
    assert anna.get(f"/gradio_api/file={secret}").status in (403, 404)


def test_every_answer_carries_the_security_headers(stranger, anna):
    for answer in (stranger.get("/login"), stranger.get("/jobs"), anna.get("/", Accept="text/html")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "object-src 'none'" in answer.headers["content-security-policy"]


def test_guessing_is_slowed_down_and_says_so(guarded):
    guesser = Client(guarded.url)
    guess = b"username=carl&password=wrong"
    statuses = [guesser.ask("POST", "/login", guess, **FORM).status for _ in range(8)]
    assert statuses[:6] == [401] * 6
    assert statuses[-1] == 429
    locked = guesser.ask("POST", "/login", guess, **FORM)
    assert int(locked.headers["retry-after"]) >= 1
    assert guesser.ask("POST", "/login", ANNA, **FORM).status == 303  # others at the same address still get in


def test_without_a_tunnel_service_there_is_one_clear_line_and_the_local_page_serves(start):
    server = start("--share")
    assert server.get("/jobs").status == 401  # a password was made up before anybody could come in through a link
    server.wait_for(lambda: "No public link: " in server.log.read_text())
    assert server.get("/jobs").status == 200
    assert "Traceback" not in server.log.read_text()


def test_a_share_link_gets_a_password_unless_told_otherwise():
    rules, made_up = rules_from(flags_from(["--share"]))
    assert made_up is not None and rules.logins.check("webui", made_up)
    rules, made_up = rules_from(flags_from(["--share", "--gradio-auth", "anna:right"]))
    assert made_up is None and rules.logins.check("anna", "right")
    rules, made_up = rules_from(flags_from(["--share", "--share-without-password"]))
    assert made_up is None and not rules.logins
    assert not rules.api_enabled_on_share


@pytest.mark.parametrize(
    "flags, expected",
    [([], True), (["--listen"], False), (["--listen", "--api"], True), (["--nowebui", "--listen"], True)],
)
def test_the_api_is_on_by_default_only_where_nobody_else_can_reach_it(flags, expected):
    assert rules_from(flags_from(flags))[0].api_enabled is expected
