"""Logins, API keys and login sessions: who may come in, who is in. Passwords are hashed; sessions live in memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modules.errors import SettingsError
from modules.outputs.naming import component

_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_SCHEME = "scrypt$14$8$1$"
_STORED = re.compile(re.escape(_SCHEME) + r"([\w-]{22})\$([\w-]{86})")
_SESSION_S = 30 * 24 * 3600
_SHORTEST_KEY = 20
_FREE_FAILURES = 5
_FREE_FAILURES_OF_ADDRESS = 30
_LONGEST_WAIT_S = 300.0


@dataclass(frozen=True)
class _Hashed:
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str) -> _Hashed:
        salt = secrets.token_bytes(16)
        return cls(salt, _scrypt(password, salt))

    @classmethod
    def read(cls, text: str) -> _Hashed:
        """From a password, or from what `hashed_password` made of one."""
        if (stored := _STORED.fullmatch(text)) is None:
            return cls.of(text)
        return cls(_from_text(stored[1]), _from_text(stored[2]))

    def fits(self, password: str) -> bool:
        return hmac.compare_digest(_scrypt(password, self.salt), self.digest)


def hashed_password(password: str) -> str:
    """A password as it may stand in a file of logins in place of itself."""
    made = _Hashed.of(password)
    return f"{_SCHEME}{_to_text(made.salt)}${_to_text(made.digest)}"


def _to_text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode("ascii").rstrip("=")


def _from_text(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, **_SCRYPT)


class Logins:
    """User names and hashed passwords. The names' order is that of the flags; the first one is the administrator.

    A password may be given as what `hashed_password` made of it.
    """

    def __init__(self, logins: dict[str, str]) -> None:
        self._hashed = {name: _Hashed.read(password) for name, password in logins.items()}
        self._nobody = _Hashed.of(secrets.token_hex(8))
        self.administrator = next(iter(logins), None)
        self._verified: dict[tuple[str, bytes], None] = {}
        self._key = secrets.token_bytes(32)

    def __bool__(self) -> bool:
        return bool(self._hashed)

    def __contains__(self, name: str) -> bool:
        return name in self._hashed

    def check(self, name: str, password: str) -> bool:
        """Whether the password is the user's; takes as long for a name that nobody has."""
        return self._hashed.get(name, self._nobody).fits(password) and name in self._hashed

    def check_again(self, name: str, password: str) -> bool:
        """Like `check`, but a pair that was right once is recognised without the slow hash: for HTTP Basic, which sends
        the password with every request. What is remembered is keyed with a secret of this run of the program."""
        mark = (name, hmac.digest(self._key, password.encode("utf-8", "surrogatepass"), "sha256"))
        if mark in self._verified:
            return True
        if not self.check(name, password):
            return False
        self._verified[mark] = None
        return True


class ApiKeys:
    """Keys that stand for a name and a password in the API. Only their hashes are kept: a key is long and random."""

    def __init__(self, keys: dict[bytes, str] | None = None) -> None:
        self._names = keys or {}

    def __bool__(self) -> bool:
        return bool(self._names)

    def name(self, key: str) -> str | None:
        """Whose key it is."""
        return self._names.get(_digest(key))

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody who has a key, in the order of the file; where there are no logins the first administers."""
        return tuple(dict.fromkeys(self._names.values()))


class Sessions:
    """Login sessions by cookie token. Only the hash of a token is kept, so a memory dump opens no door."""

    def __init__(self) -> None:
        self._users: dict[bytes, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def open(self, user: str) -> str:
        """A new token for a user who has just shown the password."""
        token = secrets.token_urlsafe(32)
        now = time.time()
        with self._lock:
            self._users = {key: value for key, value in self._users.items() if value[1] > now}
            self._users[_digest(token)] = (user, now + _SESSION_S)
        return token

    def user(self, token: str) -> str | None:
        with self._lock:
            user, until = self._users.get(_digest(token), (None, 0.0))
        return user if until > time.time() else None

    def close(self, token: str) -> None:
        with self._lock:
            self._users.pop(_digest(token), None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Lockout:
    """Slows down guessing: each failure over the free ones doubles the wait.

    Five are free for one name from one address, thirty for an address: behind a share link or a proxy everybody has the
    same address, and one guesser there must not lock all others out at once. IPv6 addresses of one network of 64 bits
    count as one: that many anybody has.
    """

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def wait_s(self, address: str, name: str) -> float:
        """Seconds that must pass before another try counts; 0 when one may try now."""
        now = time.monotonic()
        with self._lock:
            return max(0.0, *(self._failures.get(key, (0, now))[1] - now for key, _ in _keys(address, name)))

    def failed(self, address: str, name: str) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._failures) > 10_000:  # an attacker with many addresses must not fill the memory
                self._failures = {key: entry for key, entry in self._failures.items() if entry[1] > now}
            for key, free in _keys(address, name):
                count = self._failures.get(key, (0, 0.0))[0] + 1
                wait = min(_LONGEST_WAIT_S, 2.0 ** (count - free)) if count > free else 0.0
                self._failures[key] = (count, now + wait)

    def succeeded(self, address: str, name: str) -> None:
        with self._lock:
            for key, _ in _keys(address, name):
                self._failures.pop(key, None)


def _keys(address: str, name: str) -> tuple[tuple[str, int], ...]:
    """What failures are counted under, with how many are free."""
    with contextlib.suppress(ValueError):
        if (found := ipaddress.ip_address(address.split("%", 1)[0])).version == 6:
            address = str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False).network_address)
    return ((f"{address} {name}", _FREE_FAILURES), (address, _FREE_FAILURES_OF_ADDRESS))


def parse_logins(text: str | None, *, flag: str) -> dict[str, str]:
    """`user:password,user:password` as a dict; passwords may hold colons but no commas. Raises SettingsError."""
    logins: dict[str, str] = {}
    for entry in (text or "").replace("\n", ",").split(","):
        if not (entry := entry.strip()):
            continue
        name, _, password = (part.strip() for part in entry.partition(":"))
        if not name or not password:
            raise SettingsError(f"{flag} holds an entry that is not user:password; write user:password,user:password")
        logins[name] = password
    return logins


def read_logins(path: str | None, *, flag: str) -> dict[str, str]:
    """Logins from a file with one or more a line, as for `parse_logins`."""
    if path is None:
        return {}
    try:
        return parse_logins(_text_of(path), flag=flag)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{flag}: {path} cannot be read ({_why(error)}); nobody could log in") from error


def _text_of(path: str) -> str:
    """A file's text, as editors on Windows write it too; raises OSError, ValueError for what is not UTF-8."""
    return Path(path).expanduser().read_text("utf-8-sig")


def _why(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not text in UTF-8"


def check_names(names: Iterable[str]) -> None:
    """Raise SettingsError for people whose pictures would share a folder: each has one of the name in `outputs/`."""
    owner_of_folder: dict[str, str] = {}
    for name in names:
        folder = component(name)
        if folder != name:
            raise SettingsError(
                f'"{name}" cannot be the name of a login or a key: no folder of pictures can be called so'
            )
        other = owner_of_folder.setdefault(folder.casefold(), name)
        if other != name:
            raise SettingsError(
                f'the logins or keys "{other}" and "{name}" differ in capitals alone; rename one of them'
            )


def new_key(name: str) -> tuple[str, str]:
    """A new API key, and the line that makes it known in the file of `--api-keys-path`."""
    key = secrets.token_urlsafe(32)
    return key, f"{name}:sha256${_digest(key).hex()}"


def read_keys(path: str | None, *, flag: str) -> ApiKeys:
    """API keys from a file with `name:sha256$…` or `name:key` a line; raises SettingsError."""
    if path is None:
        return ApiKeys()
    try:
        lines = _text_of(path).splitlines()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{flag}: {path} cannot be read ({_why(error)}); no key would work") from error
    keys: dict[bytes, str] = {}
    for number, line in enumerate(lines, start=1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        name, _, key = (part.strip() for part in line.partition(":"))
        if not name or len(key) < _SHORTEST_KEY:
            raise SettingsError(
                f"{flag}: line {number} of {path} is not name:key with a key of {_SHORTEST_KEY} characters or more; "
                "./webui.sh api-key NAME makes one"
            )
        stored = re.fullmatch(r"sha256\$([0-9a-f]{64})", key)
        keys[bytes.fromhex(stored[1]) if stored else _digest(key)] = name
    return ApiKeys(keys)
