"""A client for the server's native API in one file without dependencies: copy it, or `from tools.client import Client`.

    client = Client("http://127.0.0.1:7860")
    job = client.generate(request("a red apple", width=256, height=256, seed=1))
    Path("apple.png").write_bytes(client.picture(job.images[0]))

Every submit carries an idempotency key, so a submit that is tried again after a broken connection never runs twice.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "interrupted", "cancelled"]
ENDS = ("done", "failed", "interrupted", "cancelled")
_TRIES = 5
_LONGEST_PAUSE_S = 60.0
_WAIT_S = 30.0


class ApiError(Exception):
    """The server said no: `status` is HTTP's, `kind` the server's name for the error, the text says what to do."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


class JobFailed(Exception):
    """The job ended without being done; `job` is how it ended."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"the job {job.id} is {job.state}" + (f": {job.error['message']}" if job.error else ""))
        self.job = job


@dataclass(frozen=True)
class Image:
    """A picture of a job; `Client.picture` gets its bytes. `infotext` is what A1111 writes into the file."""

    id: str
    url: str
    thumb: str
    role: str
    index: int
    seed: int
    subseed: int
    width: int
    height: int
    infotext: str
    shown: bool
    saved: str | None
    saving_error: str | None
    name: str


@dataclass(frozen=True)
class Job:
    """A job as it was when the server was asked. Times are seconds since 1970, `progress` runs from 0 to 1."""

    id: str
    state: State
    kind: str
    title: str
    created: float
    started: float | None
    finished: float | None
    position: int | None
    held: bool
    retry_of: str | None
    progress: float
    eta_s: float | None
    step: int
    steps: int
    batch: int
    batches: int
    text: str
    preview: int | None
    images: tuple[Image, ...]
    notices: tuple[str, ...]
    networks: tuple[Mapping[str, Any], ...]  # LoRAs and hypernetworks: "name", "model", "applied" of "total" modules
    error: Mapping[str, str] | None
    info: Mapping[str, Any] | None  # A1111's `info` object

    @property
    def is_at_end(self) -> bool:
        return self.state in ENDS


@dataclass(frozen=True)
class Event:
    """Something a job said: `kind` is "started", "step", "image", "done" …, `data` what goes with it."""

    id: str
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class SavedPicture:
    """A picture in the server's history."""

    id: int
    name: str
    width: int
    height: int
    favourite: bool
    tags: tuple[str, ...]
    created: float
    words: str
    thumb: str
    file: str


@dataclass(frozen=True)
class Page:
    """Some of the pictures found, and how many there are in all."""

    total: int
    pictures: tuple[SavedPicture, ...]


def request(
    prompt: str,
    *,
    negative_prompt: str = "",
    width: int = 512,
    height: int = 512,
    seed: int = -1,
    steps: int = 20,
    cfg_scale: float = 7.0,
    sampler: str = "DPM++ 2M",
    schedule: str | None = None,
    count: int = 1,
    batch_size: int = 1,
    checkpoint: str | None = None,
    source: bytes | None = None,
    mask: bytes | None = None,
    denoising_strength: float = 0.75,
    save: bool | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A `GenerationRequest` as JSON values; with `source` (an image file's bytes) img2img, with `mask` too inpainting.

    More fields are in the server's `/docs`; add them to the dict.
    """
    made: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "size": {"width": width, "height": height},
        "seed": {"value": seed},
        "sampling": {"sampler": sampler, "schedule": schedule, "steps": steps, "cfg_scale": cfg_scale},
        "batch": {"size": batch_size, "count": count},
        "model": {"checkpoint": checkpoint},
        "save": save,
        "overrides": dict(overrides or {}),
    }
    if source is not None:
        made["source"] = {"images": [_text(source)], "denoising_strength": denoising_strength}
        if mask is not None:
            made["source"]["inpaint"] = {"mask": _text(mask)}
    elif mask is not None:
        raise ValueError("a mask repaints part of a picture; give the picture as source")
    return made


class Client:
    """One server. `key` is an API key, `login` a user name and password; neither is needed without logins.

    Requests that meet a full queue or a broken connection are tried again, up to five times; POSTs only where that is
    harmless. `timeout` bounds each request in seconds, not the making of a picture. Raises ApiError.
    """

    def __init__(
        self, url: str, *, key: str | None = None, login: tuple[str, str] | None = None, timeout: float = 60.0
    ) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._headers = {"Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        elif login is not None:
            self._headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()

    # ── making pictures ─────────────────────────────────────────────────────────────────────────────────────────

    def generate(
        self,
        request: Mapping[str, Any],
        *,
        told: Callable[[Job], None] = lambda job: None,
        timeout: float | None = None,
    ) -> Job:
        """Submit, wait for the end, return the job with its images. `told` hears of the job about twice a minute.

        Raises JobFailed unless it is done, TimeoutError after `timeout` seconds (the job goes on).
        """
        job = self.wait(self.submit(request).id, told=told, timeout=timeout)
        if job.state != "done":
            raise JobFailed(job)
        return job

    def submit(
        self,
        request: Mapping[str, Any],
        *,
        priority: Literal["interactive", "batch"] = "interactive",
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a request. Give an `idempotency_key` of your own to stay safe across restarts of your program too."""
        key = idempotency_key or str(uuid.uuid4())
        answer = self._ask("POST", f"/api/v1/jobs?priority={priority}", request, headers={"Idempotency-Key": key})
        return _job(answer)

    def wait(self, job_id: str, *, told: Callable[[Job], None] = lambda job: None, timeout: float | None = None) -> Job:
        """The job at its end; raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = min(_WAIT_S, self.timeout / 2)
            if deadline is not None:
                left = max(0.0, min(left, deadline - time.monotonic()))
            job = _job(self._ask("GET", f"/api/v1/jobs/{job_id}/result?wait={left:.3f}"))
            if job.is_at_end:
                return job
            told(job)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"the job {job_id} did not end within {timeout:g} s; it goes on")

    def picture(self, image: Image | SavedPicture) -> bytes:
        """The bytes of a picture's file, metadata included."""
        address = image.url if isinstance(image, Image) else image.file
        return self._bytes(address if address.startswith("/") else f"/{address}")

    # ── watching and steering ───────────────────────────────────────────────────────────────────────────────────

    def job(self, job_id: str) -> Job:
        return _job(self._ask("GET", f"/api/v1/jobs/{job_id}"))

    def jobs(self, state: State | Literal["", "active"] = "", *, limit: int = 50) -> tuple[Job, ...]:
        """Own jobs, newest first."""
        answer = self._ask("GET", "/api/v1/jobs?" + urllib.parse.urlencode({"state": state, "limit": limit}))
        return tuple(_job(one) for one in answer["jobs"])

    def events(self, job_id: str) -> Iterator[Event]:
        """What a job says, from its first word to its end; goes on where it was when the connection breaks."""
        last, failures = "", 0
        while True:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
            try:
                with self._open("GET", f"/api/v1/jobs/{job_id}/events", None, headers) as stream:
                    for event in _events(stream):
                        last, failures = event.id, 0
                        yield event
                        if event.kind in ENDS:
                            return
            except (_Later, OSError, HTTPException) as error:
                failures += 1
                if failures >= _TRIES:
                    raise ConnectionError(f"{self.url}: the events of the job {job_id} cannot be read") from error
            if self.job(job_id).is_at_end and failures == 0:
                return
            time.sleep(min(2.0**failures / 10, _LONGEST_PAUSE_S))

    def preview(self, job_id: str) -> bytes | None:
        """The newest preview of a running job, an image file; None when there is none."""
        return self._bytes(f"/api/v1/jobs/{job_id}/preview") or None

    def interrupt(self, job_id: str, *, after_batch: bool = False) -> Job:
        """End a running job with what there is; a waiting one is dropped."""
        query = "?after=batch" if after_batch else ""
        return _job(self._ask("POST", f"/api/v1/jobs/{job_id}/interrupt{query}"))

    def cancel(self, job_id: str) -> Job:
        return _job(self._ask("POST", f"/api/v1/jobs/{job_id}/cancel"))

    def skip(self, job_id: str) -> Job:
        """Give up the batch in hand and go on with the next."""
        return _job(self._ask("POST", f"/api/v1/jobs/{job_id}/skip", again=False))

    def retry(self, job_id: str) -> Job:
        """Queue an ended job's plan again; the answer is the new job."""
        return _job(self._ask("POST", f"/api/v1/jobs/{job_id}/retry", again=False))

    # ── what was made before ────────────────────────────────────────────────────────────────────────────────────

    def history(self, text: str = "", *, limit: int = 100, offset: int = 0, **filters: str | int | float) -> Page:
        """Saved pictures whose prompts have these words, newest first; `filters` as in the server's /docs: model="…",
        sampler="…", seed=…, tag="…", since=…"""
        query = urllib.parse.urlencode({"text": text, "limit": limit, "offset": offset, **filters})
        answer = self._ask("GET", f"/api/v1/history?{query}")
        found = tuple(
            SavedPicture(**_known(SavedPicture, {**one, "tags": tuple(one["tags"])})) for one in answer["pictures"]
        )
        return Page(answer["total"], found)

    def worker(self) -> Mapping[str, Any]:
        """What makes the pictures: state, model, device, memory."""
        return self._ask("GET", "/api/v1/worker")

    # ── HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> Any:  # whatever JSON is answered
        return json.loads(self._bytes(path, method=method, body=body, headers=headers or {}, again=again))

    def _bytes(
        self,
        path: str,
        *,
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> bytes:
        for tried in range(1, _TRIES + 1):
            try:
                with self._open(method, path, body, headers or {}) as answer:
                    return answer.read()
            except _Later as later:
                if tried == _TRIES:
                    raise later.error from None
                time.sleep(later.pause_s)
            except (OSError, HTTPException) as error:
                if tried == _TRIES or not again:
                    raise ConnectionError(f"{self.url} does not answer: {error}") from error
                time.sleep(2.0**tried / 10)
        raise AssertionError("the last try returns or raises")

    def _open(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> HTTPResponse:
        content = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, content, {**self._headers, **headers}, method=method)
        if content is not None:
            asked.add_header("Content-Type", "application/json")
        try:
            return urllib.request.urlopen(asked, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                refusal = _refusal(error.code, error.read())
            if error.code in (429, 503):
                pause = float(error.headers.get("Retry-After") or 1)
                raise _Later(min(pause, _LONGEST_PAUSE_S), refusal) from None
            raise refusal from None


class _Later(Exception):
    """The server is busy; it said when to come again."""

    def __init__(self, pause_s: float, error: ApiError) -> None:
        self.pause_s, self.error = pause_s, error


def _refusal(status: int, content: bytes) -> ApiError:
    try:
        said = json.loads(content)
    except ValueError:
        return ApiError(status, "HTTPError", content[:200].decode("utf-8", "replace"))
    detail = said.get("detail")
    if isinstance(detail, list):  # FastAPI's list of fields that do not fit
        detail = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in detail)
    return ApiError(status, said.get("error", "HTTPError"), str(detail))


def _events(stream: HTTPResponse) -> Iterator[Event]:
    """Server-sent events as the HTML standard words them; comments are skipped."""
    said: dict[str, str] = {}
    for raw in stream:
        line = raw.decode("utf-8").rstrip("\r\n")
        if not line and "data" in said:
            yield Event(said.get("id", ""), said.get("event", "message"), json.loads(said["data"]))
            said = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(":")
            said[name] = value.removeprefix(" ")


def _job(values: Mapping[str, Any]) -> Job:
    images = tuple(Image(**_known(Image, one)) for one in values["images"])
    lists = {name: tuple(values[name]) for name in ("notices", "networks")}
    return Job(**_known(Job, {**values, "images": images, **lists}))


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `kind` has: a newer server may say more."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
