"""The gate in front of everything that is served, ours and Gradio's: who asks, from where, and how much.

Deny by default: with logins on, only `OPEN_PATHS` answer without one. The gate also names the owner of each request
(`OWNER_HEADER`), refuses foreign hosts and origins (DNS rebinding, cross-site requests), lets pages of the origins that
were named read answers (CORS), bounds bodies, and adds the security headers. It is plain ASGI so that streams and web
sockets pass through untouched.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from modules.api.accounts import ApiKeys, Lockout, Logins, Sessions
from modules.api.json_text import NestedTooDeeply, mending

log = logging.getLogger(__name__)

OWNER_HEADER = "x-webui-owner"
ADMIN_HEADER = "x-webui-admin"
LOGIN_COOKIE = "webui_login"
IDENTITY_COOKIE = "webui_identity"
API_OWNER = "api"
_IDENTITY = re.compile(r"[A-Za-z0-9_-]{22,64}")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_API_PREFIXES = ("/sdapi/", "/api/v1/", "/internal/", "/docs", "/redoc", "/openapi.json", "/queue/")
_SHARED_PREFIXES = ("/jobs", "/files/", "/history", "/cards", "/worker", "/sd_extra_networks/")
"""The page's own routes, which take the API's logins too: answers of the API name addresses there."""
_STATIC_PREFIXES = ("/assets/", "/static/", "/svelte/", "/webui-assets/public/")
OPEN_PATHS = frozenset({"/login", "/favicon.ico", "/theme.css", "/robots.txt", "/healthz"})
"""What answers without a login, besides static assets: the login page and what it and health checks need."""
_OPEN_BODY_LIMIT = 16 * 2**10
"""Bytes of a body that somebody without a login may send: the login form."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"content-security-policy", _CSP.encode()),
)

_STARTUP = "/gradio_api/startup-events"
"""What Gradio asks itself for while it starts."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class GateRules:
    """What the gate goes by; `hosts` may grow while serving (the share link is known late).

    `any_host` is for `--listen`, where the names under which the machine is reached cannot be known: then a Host that
    is an address passes, and a name only if it has no dot, ends in .local or is in `hosts` (rebinding needs a public
    name).
    """

    logins: Logins = field(default_factory=lambda: Logins({}))
    api_logins: Logins = field(default_factory=lambda: Logins({}))
    api_keys: ApiKeys = field(default_factory=ApiKeys)
    api_enabled: bool = True
    api_enabled_on_share: bool = False
    hosts: set[str] = field(default_factory=lambda: set(_LOOPBACK))
    share_hosts: set[str] = field(default_factory=set)
    any_host: bool = False
    origins: frozenset[str] = frozenset()
    origins_regex: str | None = None
    body_limit: int = 512 * 2**20
    subpath: str = ""
    log_api: bool = False
    is_starting: bool = False  # Gradio may ask itself to start, before there can be a login

    @property
    def cookie_path(self) -> str:
        """Where our cookies are sent: to the page with and without a slash at its end, and to what is below."""
        return self.subpath or "/"


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: Application, rules: GateRules) -> None:
        self.app, self.rules = app, rules
        self.sessions = Sessions()
        self.lockout = Lockout()
        self._turns = tuple(asyncio.Lock() for _ in range(64))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request = _Request(scope, self.rules.subpath)
        origin = request.header("origin")
        send = _readable_from(origin if origin is not None and self._is_named(origin) else None, send)
        refusal = self._place_refusal(request)
        if refusal is None and request.is_preflight:  # it never carries a login
            await _allow(send, request)
            return
        if refusal is None and request.lacks_slash:  # what the page names by relative addresses is below it
            refusal = _Refusal(303, "the page is one slash further", location=f"{self.rules.subpath}/")
        refusal = refusal or await self._person_refusal(request)
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)
            return
        self._name_owner(request)
        receive = self._bounded(request, receive)
        if request.is_json:
            receive = self._mended(request, receive)
        await self.app(scope, receive, self._dressed(request, send))

    # ── from where ──────────────────────────────────────────────────────────────────────────────────────────────

    def _place_refusal(self, request: _Request) -> _Refusal | None:
        if not self._host_is_ours(request.host):
            return _Refusal(
                403,
                f'this server is not known as "{request.host}"; open it by its address, or name it with --server-name',
            )
        origin = request.header("origin")
        is_change = request.method not in _SAFE_METHODS or request.is_websocket or request.is_preflight
        if origin is not None and is_change and not self._origin_is_ours(origin, request):
            return _Refusal(
                403, f'requests from pages of "{origin}" are not accepted; --cors-allow-origins would allow them'
            )
        if origin is None and request.header("sec-fetch-site") == "cross-site":
            is_link = request.header("sec-fetch-mode") == "navigate" and request.header("sec-fetch-dest") == "document"
            has_friends = bool(self.rules.origins or self.rules.origins_regex)  # their pages may show our pictures
            if is_change or not (is_link or has_friends):
                return _Refusal(403, "requests from other sites' pages are not accepted")
        length = request.header("content-length") or ""
        if length.isdigit() and int(length) > self._body_limit(request):
            return self._too_large_refusal(request)
        return None

    def _host_is_ours(self, host: str) -> bool:
        rules = self.rules
        if host in rules.hosts or host in rules.share_hosts:
            return True
        if not rules.any_host:
            return False
        return _is_address(host) or "." not in host or host.endswith(".local")

    def _is_named(self, origin: str) -> bool:
        """Whether pages of this origin may use the server, as the flags say."""
        rules = self.rules
        return origin in rules.origins or bool(rules.origins_regex and re.fullmatch(rules.origins_regex, origin))

    def _origin_is_ours(self, origin: str, request: _Request) -> bool:
        if self._is_named(origin):
            return True
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc == request.header("host")

    def _body_limit(self, request: _Request) -> int:
        return min(self.rules.body_limit, _OPEN_BODY_LIMIT) if request.path in OPEN_PATHS else self.rules.body_limit

    def _too_large_refusal(self, request: _Request) -> _Refusal:
        return _Refusal(413, f"the request is larger than {self._body_limit(request) / 2**20:.4g} MB")

    # ── who ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _person_refusal(self, request: _Request) -> _Refusal | None:
        if request.is_api:
            return self._api_is_off(request) or await self._api_refusal(request)
        if request.path.startswith(_SHARED_PREFIXES) and request.has_credentials and not self._api_is_off(request):
            return await self._api_refusal(request)
        if not self.rules.logins or request.path in OPEN_PATHS or request.path.startswith(_STATIC_PREFIXES):
            return None
        if self._user(request) is not None or (self.rules.is_starting and request.path == _STARTUP):
            return None
        if request.method == "GET" and "text/html" in (request.header("accept") or ""):
            return _Refusal(303, "log in first", location=f"{self.rules.subpath}/login")
        return _Refusal(401, "log in first")

    def _api_is_off(self, request: _Request) -> _Refusal | None:
        if not self.rules.api_enabled:
            return _Refusal(404, "the API is off; start with --api")
        if request.host in self.rules.share_hosts and not self.rules.api_enabled_on_share:
            return _Refusal(
                404, "the API is not served through the share link; --api together with --api-auth does that"
            )
        return None

    async def _api_refusal(self, request: _Request) -> _Refusal | None:
        """An API key, HTTP Basic against the API's logins (or, without those, the page's), or a login cookie."""
        logins = self.rules.api_logins or self.rules.logins
        if not (logins or self.rules.api_keys) or (self.rules.logins and self._user(request) is not None):
            return None
        if (key := request.api_key()) is not None:
            who = (request.client, "an API key")
            if (wait := self.lockout.wait_s(*who)) > 0:
                return _Refusal(429, f"too many wrong keys; try again in {wait:.0f} s", retry_after_s=wait)
            request.api_user = self.rules.api_keys.name(key)
            if request.api_user is None:
                self.lockout.failed(*who)
                return _Refusal(401, "this API key is not known here", challenge=True)
            return None
        given = request.basic() if logins else None
        if given is not None:
            wait = await self.try_password(request.client, given[0], lambda: logins.check_again(*given))
            if wait is None:
                request.api_user = given[0]
                return None
            if wait > 0:
                return _Refusal(429, f"too many wrong passwords; try again in {wait:.0f} s", retry_after_s=wait)
        return _Refusal(401, "Incorrect username or password", challenge=True)

    async def try_password(self, client: str, name: str, check: Callable[[], bool]) -> float | None:
        """None when `check` says that the password is right, else the seconds until another try counts; 0: now.

        Tries for one name from one address are looked at one after another, or many at once would be over before the
        first of them is counted. `check` runs in a thread: the hash is slow on purpose.
        """
        async with self._turns[hash((client, name)) % len(self._turns)]:
            if (wait := self.lockout.wait_s(client, name)) > 0:
                return wait
            if await asyncio.to_thread(check):
                self.lockout.succeeded(client, name)
                return None
            self.lockout.failed(client, name)
            return 0.0

    def _user(self, request: _Request) -> str | None:
        users = (self.sessions.user(token) for token in request.cookies(LOGIN_COOKIE))
        return next((user for user in users if user is not None), None)

    def _name_owner(self, request: _Request) -> None:
        """Write owner and administrator into the request's headers, over whatever the client sent there."""
        user = self._user(request) if self.rules.logins else None
        if user is not None:
            owner, admin = f"user:{user}", user == self.rules.logins.administrator
        elif request.api_user is not None:
            # the same login on the page and in the API is the same person
            known = request.api_user in self.rules.logins
            owner = f"user:{request.api_user}" if known else f"api:{request.api_user}"
            admin = self._administers(request.api_user)
        else:
            identity = next((one for one in request.cookies(IDENTITY_COOKIE) if _IDENTITY.fullmatch(one)), None)
            is_local = request.is_local
            if identity is not None:
                owner = f"browser:{identity}"
            elif request.is_api or "text/html" not in (request.header("accept") or ""):
                owner = API_OWNER if is_local else f"program:{request.client}"
            else:
                request.new_identity = secrets.token_urlsafe(24)
                owner = f"browser:{request.new_identity}"
            # one person at their own machine: programs without an identity see what the page does, as in A1111
            has_logins = self.rules.logins or self.rules.api_logins or self.rules.api_keys
            admin = owner == API_OWNER and is_local and not has_logins
        self._write_owner(request, owner, admin)

    def _administers(self, api_user: str) -> bool:
        """Whether somebody known to the API is the administrator: who is so on the page, else the first of the API."""
        rules = self.rules
        if api_user in rules.logins:
            return api_user == rules.logins.administrator
        if rules.api_logins:
            return api_user == rules.api_logins.administrator
        return not rules.logins and api_user == next(iter(rules.api_keys.names), None)

    @staticmethod
    def _write_owner(request: _Request, owner: str, admin: bool) -> None:
        ours = (OWNER_HEADER.encode(), ADMIN_HEADER.encode())
        headers = [pair for pair in request.scope["headers"] if pair[0].lower() not in ours]
        headers.append((ours[0], owner.encode("utf-8")))
        if admin:
            headers.append((ours[1], b"1"))
        request.scope["headers"] = headers

    # ── how much, and in what dress ─────────────────────────────────────────────────────────────────────────────

    def _bounded(self, request: _Request, receive: Receive) -> Receive:
        """Stops a body without Content-Length that grows over the limit."""
        taken = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > self._body_limit(request):
                    request.body_refusal = self._too_large_refusal(request)
                    return {"type": "http.disconnect"}
            return message

        return bounded

    def _mended(self, request: _Request, receive: Receive) -> Receive:
        """A JSON body fit to be read and stored; one that is nested too deeply never arrives."""

        async def mended() -> MutableMapping[str, Any]:
            try:
                return await whole()
            except NestedTooDeeply as error:
                request.body_refusal = _Refusal(400, str(error))
                return {"type": "http.disconnect"}

        whole = mending(receive)
        return mended

    def _dressed(self, request: _Request, send: Send) -> Send:
        started = time.perf_counter()

        async def dressed(message: MutableMapping[str, Any]) -> None:
            if request.body_refusal is not None:  # whatever the application makes of half a body
                if message["type"] == "http.response.start":
                    await _refuse(request.scope, None, send, request.body_refusal)
                return
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers.extend(pair for pair in _HEADERS if pair[0] not in present)
                elapsed = time.perf_counter() - started
                headers.append((b"x-process-time", f"{elapsed:.4f}".encode()))
                if request.new_identity is not None:
                    path = self.rules.cookie_path
                    cookie = _cookie(IDENTITY_COOKIE, request.new_identity, secure=request.is_https, path=path)
                    headers.append((b"set-cookie", cookie.encode()))
                message = {**message, "headers": headers}
                if self.rules.log_api and request.is_api:
                    log.info("API %s %s %s %.3f s", message["status"], request.method, request.path, elapsed)
            await send(message)

        return dressed


def _cookie(name: str, value: str, *, secure: bool, path: str, max_age: int = 365 * 24 * 3600) -> str:
    """A Set-Cookie line that scripts cannot read and other sites' requests do not carry."""
    return f"{name}={value}; Path={path}; Max-Age={max_age}; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")


def login_cookie(token: str, *, secure: bool, path: str) -> str:
    """The Set-Cookie line of a session; `path` is where the page is: beside it another server may have its own."""
    return _cookie(LOGIN_COOKIE, token, secure=secure, path=path, max_age=30 * 24 * 3600)


@dataclass(frozen=True)
class _Refusal:
    status: int
    message: str
    location: str | None = None
    challenge: bool = False
    retry_after_s: float | None = None


class _Request:
    """The parts of an ASGI scope that the gate looks at."""

    def __init__(self, scope: Scope, subpath: str) -> None:
        self.scope = scope
        self.is_websocket = scope["type"] == "websocket"
        self.method = scope.get("method", "GET")
        self.lacks_slash = bool(subpath) and scope["path"] == subpath and self.method in ("GET", "HEAD")
        while subpath and (scope["path"] + "/").startswith(subpath + "/"):
            # A proxy may pass the prefix on or strip it; routes only know paths without it. Gradio's application would
            # strip one that is still there itself: then it would serve another path than the one looked at here.
            scope["path"] = scope["path"][len(subpath) :] or "/"
            scope["raw_path"] = scope["path"].encode()
        self.path = scope["path"]
        self.is_api = self.path.startswith(_API_PREFIXES)
        self.is_https = scope.get("scheme") in ("https", "wss") or self.header("x-forwarded-proto") == "https"
        self.is_json = (
            "json" in (self.header("content-type") or "json").lower()
        )  # FastAPI takes what is unnamed as JSON
        self.client = (scope.get("client") or ("",))[0]
        self.api_user: str | None = None
        self.new_identity: str | None = None
        self.body_refusal: _Refusal | None = None
        self.host = host_name(self.header("host") or "")

    @property
    def is_local(self) -> bool:
        """Whether a program of this machine asks, not a proxy on somebody else's behalf."""
        forwarded = any(self.header(name) is not None for name in ("x-forwarded-for", "x-real-ip", "forwarded"))
        return self.client in _LOOPBACK and self.host in _LOOPBACK and not forwarded

    @property
    def is_preflight(self) -> bool:
        """Whether a browser asks on behalf of another site's page what it may send."""
        asks = self.header("origin") is not None and self.header("access-control-request-method") is not None
        return self.method == "OPTIONS" and asks

    def header(self, name: str) -> str | None:
        key = name.encode()
        return next((value.decode("latin-1") for found, value in self.scope["headers"] if found.lower() == key), None)

    def cookies(self, name: str) -> tuple[str, ...]:
        return cookies_named(name, self.header("cookie") or "")

    @property
    def has_credentials(self) -> bool:
        """Whether it brings what only programs bring: a login or a key in its headers."""
        return self.header("authorization") is not None or self.header("x-api-key") is not None

    def api_key(self) -> str | None:
        """The key of `Authorization: Bearer …` or `X-Api-Key: …`."""
        kind, _, key = (self.header("authorization") or "").partition(" ")
        return key.strip() if kind.lower() == "bearer" else self.header("x-api-key")

    def basic(self) -> tuple[str, str] | None:
        kind, _, encoded = (self.header("authorization") or "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        except ValueError:  # no base64, or not of UTF-8
            return None
        return (name, password) if colon else None


def cookies_named(name: str, header: str) -> tuple[str, ...]:
    """The values of a cookie: several where servers share a host, of paths in one another; those of ours come first."""
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return tuple(value.strip('"') for found, _, value in pairs if found == name)


def host_name(header: str) -> str:
    """The host of a Host header without its port; the empty text for nonsense."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_CORS_HEADERS = (b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers")


def _readable_from(origin: str | None, send: Send) -> Send:
    """Answers that pages of `origin` may read, login and all, and pages of other sites not (None: none of them).

    Whatever the application says of other sites is dropped: Gradio lets any site read what has a public address.
    """
    named = b"" if origin is None else origin.encode("latin-1")
    ours = (*zip(_CORS_HEADERS, (named, b"true", b"retry-after, x-process-time"), strict=True), (b"vary", b"origin"))

    async def readable(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in _CORS_HEADERS]
            message = {**message, "headers": [*kept, *(ours if origin is not None else ())]}
        await send(message)

    return readable


async def _allow(send: Send, request: _Request) -> None:
    """Answer a preflight of an origin that may send requests: any method, any header."""
    headers = [
        (b"access-control-allow-methods", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
        (b"access-control-allow-headers", (request.header("access-control-request-headers") or "*").encode("latin-1")),
        (b"access-control-max-age", b"600"),
        (b"content-length", b"0"),
        *_HEADERS,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(scope: Scope, receive: Receive | None, send: Send, refusal: _Refusal) -> None:
    if scope["type"] == "websocket" and receive is not None:
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message[:120]})
        return
    body = json.dumps({"detail": refusal.message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_HEADERS]
    if refusal.location is not None:
        headers.append((b"location", refusal.location.encode()))
    if refusal.challenge:
        headers.append((b"www-authenticate", b"Basic"))
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(refusal.retry_after_s))).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
