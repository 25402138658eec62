"""Pictures that a request names by address (`https://…`) instead of sending them.

Off unless `api_enable_requests` is on: a server that fetches what it is told reaches what its caller cannot (SSRF).
When on, only public addresses are asked, unless `api_forbid_local_requests` is off. A name is resolved once, every one
of its addresses is looked at, and the connection goes to the address that was looked at, so that a name which changes
its mind in between (DNS rebinding) gains nothing; each redirect is looked at the same way. No proxy is used.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from pydantic import BaseModel

from modules.errors import InvalidImage
from modules.images.data import ImageData
from modules.settings.schema import Settings

SCHEMES = ("http://", "https://")
_WITHIN_S = 30.0
_LONGEST = 64 * 2**20
_REDIRECTS = 3
_MOST = 32
_NOT_QUOTED = "/%?:@!$&'()*+,;=~[]"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_TOO = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("fec0::/10"))  # Python takes them for public
_PICTURE_FIELDS = ("init_images", "mask", "latent_mask", "depth_image", "firstpass_image", "image", "imageList")

B = TypeVar("B", bound=BaseModel)
Resolve = Callable[[str, int], list[str]]


def is_address(text: str) -> bool:
    """Whether a picture's text is an http(s) address, as A1111 decides."""
    return text.startswith(SCHEMES)


def picture(text: str, field: str, settings: Settings) -> ImageData:
    """A picture from base64 text or, if the settings allow, from an address; raises InvalidImage naming the field."""
    try:
        image = fetched(text, settings) if is_address(text) else ImageData.from_base64(text)
        image.size  # noqa: B018 - reads the header
    except InvalidImage as error:
        raise InvalidImage(f"{field}: {error}", field=field) from error
    return image


def with_pictures(body: B, settings: Settings) -> B:
    """`body` with its picture fields' addresses replaced by the pictures themselves, as base64; raises InvalidImage."""
    fetched_ones = itertools.count(1)

    def replaced(value: object, name: str) -> object:
        if isinstance(value, str) and is_address(value):
            if next(fetched_ones) > _MOST:
                raise InvalidImage(f"{name}: more than {_MOST} addresses in one request; send the pictures as base64")
            return picture(value, name, settings).to_base64()
        if isinstance(value, list):
            return [replaced(item, name) for item in value]
        if isinstance(value, BaseModel) and isinstance(data := getattr(value, "data", None), str):
            return value.model_copy(update={"data": replaced(data, name)})
        return value

    given = {name: value for name in _PICTURE_FIELDS if (value := getattr(body, name, None))}
    changed = {name: new for name, value in given.items() if (new := replaced(value, name)) != value}
    return body.model_copy(update=changed) if changed else body


def fetched(url: str, settings: Settings) -> ImageData:
    """The picture at an address, if the settings allow asking for it; raises InvalidImage."""
    if not settings.api_enable_requests:
        raise InvalidImage(
            "addresses are not fetched; send the picture itself as base64, or switch the setting api_enable_requests on"
        )
    fetcher = Fetcher(allow_local=not settings.api_forbid_local_requests, user_agent=settings.api_useragent)
    return ImageData(fetcher.fetch(url))


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True)
class Fetcher:
    """Gets what lies at an address, within limits of time, size and place."""

    allow_local: bool = False
    user_agent: str = ""
    within_s: float = _WITHIN_S
    longest: int = _LONGEST
    resolve: Resolve = resolve

    def fetch(self, url: str) -> bytes:
        """The bytes at `url`, following up to three redirects; raises InvalidImage with what stood in the way."""
        deadline = time.monotonic() + self.within_s
        for _ in range(_REDIRECTS + 1):
            try:
                content, moved_to = self._ask(url, deadline)
            except (OSError, http.client.HTTPException) as error:
                raise InvalidImage(f"{_shown(url)} could not be fetched: {error or type(error).__name__}") from error
            if content is not None:
                return content
            url = urljoin(url, moved_to)
        raise InvalidImage(f"{_shown(url)} is redirected more than {_REDIRECTS} times")

    def _ask(self, url: str, deadline: float) -> tuple[bytes | None, str]:
        """(content, "") or (None, where it moved to)."""
        connection = self._connection(url, max(0.1, deadline - time.monotonic()))
        patience = threading.Timer(
            max(0.1, deadline - time.monotonic()), connection.give_up
        )  # the socket's own timeout
        patience.daemon = True  # begins anew with every byte
        patience.start()
        try:
            parts = urlsplit(url)
            target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_NOT_QUOTED)
            headers = {"User-Agent": self.user_agent or "stable-diffusion-webui", "Accept": "image/*"}
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308) and (place := answer.getheader("location")):
                return None, place
            if answer.status != 200:
                raise InvalidImage(f"{_shown(url)} answered {answer.status} {answer.reason}")
            content = self._read(answer, url)
            if connection.is_given_up:
                raise self._too_slow(url)
            return content, ""
        except (OSError, http.client.HTTPException) as error:
            if connection.is_given_up:
                raise self._too_slow(url) from error
            raise
        finally:
            patience.cancel()
            connection.close()

    def _too_slow(self, url: str) -> InvalidImage:
        return InvalidImage(f"{_shown(url)} was not received within {self.within_s:g} s")

    def _connection(self, url: str, timeout: float) -> _Pinned:
        """A connection to an address of the host that may be asked."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidImage(f"{_shown(url)} is not a web address: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise InvalidImage(f"{_shown(url)} is not a web address; it must begin with http:// or https://")
        port = port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise InvalidImage(f'{_shown(url)}: there is no host "{host}"') from error
        if not self.allow_local and not all(is_public(address) for address in addresses):
            raise InvalidImage(
                f"{_shown(url)} is on this machine or its network; such addresses are not asked while "
                "api_forbid_local_requests is on"
            )
        kind = _PinnedHTTPS if parts.scheme == "https" else _Pinned
        return kind(host, port, addresses[0], timeout)

    def _read(self, answer: http.client.HTTPResponse, url: str) -> bytes:
        content = bytearray()
        while chunk := answer.read1(1 << 16):
            content += chunk
            if len(content) > self.longest:
                raise InvalidImage(f"{_shown(url)} is larger than {self.longest // 2**20} MB")
        return bytes(content)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; IPv6 addresses that carry an IPv4 one count as that one."""
    try:
        found = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    is_local = any(found in network for network in _LOCAL_TOO)  # an address is in no network of the other version
    return found.is_global and not (is_local or found.is_multicast or found.is_reserved)


def _shown(url: str) -> str:
    """An address for messages, short and without a password."""
    shown = url.split("?", 1)[0]
    scheme, separator, rest = shown.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{separator}{place.rsplit('@', 1)[-1]}{slash}{path}"[:120]


class _Pinned(http.client.HTTPConnection):
    """Connects to one address, whatever the name means by then."""

    def __init__(self, host: str, port: int, address: str, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._address = address
        self.is_given_up = False

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)

    def give_up(self) -> None:
        """End whatever is waited for, from another thread."""
        self.is_given_up = True
        if self.sock is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _PinnedHTTPS(_Pinned):
    """The same with TLS; the certificate must be the name's."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)
