"""Who the gate says is asking: logins, API keys, browsers, programs on this machine and on others."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import pytest
from fastapi import FastAPI, Request

from modules.api import answers
from modules.api.accounts import (
    ApiKeys,
    Lockout,
    Logins,
    hashed_password,
    new_key,
    parse_logins,
    read_keys,
    read_logins,
)
from modules.api.gate import ADMIN_HEADER, OWNER_HEADER, Gate, GateRules
from modules.api.jobs import owner_of
from modules.cli import flags_from
from modules.errors import SettingsError
from modules.server import check_flags

KEY, LINE = new_key("bot")


async def told(scope, receive, send):
    """An application that answers what the gate told it."""
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    body = json.dumps({"owner": headers.get(OWNER_HEADER), "admin": ADMIN_HEADER in headers}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


def ask(gate, path="/sdapi/v1/progress", *, client="127.0.0.1", method="GET", host="localhost", **headers):
    async def asked():
        transport = httpx.ASGITransport(gate, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
            return await http.request(method, path, headers={key.replace("_", "-"): v for key, v in headers.items()})

    return asyncio.run(asked())


def basic(name, password):
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# programs\n{LINE}\nanna:{'k' * 20}\n")
    return read_keys(str(file), flag="--api-keys-path")


@pytest.fixture
def guarded(keys):
    return Gate(told, GateRules(logins=Logins({"anna": "right", "bert": "left"}), api_keys=keys))


def test_a_key_is_its_owner_in_either_header(guarded):
    assert ask(guarded, authorization=f"Bearer {KEY}").json() == {"owner": "api:bot", "admin": False}
    assert ask(guarded, x_api_key=KEY).json()["owner"] == "api:bot"


def test_a_key_under_a_logins_name_is_that_person(guarded):
    assert ask(guarded, x_api_key="k" * 20).json() == {"owner": "user:anna", "admin": True}
    assert ask(guarded, authorization=basic("anna", "right")).json() == {"owner": "user:anna", "admin": True}
    assert ask(guarded, authorization=basic("bert", "left")).json() == {"owner": "user:bert", "admin": False}


def test_a_wrong_key_is_refused_and_guessing_is_slowed_down(guarded):
    answers = [ask(guarded, x_api_key=f"guess {number}") for number in range(8)]
    assert [answer.status_code for answer in answers[:6]] == [401] * 6
    assert answers[0].json() == {"detail": "this API key is not known here"}
    assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) >= 1


def test_a_key_opens_the_pages_own_addresses_too(guarded):
    """The API names pictures as /files/…; who may ask for the job may get them."""
    for path in ("/files/x", "/jobs", "/history", "/worker"):
        assert ask(guarded, path).status_code == 401
        assert ask(guarded, path, x_api_key=KEY).json()["owner"] == "api:bot"
        assert ask(guarded, path, x_api_key="wrong").status_code == 401


def test_a_key_opens_nothing_of_gradios(guarded):
    assert ask(guarded, "/config", x_api_key=KEY).status_code == 401


def test_with_keys_alone_the_api_is_closed_and_the_page_open(keys):
    gate = Gate(told, GateRules(api_keys=keys))
    assert ask(gate).status_code == 401
    assert ask(gate, x_api_key=KEY).status_code == 200
    assert ask(gate, "/", accept="text/html").status_code == 200


def test_a_client_cannot_say_itself_who_it_is(guarded):
    answer = ask(guarded, x_api_key=KEY, x_webui_owner="user:anna", x_webui_admin="1").json()
    assert answer == {"owner": "api:bot", "admin": False}


def test_without_logins_programs_here_see_all_and_those_elsewhere_only_their_own():
    gate = Gate(told, GateRules(any_host=True))
    assert ask(gate).json() == {"owner": "api", "admin": True}
    assert ask(gate, client="192.168.1.7").json() == {"owner": "program:192.168.1.7", "admin": False}
    assert ask(gate, client="192.168.1.8").json() == {"owner": "program:192.168.1.8", "admin": False}


def test_a_browser_gets_an_identity_that_scripts_and_other_sites_cannot_use():
    gate = Gate(told, GateRules())
    first = ask(gate, "/", accept="text/html")
    cookie = first.headers["set-cookie"]
    assert first.json()["owner"].startswith("browser:")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    again = ask(gate, "/jobs", cookie=cookie.split(";")[0])
    assert again.json()["owner"] == first.json()["owner"]


def test_guesses_that_come_all_at_once_count_like_guesses_one_after_another():
    gate = Gate(told, GateRules(logins=Logins({"anna": "right"})))

    async def guesses(count):
        transport = httpx.ASGITransport(gate, client=("10.0.0.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            headers = [{"authorization": basic("anna", f"guess {number}")} for number in range(count)]
            answers = await asyncio.gather(*(http.get("/sdapi/v1/progress", headers=one) for one in headers))
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(guesses(30)) == [*[401] * 6, *[429] * 24]  # five are free, the sixth begins the wait


def test_many_requests_at_once_with_the_right_password_all_come_in():
    gate = Gate(told, GateRules(logins=Logins({"anna": "right"})))

    async def asked(count):
        transport = httpx.ASGITransport(gate, client=("10.0.0.9", 1))
        headers = {"authorization": basic("anna", "right")}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http:
            return await asyncio.gather(*(http.get("/sdapi/v1/progress") for _ in range(count)))

    assert {answer.status_code for answer in asyncio.run(asked(40))} == {200}


def test_pages_of_a_named_origin_may_ask_and_read_and_of_others_not():
    site, other = "https://editor.example", "https://evil.example"
    gate = Gate(told, GateRules(origins=frozenset({site}), logins=Logins({"anna": "right"})))
    asks = {"access_control_request_method": "POST", "access_control_request_headers": "content-type,authorization"}
    allowed = ask(gate, "/sdapi/v1/txt2img", method="OPTIONS", origin=site, **asks)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, site)
    assert allowed.headers["access-control-allow-headers"] == "content-type,authorization"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    refused = ask(gate, "/sdapi/v1/txt2img", method="OPTIONS", origin=other, **asks)
    assert refused.status_code == 403
    for path, status, credentials in (
        ("/sdapi/v1/txt2img", 200, {"authorization": basic("anna", "right")}),
        ("/sdapi/v1/txt2img", 401, {}),
    ):
        answer = ask(gate, path, method="POST", origin=site, **credentials)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, site)
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "origin"
    assert "access-control-allow-origin" not in ask(gate, origin=other).headers
    assert "access-control-allow-origin" not in ask(gate).headers


def test_origins_may_be_named_by_a_pattern_that_must_fit_the_whole_of_them():
    gate = Gate(told, GateRules(origins_regex=r"https://[a-z]+\.example"))
    for origin, fits in (
        ("https://one.example", True), ("https://one.example.evil.com", False), ("http://one.example", False),
    ):  # fmt: skip
        assert (ask(gate, method="POST", origin=origin).status_code == 200) is fits, origin


def test_a_password_may_be_kept_hashed():
    stored = hashed_password("right")
    assert "right" not in stored and stored != hashed_password("right")
    logins = Logins({"anna": stored})
    assert logins.check("anna", "right")
    assert not logins.check("anna", stored)


@pytest.mark.parametrize("line", ["bot", "bot:short", ":" + "k" * 30])
def test_a_line_that_holds_no_key_is_refused(tmp_path, line):
    file = tmp_path / "keys"
    file.write_text(line)
    with pytest.raises(SettingsError, match="line 1"):
        read_keys(str(file), flag="--api-keys-path")


def test_keys_are_not_kept_as_text(keys):
    assert KEY not in repr(vars(keys)) and "k" * 20 not in repr(vars(keys))
    assert not ApiKeys() and keys


def test_a_body_that_grows_over_the_limit_is_refused_without_its_length_being_told():
    """Chunked transfer says no length beforehand; the application must not see half a body as a whole one."""
    taken = []

    async def swallowing(scope, receive, send):
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            taken.append(len(message["body"]))
        await told(scope, receive, send)

    async def body():
        for _ in range(50):
            yield b"x" * 100

    async def asked():
        gate = Gate(swallowing, GateRules(body_limit=1000))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://localhost") as http:
            return await http.post("/sdapi/v1/txt2img", content=body())

    answer = asyncio.run(asked())
    assert (answer.status_code, answer.json()) == (413, {"detail": "the request is larger than 0.0009537 MB"})
    assert sum(taken) <= 1000


def test_a_prefix_that_is_said_twice_leads_around_nothing():
    """Gradio's application takes the prefix of `--subpath` off once more than the gate saw it."""
    web = FastAPI()
    web.root_path = "/sub"
    web.add_api_route("/sdapi/v1/options", lambda: "secret")
    gate = Gate(web, GateRules(subpath="/sub", api_logins=Logins({"anna": "right"})))
    for prefix in ("", "/sub", "/sub/sub", "/sub/sub/sub"):
        assert ask(gate, f"{prefix}/sdapi/v1/options").status_code == 401, prefix
        assert ask(gate, f"{prefix}/sdapi/v1/options", authorization=basic("anna", "right")).json() == "secret"


def test_no_site_may_read_what_the_application_would_show_to_all():
    """Gradio answers `access-control-allow-origin` to any site as soon as the server has a name of its own."""

    async def generous(scope, receive, send):
        headers = [
            (b"access-control-allow-origin", b"https://evil.example"),
            (b"access-control-allow-credentials", b"true"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    gate = Gate(generous, GateRules(any_host=True))
    for headers in ({"origin": "https://evil.example"}, {"origin": "http://192.168.1.5:3000"}, {}):
        answer = ask(gate, host="192.168.1.5:7860", **headers)
        assert not [name for name in answer.headers if name.startswith("access-control-")], headers


@pytest.mark.parametrize("friends, shown", [(frozenset(), 403), (frozenset({"https://editor.example"}), 200)])
def test_pages_of_other_sites_cannot_show_pictures_of_ours_but_may_link_here(friends, shown):
    gate = Gate(told, GateRules(origins=friends))
    embedded = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
    assert ask(gate, "/history/1/thumb", **embedded).status_code == shown
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert ask(gate, "/", **link).status_code == 200
    assert ask(gate, "/login", method="POST", **link).status_code == 403
    assert ask(gate, "/history/1/thumb", **{**embedded, "sec_fetch_site": "same-origin"}).status_code == 200


def test_who_has_no_login_cannot_fill_the_memory_through_the_login_page():
    taken = []

    async def swallowing(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            taken.append(len(message["body"]))
            if not message.get("more_body"):
                break
        await told(scope, receive, send)

    gate = Gate(swallowing, GateRules(logins=Logins({"anna": "right"})))

    async def posted(content, **headers):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://localhost") as http:
            return await http.post("/login", content=content, headers=headers)

    async def body():
        for _ in range(100):
            yield b"x" * 1000

    assert asyncio.run(posted(b"x" * 100_000)).status_code == 413
    for kind in ("application/x-www-form-urlencoded", "application/json"):
        assert asyncio.run(posted(body(), **{"content-type": kind})).status_code == 413
    assert sum(taken) <= 2 * 17_000


def test_json_that_nobody_could_write_again_is_refused():
    web = FastAPI()
    answers.add_error_answers(web)

    async def echo(request: Request) -> object:
        return await request.json()

    web.add_api_route("/sdapi/v1/echoed", echo, methods=["POST"])
    gate = Gate(web, GateRules())

    async def posted(levels, **headers):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://localhost") as http:
            return await http.post("/sdapi/v1/echoed", content=b"[" * levels + b"]" * levels, headers=headers)

    for headers in ({"content-type": "application/json"}, {}):
        assert asyncio.run(posted(150, **headers)).status_code == 200
        refused = asyncio.run(posted(300, **headers))
        assert (refused.status_code, refused.json()) == (
            400,
            {"detail": "the JSON text is nested deeper than 200 levels"},
        )


def test_a_body_without_a_content_type_is_mended_like_json():
    web = FastAPI()

    async def echo(request: Request) -> str:
        return await request.json()

    web.add_api_route("/sdapi/v1/echoed", echo, methods=["POST"])

    async def posted():
        transport = httpx.ASGITransport(Gate(web, GateRules()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post("/sdapi/v1/echoed", content=rb'"\ud800"')

    assert asyncio.run(posted()).json() == "\ufffd"


@pytest.mark.parametrize(
    "headers", [{"x_forwarded_for": "203.0.113.7"}, {"forwarded": "for=203.0.113.7"}, {"x_real_ip": "203.0.113.7"}]
)
def test_what_a_proxy_of_this_machine_passes_on_is_not_from_this_machine(headers):
    gate = Gate(told, GateRules(hosts={"localhost", "127.0.0.1", "pictures.example"}))
    assert ask(gate).json()["admin"]
    assert not ask(gate, **headers).json()["admin"]
    assert not ask(gate, host="pictures.example").json()["admin"]


def test_who_is_no_administrator_on_the_page_is_none_in_the_api_either(keys):
    pages = Logins({"anna": "right", "bert": "left"})
    gate = Gate(told, GateRules(logins=pages, api_logins=Logins({"bert": "api", "carl": "api"}), api_keys=keys))
    assert ask(gate, authorization=basic("bert", "api")).json() == {"owner": "user:bert", "admin": False}
    assert ask(gate, x_api_key="k" * 20).json() == {"owner": "user:anna", "admin": True}
    gate = Gate(told, GateRules(logins=pages, api_logins=Logins({"carl": "api", "bert": "api"})))
    assert ask(gate, authorization=basic("carl", "api")).json() == {"owner": "api:carl", "admin": True}
    assert ask(gate, authorization=basic("bert", "api")).json() == {"owner": "user:bert", "admin": False}


def test_where_there_are_keys_alone_the_first_is_the_administrators(keys):
    gate = Gate(told, GateRules(api_keys=keys))
    assert ask(gate, x_api_key=KEY).json() == {"owner": "api:bot", "admin": True}
    assert ask(gate, x_api_key="k" * 20).json() == {"owner": "api:anna", "admin": False}


def test_a_name_in_any_script_reaches_the_routes_unharmed():
    web = FastAPI()

    def who(request: Request) -> str:
        return owner_of(request)

    web.add_api_route("/sdapi/v1/who", who)
    gate = Gate(web, GateRules(logins=Logins({"小明": "right"})))
    assert ask(gate, "/sdapi/v1/who", authorization=basic("小明", "right")).json() == "user:小明"


def test_beside_a_prefix_another_server_keeps_its_own_cookies():
    gate = Gate(told, GateRules(subpath="/sub"))
    assert "; Path=/sub;" in ask(gate, "/sub/", accept="text/html").headers["set-cookie"]
    assert "; Path=/;" in ask(Gate(told, GateRules()), "/", accept="text/html").headers["set-cookie"]


def test_addresses_of_one_ipv6_network_are_one_guesser():
    lockout = Lockout()
    for number in range(8):
        lockout.failed(f"2001:db8::{number:x}", "anna")
    assert lockout.wait_s("2001:db8::ffff", "anna") > 0
    assert lockout.wait_s("2001:db8:0:1::1", "anna") == 0
    for number in range(8):
        lockout.failed(f"::ffff:10.0.0.{number}", "bert")
    assert lockout.wait_s("::ffff:10.0.0.99", "bert") == 0  # IPv4 in the dress of IPv6


@pytest.mark.parametrize(
    "logins, words",
    [
        ("a/b:right", "no folder of pictures can be called so"),
        ("..:right", "no folder of pictures can be called so"),
        ("nul:right", "no folder of pictures can be called so"),
        ("Anna:right,anna:right", "differ in capitals alone"),
    ],
)
def test_two_people_never_get_one_folder(logins, words):
    with pytest.raises(SettingsError, match=words):
        check_flags(flags_from(["--gradio-auth", logins]))


def test_a_file_of_logins_may_come_from_any_editor_and_says_what_is_wrong(tmp_path):
    file = tmp_path / "logins"
    file.write_bytes(b"\xef\xbb\xbfanna:right\r\nbert:left\r\n")
    assert list(read_logins(str(file), flag="--gradio-auth-path")) == ["anna", "bert"]
    file.write_bytes("anna:gr\u00fcn".encode("latin-1"))
    with pytest.raises(SettingsError, match="not text in UTF-8"):
        read_logins(str(file), flag="--gradio-auth-path")
    for entry in ("anna", "anna:", ":right", " : "):
        with pytest.raises(SettingsError, match="user:password"):
            parse_logins(entry, flag="--gradio-auth")


def test_a_stale_cookie_of_another_server_on_this_host_locks_nobody_out():
    gate = Gate(told, GateRules(logins=Logins({"anna": "right"})))
    ours = f"webui_login={gate.sessions.open('anna')}"
    for cookie in (ours, f"{ours}; webui_login=of-another", f"webui_login=of-another; {ours}", f'x="a; {ours}; y=[1]'):
        assert ask(gate, "/jobs", cookie=cookie).json() == {"owner": "user:anna", "admin": True}, cookie
    for cookie in ("webui_login=", "webui_login", "webui_login=of-another; webui_login=x", f"x{ours}"):
        assert ask(gate, "/jobs", cookie=cookie).status_code == 401, cookie


@pytest.mark.parametrize(
    "nonsense", ["Basic", "Basic !", "Basic \xff\xff", "Basic //46eA==", "Bearer \xff", "\xff", ""]
)
def test_nonsense_in_place_of_a_login_is_a_missing_login(guarded, nonsense):
    given = nonsense.encode("latin-1")
    for headers in ({b"authorization": given}, {b"x-api-key": given}, {b"cookie": b"webui_login=" + given}):

        async def asked(headers=headers):
            async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://localhost") as http:
                return await http.get("/sdapi/v1/progress", headers=list(headers.items()))

        assert asyncio.run(asked()).status_code in (401, 429)


def test_the_address_of_the_page_without_its_slash_leads_to_the_page():
    """Its scripts have addresses relative to it: beside the prefix there may be another server, or none."""
    gate = Gate(told, GateRules(subpath="/sub"))
    answer = ask(gate, "/sub", accept="text/html")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sub/")
    assert ask(gate, "/sub", host="evil.example").status_code == 403
    assert ask(gate, "/sub/", accept="text/html").status_code == 200
    assert ask(gate, "/", accept="text/html").status_code == 200  # a proxy has taken the prefix off
