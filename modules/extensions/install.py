"""Installing, updating and removing extensions: from a git address, from a folder, from a zip file.

Nothing here runs by itself: each function is a button that somebody pressed, and what it brings is loaded at the next
start. git is the program of that name, told to run no hooks of its own, to ask nobody for a password and to speak
only the protocols below.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modules.errors import InvalidRequest, NotPermitted, WebuiError
from modules.extensions.loader import BUILTIN, ENTRY, Extension
from modules.extensions.origin import origin_of
from modules.settings.flags import Flags

PROTOCOLS = "file:git:http:https:ssh"
ZIP_BYTES_LIMIT = 2**30
ZIP_FILES_LIMIT = 20_000
WAIT_S = 600.0
"""How long git may take."""

REMOVED = ".removed"
"""Folder below the extensions that keeps what was uninstalled."""

_GIT_ADDRESS = re.compile(r"^(?:[a-z+]+:(?::|//)|[\w.-]+@[\w.-]+:)", re.IGNORECASE)
_NAME = re.compile(r"[\w][\w .+-]{0,99}")


def check_may_install(flags: Flags, *, is_administrator: bool, is_public: bool) -> None:
    """Raise NotPermitted unless the asker may bring code onto this machine.

    That is the administrator, where nobody else reaches the page or `--enable-insecure-extension-access` was given.
    Never through a public link (`is_public`), and never while there is one.
    """
    if is_public or flags.share:
        raise NotPermitted("extensions are code; they are never installed while a public link (--share) is open")
    if not is_administrator:
        raise NotPermitted("extensions are code, so only the administrator may install, update or remove them")
    if flags.is_reachable_by_others and not flags.enable_insecure_extension_access:
        raise NotPermitted(
            "others can reach this server, so extensions cannot be installed from the page; start it without --listen "
            "and --server-name, or with --enable-insecure-extension-access"
        )


def install(source: str, into: Path, *, name: str = "", branch: str = "") -> Path:
    """Bring an extension into the folder `into`, under `name` or its own; gives its folder.

    `source` is a git address, a folder of this machine or a zip file of it. Raises InvalidRequest for what is none of
    these, is no extension or is there already, WebuiError with git's words when it cannot be fetched.
    """
    source = source.strip()
    if not source:
        raise InvalidRequest("name a git address, a folder or a zip file to install from", field="source")
    into.mkdir(parents=True, exist_ok=True)
    with _workshop(into) as workshop:
        fetched = workshop / "fetched"
        if _GIT_ADDRESS.match(source):
            _git("clone", *(("--branch", branch) if branch else ()), "--", source, str(fetched), cwd=workshop)
        else:
            path = Path(source).expanduser()
            if path.is_dir():
                shutil.copytree(path, fetched, symlinks=True)
            elif zipfile.is_zipfile(path):
                fetched = _unpacked(path, fetched)
            else:
                raise InvalidRequest(
                    f'"{source}" is no git address, no folder and no zip file of this machine', field="source"
                )
        _check_is_extension(fetched, source)
        target = into / _free_name(name.strip() or _own_name(source), into)
        fetched.replace(target)
    return target


def updates(extension: Extension) -> int | None:
    """How many commits its branch has gained since; None for what was not cloned. Asks the network."""
    if origin_of(extension.folder) is None or not origin_of(extension.folder).branch:
        return None
    _git("fetch", "--quiet", cwd=extension.folder)
    return int(_git("rev-list", "--count", "HEAD..@{upstream}", cwd=extension.folder))


def update(extension: Extension) -> str:
    """Bring a clone to the newest commit of its branch; gives what it is at then. Local changes are never overwritten.

    Raises InvalidRequest for what was not cloned, WebuiError with git's words.
    """
    origin = origin_of(extension.folder)
    if origin is None or not origin.branch:
        raise InvalidRequest(f"{extension.name} is no clone on a branch, so there is nothing to update it from")
    _git("fetch", "--quiet", cwd=extension.folder)
    _git("merge", "--ff-only", "@{upstream}", cwd=extension.folder)
    return origin_of(extension.folder).version


def go_to(extension: Extension, commit: str) -> None:
    """Bring a clone to a commit, fetching it if need be; raises WebuiError with git's words."""
    if not re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", commit):
        raise InvalidRequest(f'"{commit}" is no commit')
    try:
        _git("cat-file", "-e", f"{commit}^{{commit}}", cwd=extension.folder)
    except WebuiError:
        _git("fetch", "--quiet", cwd=extension.folder)
    origin = origin_of(extension.folder)
    # stay on the branch, so that it can be updated again
    verb = ("checkout", "--quiet", "-B", origin.branch, commit) if origin and origin.branch else ("checkout", commit)
    _git(*verb, cwd=extension.folder)


def uninstall(extension: Extension, into: Path) -> Path:
    """Take a person's extension out of the folder; it is kept below `.removed`. Raises InvalidRequest for ours."""
    if extension.is_builtin or not extension.folder.resolve().is_relative_to(into.resolve()):
        raise InvalidRequest(f"{extension.name} is a part of the program; switch it off instead")
    kept = into / REMOVED
    kept.mkdir(exist_ok=True)
    target = kept / f"{extension.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{target.name}-{number}")
    extension.folder.replace(target)
    return target


@contextmanager
def _workshop(into: Path) -> Iterator[Path]:
    """A hidden folder beside the extensions, so that what is finished in it is moved in one step; empty afterwards."""
    workshop = Path(tempfile.mkdtemp(prefix=".installing-", dir=into))
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, onerror=_writable)


def _writable(remove: object, path: str, _: object) -> None:
    """git keeps its objects read-only, which Windows minds."""
    os.chmod(path, stat.S_IWRITE)
    Path(path).unlink(missing_ok=True)


def _unpacked(archive: Path, target: Path) -> Path:
    """A zip file's content below `target`; the folder in it where that is all it holds. Raises InvalidRequest."""
    with zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        if len(entries) > ZIP_FILES_LIMIT or sum(entry.file_size for entry in entries) > ZIP_BYTES_LIMIT:
            raise InvalidRequest(f"{archive.name} unpacks to more than an extension may take (1 GB, 20,000 files)")
        for entry in entries:
            path = target / entry.filename
            if not path.resolve().is_relative_to(target.resolve()) or stat.S_ISLNK(entry.external_attr >> 16):
                raise InvalidRequest(f'{archive.name} would write outside its folder: "{entry.filename}"')
        try:
            packed.extractall(target)
        except (zipfile.BadZipFile, RuntimeError, OSError) as error:
            raise InvalidRequest(f"{archive.name} cannot be unpacked ({error})") from error
    inside = list(target.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target


def _check_is_extension(folder: Path, source: str) -> None:
    if (folder / ENTRY).is_file():
        return
    if (folder / "scripts").is_dir() or (folder / "install.py").is_file():
        raise InvalidRequest(
            f"{source} was made for A1111's own program and reaches into it; extensions of this one have an {ENTRY}"
        )
    raise InvalidRequest(f"{source} is no extension: it has no {ENTRY}")


def _own_name(source: str) -> str:
    """The last part of an address or path, without ".git" or ".zip"."""
    last = re.split(r"[/\\:]", source.rstrip("/\\"))[-1]
    return re.sub(r"\.(?:git|zip)$", "", last, flags=re.IGNORECASE)


def _free_name(name: str, into: Path) -> str:
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise InvalidRequest(f'"{name}" cannot be the name of a folder; choose another', field="name")
    if name in BUILTIN or (into / name).exists():
        raise InvalidRequest(f'there is an extension "{name}" already; remove it first or choose another name')
    return name


def _git(*arguments: str, cwd: Path) -> str:
    """What git prints; raises WebuiError with its words when it fails, is not there or takes too long."""
    program = shutil.which("git")
    if program is None:
        raise WebuiError("git is not installed on this machine; install it, or install from a folder or a zip file")
    quiet = {
        "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "GIT_ALLOW_PROTOCOL": PROTOCOLS,
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    }  # fmt: skip
    options = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false")
    try:
        done = subprocess.run(
            [program, *options, *arguments],
            cwd=cwd,
            env={**os.environ, **quiet},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=WAIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise WebuiError(f"git {arguments[0]} took longer than {WAIT_S:.0f} seconds and was given up") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("Cloning into")]
        raise WebuiError(f"git {arguments[0]} failed: {' '.join(said)[:600] or 'it did not say why'}")
    return done.stdout.strip()
