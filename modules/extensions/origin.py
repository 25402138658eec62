"""Where an extension's folder was cloned from, read from git's own files: no program is run, least of all what a
stranger's repository configures.
"""

from __future__ import annotations

import configparser
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LONGEST = 2**20


@dataclass(frozen=True)
class Origin:
    """A clone: `remote` is an address, `branch` "" for a detached commit, `commit_date` in seconds since 1970.

    The date is None when the commit lies packed with others, as it does right after cloning.
    """

    remote: str
    branch: str
    commit_hash: str
    commit_date: int | None

    @property
    def version(self) -> str:
        """How A1111 shortens a commit."""
        return self.commit_hash[:8]


def origin_of(folder: Path) -> Origin | None:
    """The clone that `folder` is; None when it is none, or one without a remote named origin."""
    git = folder / ".git"
    try:
        remote = _remote(git / "config")
        head = (git / "HEAD").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError, configparser.Error):
        return None
    if not remote:
        return None
    reference = head.removeprefix("ref: ").strip() if head.startswith("ref: ") else ""
    commit = (_commit(git, reference) or "") if reference else head
    return Origin(
        remote=remote,
        branch=reference.removeprefix("refs/heads/"),
        commit_hash=commit if _HASH.fullmatch(commit) else "",
        commit_date=_date(git, commit) if _HASH.fullmatch(commit) else None,
    )


def _remote(config: Path) -> str:
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    parser.read_string(config.read_text("utf-8"))
    url = parser.get('remote "origin"', "url", fallback="") or ""
    return re.sub(r"(?<=://)[^/@]*@", "", url)  # a token that somebody cloned with is nobody else's business


def _commit(git: Path, reference: str) -> str | None:
    if ".." in reference.split("/"):
        return None
    try:
        return (git / reference).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        pass  # packed together with others
    try:
        packed = (git / "packed-refs").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((line.split(" ", 1)[0] for line in packed if line.endswith(f" {reference}")), None)


def _date(git: Path, commit: str) -> int | None:
    try:
        stored = (git / "objects" / commit[:2] / commit[2:]).read_bytes()
        content = zlib.decompressobj().decompress(stored, _LONGEST)
    except (OSError, zlib.error):
        return None
    found = re.search(rb"^committer .*> (\d+) [+-]\d{4}$", content, re.MULTILINE)
    return int(found[1]) if found else None
