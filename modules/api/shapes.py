"""The bodies of A1111's other answers, field by field (reference section 9.2), so that the OpenAPI document is true."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel


class Shape(BaseModel):
    """An answer; A1111 has fields named `model_…`, which pydantic would keep for itself."""

    model_config = ConfigDict(protected_namespaces=())


class Sampler(Shape):
    name: str
    aliases: list[str]
    options: dict[str, str]


class Scheduler(Shape):
    name: str
    label: str
    aliases: list[str] | None
    default_rho: float | None
    need_inner_model: bool | None


class Upscaler(Shape):
    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float | None


class LatentUpscaleMode(Shape):
    name: str


class Checkpoint(Shape):
    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class Vae(Shape):
    model_name: str
    filename: str


class Hypernetwork(Shape):
    name: str
    path: str | None


class Lora(Shape):
    name: str
    alias: str
    path: str
    metadata: dict[str, Any]


class FaceRestorer(Shape):
    name: str
    cmd_dir: str | None


class RealEsrganModel(Shape):
    name: str
    path: str | None
    scale: int | None


class PromptStyle(Shape):
    name: str
    prompt: str | None
    negative_prompt: str | None


class Embedding(Shape):
    step: int | None
    sd_checkpoint: str | None
    sd_checkpoint_name: str | None
    shape: int
    vectors: int


class Embeddings(Shape):
    loaded: dict[str, Embedding]
    skipped: dict[str, Embedding]


class ProgressState(Shape):
    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: str
    job_count: int
    job_timestamp: str
    job_no: int
    sampling_step: int
    sampling_steps: int


class Progress(Shape):
    progress: float
    eta_relative: float
    state: ProgressState
    current_image: str | None
    textinfo: str | None


class TaskProgress(Shape):
    """POST /internal/progress"""

    active: bool
    queued: bool
    completed: bool
    progress: float | None
    eta: float | None
    live_preview: str | None
    id_live_preview: int | None
    textinfo: str | None


class PendingTasks(Shape):
    size: int
    tasks: list[str]


class Memory(Shape):
    """Bytes, or an object with `error` where there is nothing to tell."""

    ram: dict[str, Any]
    cuda: dict[str, Any]


class Nothing(Shape):
    """An empty object."""


class Info(Shape):
    """What the training and creating routes answer: one sentence."""

    info: str


class Caption(Shape):
    caption: str


class Scripts(Shape):
    """Script names in lower case."""

    txt2img: list[str]
    img2img: list[str]


class ScriptArgument(Shape):
    label: str | None
    value: Any
    minimum: Any
    maximum: Any
    step: Any
    choices: list[Any] | None


class ScriptInfo(Shape):
    name: str
    is_alwayson: bool
    is_img2img: bool
    args: list[ScriptArgument]


class Extension(Shape):
    name: str
    remote: str
    branch: str
    commit_hash: str
    version: str
    commit_date: int
    enabled: bool


class QuickSetting(Shape):
    name: str
    label: str


class QueueStatus(Shape):
    """Gradio 3's `/queue/status`, which clients poll to see whether the server is busy."""

    msg: str
    rank: int | None
    queue_size: int
    avg_event_process_time: float | None
    avg_event_concurrent_process_time: float | None
    rank_eta: float | None
    queue_eta: float


class Options(RootModel[dict[str, Any]]):
    """Settings by key."""
