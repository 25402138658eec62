"""The bodies of the answers about jobs and saved pictures, as `modules/api/jobs.py` and `history.py` describe them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

State = Literal["queued", "running", "done", "failed", "interrupted", "cancelled"]


class Image(BaseModel):
    """A picture of a job; `url` and `thumb` are addresses on this server, `name` is a file name to keep it under."""

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


class Failure(BaseModel):
    kind: str
    message: str


class Asked(BaseModel):
    """What a job asks for, in short; `model` is None where each picture may have its own."""

    tab: Literal["txt2img", "img2img", "inpaint"]
    width: int
    height: int
    hires: bool
    sampler: str | None
    steps: int | None
    pictures: int
    model: str | None
    script: str | None


class AppliedNetwork(BaseModel):
    """A LoRA or hypernetwork that a prompt of the job names: how many of its modules a model has.

    `for_t5` of the others are for SD 3's T5, which is not loaded.
    """

    name: str
    model: str
    applied: int
    total: int
    for_t5: int


class Job(BaseModel):
    """A job as it is now. Times are seconds since 1970, `progress` runs from 0 to 1, `info` is A1111's object."""

    id: str
    state: State
    kind: str
    title: str
    asked: Asked | None
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
    images: list[Image]
    notices: list[str]
    networks: list[AppliedNetwork]
    error: Failure | None
    info: dict[str, Any] | None


class Jobs(BaseModel):
    jobs: list[Job]
    paused: bool


class Paused(BaseModel):
    paused: bool


class Worker(BaseModel):
    """What the worker process last said of itself; more fields may come."""

    model_config = ConfigDict(extra="allow")

    state: Literal["starting", "loading", "ready", "busy", "dead"]
    message: str = ""


class Tile(BaseModel):
    """A saved picture in a list; `thumb` and `file` are addresses relative to the server's root."""

    id: int
    name: str
    width: int
    height: int
    favourite: bool
    tags: list[str]
    created: float
    words: str
    thumb: str
    file: str


class Tiles(BaseModel):
    total: int
    pictures: list[Tile]
