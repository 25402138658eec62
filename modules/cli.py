"""The command line: `webui.py [flags]` serves, `webui.py generate "a cat" --out cat.png` makes pictures and leaves.

`webui.py hash-password NAME` and `webui.py api-key NAME` make entries for the files of logins and keys.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules.errors import InvalidRequest, SavingError, WebuiError
from modules.settings import flags as flag_parser
from modules.settings.flags import Flags

if TYPE_CHECKING:
    from modules.app import App
    from modules.generation.request import GenerationRequest
    from modules.images.data import ImageData
    from modules.jobs.handle import Picture

_PATH_FLAGS = tuple(
    name
    for name, field in Flags.model_fields.items()
    if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("value") in ("DIR", "FILE")
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the answer is the exit code. Errors become one line on standard error.

    Without `argv`, flags in the environment variable COMMANDLINE_ARGS follow those of the command line, as in A1111.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    started = time.perf_counter()
    try:
        if arguments[:1] == ["hash-password"]:
            return hash_password(arguments[1:])
        if arguments[:1] == ["api-key"]:
            return api_key(arguments[1:])
        if argv is None:
            arguments += shlex.split(os.environ.get("COMMANDLINE_ARGS", ""))
        if arguments[:1] == ["generate"]:
            return generate(arguments[1:])
        return serve(flags_from(arguments[1:] if arguments[:1] == ["serve"] else arguments), started)
    except WebuiError as error:
        print(f"webui: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def flags_from(arguments: Sequence[str]) -> Flags:
    """The flags, their relative paths made absolute: the program works in another folder later."""
    flags = flag_parser.parse(arguments)
    changes = {}
    for name in _PATH_FLAGS:
        value = getattr(flags, name)
        if isinstance(value, tuple):
            changes[name] = tuple(_absolute(one) for one in value)
        elif value is not None:
            changes[name] = _absolute(value)
    return flags.model_copy(update={name: value for name, value in changes.items() if name in flags.given})


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def serve(flags: Flags, started: float) -> int:
    """Serve the page (or with --nowebui the API alone) until Ctrl-C or SIGTERM."""
    if flags.exit:
        print("Everything is installed; leaving because of --exit")
        return 0
    gc.disable()  # of the modules loaded now everything stays; looking for garbage among it takes a third of a second
    from modules import server

    set_up_logging(flags)
    stop, started_in = server.Stop(), os.getcwd()
    server.prepare_environment(flags)
    if not flags.dump_sysinfo:
        server.check_flags(flags)
    from modules.app import App

    timeline = _Timeline(started)
    timeline.mark("program loaded")
    app = App(flags)
    timeline.mark("settings, models and queue read")
    if flags.dump_sysinfo:
        return _dump_sysinfo(app, Path(started_in))
    stop.at_once = app.supervisor.kill
    stop.dumps_stacks = lambda: app.settings.current.dump_stacks_on_signal
    try:
        with stop.held_back():
            app.start()
        timeline.mark("worker process started")
        running = server.serve_api(app, flags) if flags.nowebui else server.serve_page(app, flags)
        timeline.mark("page built and served")
        try:
            if flags.log_startup:
                print(timeline)
            for notice in flags.notices():
                print(notice)
            print(f"Ready after {time.perf_counter() - started:.1f} s: {running.url}", flush=True)
            gc.freeze()  # what is loaded now stays
            gc.enable()
            if flags.share:
                threading.Thread(target=running.share, name="share", daemon=True).start()
            if server.opens_browser(app, flags):
                server.open_browser(running.url)
            stop.wait()
            print("Stopping …", flush=True)
            threading.Thread(target=app.supervisor.close, name="worker-end").start()  # while the page's streams end
        finally:
            running.close()
    except KeyboardInterrupt:
        print("Stopping before the start was over …", flush=True)
    finally:
        app.close()
    if app.restarts:
        _begin_anew(started_in)
    return 0


class _Timeline:
    """How long the parts of the start took, for --log-startup."""

    def __init__(self, started: float) -> None:
        self._last = started
        self._parts: list[str] = []

    def mark(self, part: str) -> None:
        """`part` is over now."""
        now = time.perf_counter()
        self._parts.append(f"{part}: {now - self._last:.2f} s")
        self._last = now

    def __str__(self) -> str:
        return "Start: " + ", ".join(self._parts)


def _dump_sysinfo(app: App, folder: Path) -> int:
    """Write the report that the API gives at /internal/sysinfo into a folder, and leave."""
    from modules.api import sysinfo

    path = folder / f"sysinfo-{datetime.now():%Y-%m-%d-%H-%M}.json"
    try:
        path.write_text(json.dumps(sysinfo.report(app), indent=4, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise SavingError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        app.close()
    print(path)
    return 0


def _begin_anew(folder: str) -> None:
    """Become a fresh run of the same command line, in the folder it was given in; the process id stays."""
    os.chdir(folder)
    os.environ["SD_WEBUI_RESTARTING"] = "1"
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def generate(arguments: Sequence[str]) -> int:
    """Make pictures from the command line, without a browser and without a server."""
    parser = _generate_parser()
    asked, rest = parser.parse_known_args(list(arguments))
    flags = flags_from(rest)
    set_up_logging(flags)
    target = Path(_absolute(asked.out)) if asked.out else None
    if target is not None:
        _check_target(target)
    for name in ("init", "mask"):
        if getattr(asked, name):
            setattr(asked, name, _absolute(getattr(asked, name)))

    from modules import server
    from modules.app import App

    server.prepare_environment(flags)
    app = App(flags)
    try:
        app.start()
        handle = app.submit(_request(asked, app.usual_size(asked.checkpoint)), owner="cli")
        try:
            for said in handle.events():
                _tell(said.kind, said.data, is_quiet=flags.disable_console_progressbars)
        except KeyboardInterrupt:
            app.interrupt(handle.id)
        result = handle.result(timeout=60).raise_if_failed()
        shown = [picture for picture in result.pictures if picture.result.shown and picture.result.role == "sample"]
        for number, picture in enumerate(shown):
            if target is None:
                print(app.data_dir / picture.result.path if picture.result.path else picture.result.saving_error)
            else:
                print(_write(picture, target, number, len(shown)))
        return 0 if shown else 1
    finally:
        app.close()


def hash_password(arguments: Sequence[str]) -> int:
    """Print a login as it may stand in the file of `--gradio-auth-path`, its password hashed."""
    import getpass

    from modules.api.accounts import hashed_password

    if len(arguments) != 1 or ":" in arguments[0]:
        raise InvalidRequest("hash-password takes one user name: ./webui.sh hash-password NAME")
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not password:
        raise InvalidRequest("an empty password would let anybody in; nothing was made")
    print(f"{arguments[0]}:{hashed_password(password)}")
    return 0


def api_key(arguments: Sequence[str]) -> int:
    """Print a new API key, and the line for the file of `--api-keys-path`."""
    from modules.api.accounts import new_key

    if len(arguments) != 1 or ":" in arguments[0]:
        raise InvalidRequest("api-key takes one name: ./webui.sh api-key NAME")
    key, line = new_key(arguments[0])
    print(f"{key}\nis the key; it is told only now. The line for the file of --api-keys-path:\n{line}")
    return 0


def set_up_logging(flags: Flags) -> None:
    level = flags.loglevel or os.environ.get("SD_WEBUI_LOG_LEVEL") or "INFO"
    os.environ["SD_WEBUI_LOG_LEVEL"] = level  # the worker process reads it
    logging.basicConfig(level=level.upper(), format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "httpcore", "asyncio", "PIL", "multipart", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _generate_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="webui.sh generate", allow_abbrev=False, description="Make pictures; every flag of the server works too."
    )
    parser.add_argument("prompt", help="what to paint, in A1111's prompt language")
    parser.add_argument("--out", metavar="FILE", help="where to write it; several pictures get -1, -2 … in the name")
    parser.add_argument("--negative", default="", metavar="TEXT")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=7.0)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--sampler", default="DPM++ 2M")
    parser.add_argument("--schedule")
    parser.add_argument("--checkpoint", "--model", metavar="NAME", help="which checkpoint, by any of its names")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="how many pictures, one after another")
    parser.add_argument("--init", metavar="FILE", help="start from this picture (img2img)")
    parser.add_argument("--mask", metavar="FILE", help="repaint what is white in this picture (inpaint)")
    parser.add_argument("--denoising", type=float, default=0.75, help="with --init: how much changes, 0 to 1")
    return parser


def _request(asked: argparse.Namespace, size: tuple[int, int]) -> GenerationRequest:
    """The request that the command line asks for; raises InvalidRequest naming the flag."""
    from pydantic import ValidationError

    from modules.generation.part import Size
    from modules.generation.request import (
        BatchPart,
        GenerationRequest,
        InpaintPart,
        ModelPart,
        SamplingPart,
        SeedPart,
        SourcePart,
    )

    source = None
    if asked.init:
        mask = InpaintPart(mask=_picture(asked.mask)) if asked.mask else None
        source = SourcePart(images=(_picture(asked.init),), denoising_strength=asked.denoising, inpaint=mask)
    elif asked.mask:
        raise InvalidRequest("--mask repaints part of a picture; name the picture with --init")
    try:
        return GenerationRequest(
            prompt=asked.prompt,
            negative_prompt=asked.negative,
            seed=SeedPart(value=asked.seed),
            size=Size(width=asked.width or size[0], height=asked.height or size[1]),
            batch=BatchPart(count=asked.count),
            sampling=SamplingPart(
                sampler=asked.sampler, schedule=asked.schedule, steps=asked.steps, cfg_scale=asked.cfg
            ),
            model=ModelPart(checkpoint=asked.checkpoint),
            source=source,
            save=None if asked.out is None else False,
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise InvalidRequest(f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}") from error


def _picture(path: str) -> ImageData:
    from modules.images.data import ImageData

    try:
        return ImageData(Path(path).read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}") from error


def _tell(kind: str, data: dict[str, Any], *, is_quiet: bool) -> None:
    """One line of progress on standard error unless `is_quiet`; pictures' names go to standard output."""
    shows_steps = sys.stderr.isatty() and not is_quiet
    if kind == "step" and shows_steps:
        print(f"\r{data['progress']:4.0%}  step {data['step']}/{data['steps']} ", end="", file=sys.stderr, flush=True)
    elif kind == "notice":
        print(data["message"], file=sys.stderr)
    elif kind in ("done", "failed") and shows_steps:
        print(file=sys.stderr)


def _check_target(target: Path) -> None:
    """Raise before a picture is made when it could not be written to `target` afterwards."""
    from modules.images.formats import format_of

    format_of(target.suffix or ".png")
    if target.is_dir():
        raise SavingError(f"{target} is a folder; name a file in it with --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise SavingError(f"{target} cannot be written: {error.strerror or error}") from error


def _write(picture: Picture, target: Path, number: int, count: int) -> Path:
    """Write a picture where `--out` says, in the format of its name; raises SavingError when that cannot be done."""
    from modules.images.data import ImageData
    from modules.images.formats import PARAMETERS, encode, format_of

    if count > 1:
        target = target.with_name(f"{target.stem}-{number + 1}{target.suffix}")
    content = picture.read()
    if picture.result.media_type != f"image/{format_of(target.suffix or '.png').lower()}":
        content = encode(ImageData(content).open(), target.suffix, texts={PARAMETERS: picture.result.infotext})
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise SavingError(f"{target} cannot be written: {error.strerror or error}") from error
    return target
