"""Pictures by address: only when switched on, only from public places, within limits."""

from __future__ import annotations

import io
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from PIL import Image

from modules.api.bodies import Img2ImgBody
from modules.api.fetch import Fetcher, fetched, is_public, picture, with_pictures
from modules.errors import InvalidImage
from modules.settings.schema import Settings

ON = Settings(api_enable_requests=True)
LOCAL_TOO = Settings(api_enable_requests=True, api_forbid_local_requests=False, api_useragent="a client")


def png(size=(8, 8)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


class Site(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, str, str]]] = []
    is_enough: ClassVar[threading.Event] = threading.Event()

    def do_GET(self):
        Site.asked.append((self.path, self.headers["Host"], self.headers["User-Agent"]))
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404)
        elif self.path == "/dripping":  # a header that comes byte by byte, each well within a socket's patience
            with suppress(ConnectionError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not Site.is_enough.wait(0.05):
                    self.wfile.write(b"x")
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):  # the asker has enough
                for _ in range(64):
                    self.wfile.write(bytes(1 << 16))
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    Site.is_enough.set()
    server.shutdown()
    server.server_close()


def test_addresses_are_not_fetched_unless_the_setting_says_so(site):
    Site.asked.clear()
    with pytest.raises(InvalidImage, match="switch the setting api_enable_requests on"):
        fetched(f"{site}/a.png", Settings())
    assert Site.asked == []


def test_this_machine_is_not_asked_even_when_fetching_is_on(site):
    Site.asked.clear()
    with pytest.raises(InvalidImage, match="on this machine or its network"):
        fetched(f"{site}/a.png", ON)
    assert Site.asked == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
     "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "::127.0.0.1", "fec0::1", "192.0.0.8", "2130706433",
     "0x7f.1", "not an address"],
)  # fmt: skip
def test_addresses_that_only_this_machine_or_network_has_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


def test_a_name_with_one_private_address_among_public_ones_is_refused():
    fetcher = Fetcher(resolve=lambda host, port: ["93.184.216.34", "192.168.0.2"])
    with pytest.raises(InvalidImage, match="on this machine or its network"):
        fetcher.fetch("http://cats.example/a.png")


def test_a_public_page_cannot_send_the_server_to_a_private_one(site):
    """The redirect is looked at like the address itself: only the first name passes as public here."""
    answers = iter((["127.0.0.1"], ["127.0.0.1"]))
    seen = []

    class Once(Fetcher):
        def _connection(self, url, timeout):
            seen.append(url)
            allowed = Fetcher(allow_local=len(seen) == 1, resolve=lambda host, port: next(answers))
            return allowed._connection(url, timeout)

    with pytest.raises(InvalidImage, match="on this machine or its network"):
        Once().fetch(f"{site}/to/{site}/a.png")
    assert len(seen) == 2


def test_the_connection_goes_to_the_address_that_was_looked_at(site):
    """The name is asked for once; what it means a moment later is nobody's business (DNS rebinding)."""
    asked = []

    def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    port = site.rsplit(":", 1)[1]
    Site.asked.clear()
    assert Fetcher(allow_local=True, resolve=resolve).fetch(f"http://cats.example:{port}/a.png") == png()
    assert asked == ["cats.example"]
    assert Site.asked[0][1] == f"cats.example:{port}"


def test_a_picture_is_fetched_with_the_configured_user_agent(site):
    Site.asked.clear()
    assert fetched(f"{site}/a b.png?x=ü", LOCAL_TOO).size == (8, 8)
    assert Site.asked == [("/a%20b.png?x=%C3%BC", site.removeprefix("http://"), "a client")]


@pytest.mark.parametrize(
    "path, words",
    [
        ("/missing", "answered 404"),
        ("/to//to//to//to//to//to/x", "redirected more than 3 times"),
        ("/endless", "larger than 1 MB"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_said(site, path, words):
    with pytest.raises(InvalidImage, match=words):
        Fetcher(allow_local=True, longest=2**20).fetch(site + path)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/a", "http://", "http://[::1", "http://a:99999/", "gopher://x"]
)
def test_only_web_addresses_are_taken(url):
    with pytest.raises(InvalidImage):
        Fetcher(allow_local=True).fetch(url)


def test_a_redirect_to_a_file_is_refused(site):
    with pytest.raises(InvalidImage, match="must begin with http"):
        Fetcher(allow_local=True).fetch(f"{site}/to/file:///etc/passwd")


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(InvalidImage) as caught:
        Fetcher().fetch("http://user:secret@127.0.0.1/a.png?token=hidden")
    assert "secret" not in str(caught.value) and "hidden" not in str(caught.value)


def test_a_bodys_addresses_become_pictures_and_the_rest_of_it_stays(site):
    body = Img2ImgBody(prompt="p", init_images=[f"{site}/a.png", "aGk="], mask=f"{site}/m.png")
    filled = with_pictures(body, LOCAL_TOO)
    assert picture(filled.init_images[0], "init_images", Settings()).content == png()
    assert picture(filled.mask, "mask", Settings()).size == (8, 8)
    assert (filled.init_images[1], filled.prompt) == ("aGk=", "p")


def test_an_error_names_the_field():
    with pytest.raises(InvalidImage, match=r"^mask: addresses are not fetched"):
        with_pictures(Img2ImgBody(init_images=[], mask="https://cats.example/m.png"), Settings())


def test_a_site_that_answers_byte_by_byte_is_given_up_in_time(site):
    started = time.monotonic()
    with pytest.raises(InvalidImage, match=r"/dripping was not received within 0\.5 s"):
        Fetcher(allow_local=True, within_s=0.5).fetch(f"{site}/dripping")
    assert time.monotonic() - started < 10


def test_one_request_names_so_many_addresses_and_no_more(site):
    with pytest.raises(InvalidImage, match="init_images: more than 32 addresses"):
        with_pictures(Img2ImgBody(init_images=[f"{site}/a.png"] * 33), LOCAL_TOO)
