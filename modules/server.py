"""Serving: the page through Gradio's `launch`, our routes beside it, one gate in front of both, and an orderly end."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import logging
import os
import secrets
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modules.api import answers, documents, login, native, sdapi
from modules.api.accounts import Logins, check_names, parse_logins, read_keys, read_logins
from modules.api.gate import Gate, GateRules
from modules.errors import SettingsError
from modules.settings.flags import Flags

if TYPE_CHECKING:
    import fastapi

    from modules.app import App

log = logging.getLogger(__name__)

PAGE_PORT = 7860
API_PORT = 7861
_PORTS_TRIED = 100


def rules_from(flags: Flags) -> tuple[GateRules, str | None]:
    """What the gate goes by, and the password that was made up for a share link (None when none was needed)."""
    logins = _page_logins(flags)
    made_up = None
    if flags.share and not logins and not flags.share_without_password:
        made_up = secrets.token_urlsafe(12)
        logins = {"webui": made_up}
    api_logins = parse_logins(flags.api_auth, flag="--api-auth")
    api_keys = read_keys(flags.api_keys_path, flag="--api-keys-path")
    hosts = {"localhost", "127.0.0.1", "::1"}
    if flags.server_name:
        hosts.add(flags.server_name.strip("[]"))
    origins = frozenset(
        part.strip().rstrip("/") for part in (flags.cors_allow_origins or "").split(",") if part.strip()
    )
    return GateRules(
        logins=Logins(logins),
        api_logins=Logins(api_logins),
        api_keys=api_keys,
        # on by default at one's own machine; where others reach the page it must be asked for, or have a password
        api_enabled=flags.api
        or flags.nowebui
        or bool(api_logins)
        or bool(api_keys)
        or not flags.model_copy(update={"share": False}).is_reachable_by_others,  # the link has a rule of its own
        api_enabled_on_share=flags.api and bool(api_logins or logins or api_keys),
        hosts=hosts,
        any_host=flags.listen or flags.server_name in ("0.0.0.0", "::"),
        origins=origins,
        origins_regex=flags.cors_allow_origins_regex,
        subpath=_subpath(flags),
        log_api=flags.api_log,
    ), made_up


def _page_logins(flags: Flags) -> dict[str, str]:
    return {
        **parse_logins(flags.gradio_auth, flag="--gradio-auth"),
        **read_logins(flags.gradio_auth_path, flag="--gradio-auth-path"),
    }


def check_flags(flags: Flags) -> None:
    """Raise SettingsError for what would keep the server from answering as asked; called before a worker is started."""
    api_logins = parse_logins(flags.api_auth, flag="--api-auth")
    keys = read_keys(flags.api_keys_path, flag="--api-keys-path")
    check_names({**_page_logins(flags), **api_logins, **dict.fromkeys(keys.names)})
    _check_tls(flags)
    _port(flags)


def _subpath(flags: Flags) -> str:
    return "/" + flags.subpath.strip("/") if flags.subpath and flags.subpath.strip("/") else ""


def add_routes(web: fastapi.FastAPI, app: App, gate: Gate) -> None:
    """Our routes; before Gradio's, whose catch-all for pages would swallow them. They alone are in the document."""
    there_before = len(web.router.routes)
    web.add_api_route("/healthz", lambda: {"ok": True}, include_in_schema=False)
    web.include_router(login.routes(gate))
    web.include_router(documents.routes())
    web.include_router(sdapi.routes(app))
    web.include_router(native.routes(app))
    answers.add_error_answers(web)
    answers.document_only(web, web.router.routes[there_before:])


class Server:
    """A running server; `web` is its application. `close` ends it within a few seconds, streams included.

    `share` opens the public link and says what came of it; it may take a while when the network is slow.
    """

    def __init__(
        self, url: str, web: fastapi.FastAPI, *, close: Callable[[], None], share: Callable[[], None] = lambda: None
    ) -> None:
        self.url, self.web = url, web
        self._close, self.share = close, share

    def close(self) -> None:
        self._close()


def serve_page(app: App, flags: Flags) -> Server:
    """Start the page and the API with it; returns once it answers."""
    from modules.ui import quick_import

    quick_import.without_typing_stubs()
    import gradio

    from modules.ui import assets, blocks

    rules, made_up = rules_from(flags)
    web, gate = _gradio_app(rules)
    add_routes(web, app, gate)
    page = blocks.build(app)
    for path in ("/app_id", "/app_id/"):  # where Gradio 3 had it: programs ask there whether A1111 is up, or new
        web.add_api_route(path, lambda: {"app_id": page.app_id}, include_in_schema=False)
    page.queue(default_concurrency_limit=8, max_size=500)
    port = _port(flags)
    rules.is_starting = True
    with _quiet_gradio():
        _, url, _ = page.launch(
            _app=web,
            server_name=_address(flags),
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            share=False,
            root_path=rules.subpath,  # not GRADIO_ROOT_PATH, of which the gate would not know
            ssl_keyfile=flags.tls_keyfile,
            ssl_certfile=flags.tls_certfile,
            # of Gradio's own call to itself; without TLS there is nothing to verify, and nothing to load for it
            ssl_verify=bool(flags.tls_certfile) and not flags.disable_tls_verify,
            _frontend=False,  # or Gradio asks for the whole page, to see whether this machine reaches itself
            allowed_paths=list(flags.gradio_allowed_path),
            max_file_size="256mb",
            enable_monitoring=False,
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            footer_links=[],
            head=assets.head(flags.theme),
        )
    rules.is_starting = False
    page.server.config.timeout_graceful_shutdown = 1
    url = url.rstrip("/") + rules.subpath

    def close() -> None:
        app.closing.set()
        gradio.close_all(verbose=False)

    return Server(url, web, close=close, share=lambda: _share(page, rules, made_up))


def _gradio_app(rules: GateRules) -> tuple[fastapi.FastAPI, Gate]:
    """Gradio's own application class with our gate outermost, around the middleware that Gradio adds."""
    from gradio.routes import App as GradioApp

    gates: list[Gate] = []

    class GatedApp(GradioApp):
        def build_middleware_stack(self) -> Any:
            gates[0].app = super().build_middleware_stack()
            return gates[0]

    web = GatedApp(**_described())
    gates.append(Gate(web, rules))
    return web, gates[0]


def _described() -> dict[str, str | None]:
    return {
        "title": "Stable Diffusion web UI",
        "description": "A1111's API under /sdapi/v1, the native one under /api/v1.",
        "version": "1",
        "docs_url": None,  # `modules/api/documents.py` has one that needs no other server
        "redoc_url": None,
        "openapi_url": "/openapi.json",
    }


def _share(page: Any, rules: GateRules, made_up: str | None) -> None:
    """Open the public link and print it, with the password that was made up for it.

    When there can be no link, one line says why, the page stays up on this machine and needs no made-up password there.
    """
    from gradio import networking

    try:
        url = networking.setup_tunnel(
            local_host=page.server_name, local_port=page.server_port, share_token=page.share_token,
            share_server_address=None, share_server_tls_certificate=None,
        )  # fmt: skip
    except Exception as error:  # the tunnel is somebody else's service: whatever fails there, the page stays up
        log.debug("no share link", exc_info=True)
        if made_up is not None:
            rules.logins = Logins({})
        print(f"No public link: {(str(error) or type(error).__name__).splitlines()[0]}", flush=True)
        return
    url = "https://" + url.split("://", 1)[-1]
    rules.share_hosts.add(urlsplit(url).hostname or "")
    print(f"Public link: {url}", flush=True)
    if made_up is not None:
        print(f"Log in there as user webui with password {made_up}", flush=True)


def serve_api(app: App, flags: Flags) -> Server:
    """Start the API alone, without Gradio."""
    import uvicorn
    from fastapi import FastAPI

    rules, _ = rules_from(flags)
    web = FastAPI(**_described())
    gate = Gate(web, rules)
    add_routes(web, app, gate)
    port = _port(flags)
    config = uvicorn.Config(
        gate,
        host=_address(flags),
        port=port,
        log_level="warning",
        timeout_keep_alive=flags.timeout_keep_alive,
        timeout_graceful_shutdown=1,
        ssl_keyfile=flags.tls_keyfile,
        ssl_certfile=flags.tls_certfile,
        root_path="",
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]  # ours are set
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, name="http", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    if not server.started:
        raise SettingsError(f"the server could not start on {_address(flags)}:{port}; see the message above")

    def close() -> None:
        app.closing.set()
        server.should_exit = True
        thread.join(4)

    scheme = "https" if flags.tls_certfile else "http"
    shown = "localhost" if _address(flags) == "0.0.0.0" else _address(flags)
    return Server(f"{scheme}://{shown}:{port}{rules.subpath}", web, close=close)


def _address(flags: Flags) -> str:
    return flags.server_name or ("0.0.0.0" if flags.listen else "127.0.0.1")


def _check_tls(flags: Flags) -> None:
    """Raise SettingsError for files for https that are not there or do not belong together."""
    certificate, key = flags.tls_certfile, flags.tls_keyfile
    if certificate is None and key is None:
        return
    if certificate is None:
        raise SettingsError("--tls-keyfile is of no use without --tls-certfile")
    try:  # without the password of an encrypted key: nobody could type it when the server starts by itself
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"https cannot be used with --tls-certfile {certificate}, --tls-keyfile {key}: {error}"
        ) from error


def _port(flags: Flags) -> int:
    """The port to answer on: the one that was asked for, else the first free one."""
    address = _address(flags)
    if not flags.port:
        return _free_port(address, API_PORT if flags.nowebui else PAGE_PORT)
    _check_port(address, flags.port)
    return flags.port


def _free_port(address: str, first: int) -> int:
    for port in range(first, first + _PORTS_TRIED):
        if _why_not(address, port) is None:
            return port
    if (problem := _why_not(address, 0)) is not None:
        raise SettingsError(f"the server cannot answer on {address}: {problem}")
    raise SettingsError(f"no port from {first} to {first + _PORTS_TRIED - 1} is free; choose one with --port")


def _check_port(address: str, port: int) -> None:
    problem = _why_not(address, port)
    if problem is None:
        return
    if problem.errno == errno.EADDRINUSE:
        raise SettingsError(f"port {port} is in use by another program; choose another with --port")
    raise SettingsError(f"the server cannot answer on {address}, port {port}: {problem.strerror or problem}")


def _why_not(address: str, port: int) -> OSError | None:
    """What keeps a server from listening there; None if nothing does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.strip("[]"), port))
        except OSError as error:
            return error
    return None


@contextlib.contextmanager
def _quiet_gradio() -> Any:
    """Gradio prints where it runs although told to be quiet; we say that ourselves, once, with the right address."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def prepare_environment(flags: Flags) -> None:
    """Settle what Gradio and Hugging Face's libraries read from the environment: before either is imported."""
    cache, runtime = flags.made_folder("cache"), flags.made_folder("cache", "runtime")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("GRADIO_TEMP_DIR", str(cache / "gradio"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    # Gradio serves files below the working directory to who knows their name: let that be an empty folder
    os.chdir(runtime)


class Stop:
    """Set by Ctrl-C and SIGTERM; `wait` returns then.

    Before `wait` is called a signal raises KeyboardInterrupt in the main thread, whatever that is building. A second
    signal calls `at_once` and ends the program. Where `dumps_stacks` says so, Ctrl-C prints what every thread does.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._is_starting = True
        self.at_once: Callable[[], None] = lambda: None
        self.dumps_stacks: Callable[[], bool] = lambda: False
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if (number := getattr(signal, name, None)) is not None:
                signal.signal(number, self._heard)

    def _heard(self, number: int, frame: Any) -> None:
        if self._asked.is_set():
            self.at_once()
            os._exit(128 + number)
        self._asked.set()
        if number == signal.SIGINT and self.dumps_stacks():
            faulthandler.dump_traceback(all_threads=True)
        if self._is_starting:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """What is done meanwhile is done whole: a signal raises KeyboardInterrupt at its end.

        For starting processes: one that is started but known to nobody yet would stay behind.
        """
        self._is_starting = False
        try:
            yield
        finally:
            self._is_starting = True
        if self._asked.is_set():
            raise KeyboardInterrupt

    def wait(self) -> None:
        self._is_starting = False
        while not self._asked.wait(0.2):  # short waits, so that signal handlers run on every platform
            pass


def opens_browser(app: App, flags: Flags) -> bool:
    """Whether to open the page at start: asked for, or as the setting says, but never on a machine without a screen."""
    setting = app.settings.current.auto_launch_browser
    wanted = flags.autolaunch or setting == "Remote" or (setting == "Local" and not flags.is_reachable_by_others)
    has_screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return wanted and has_screen and "SD_WEBUI_RESTARTING" not in os.environ and not flags.nowebui


def open_browser(url: str) -> None:
    import webbrowser

    webbrowser.open(url)
