"""What a running job says: a worker yields these, the front stores and forwards them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from modules.generation.part import Part
from modules.images.data import ImageData


class JobStarted(Part):
    kind: Literal["started"] = "started"
    total_steps: int
    total_images: int


class ModelLoading(Part):
    """A checkpoint is being read; `title` as in the catalog."""

    kind: Literal["model_loading"] = "model_loading"
    title: str


class PassStarted(Part):
    """A sampler pass begins: "txt2img", "img2img", "hires"; `batch` counts from 0."""

    kind: Literal["pass"] = "pass"
    name: str
    batch: int
    batches: int
    steps: int


class StepDone(Part):
    """`step` of `steps` in this pass, `done` of `total` in the whole job; the preview is a small JPEG or PNG."""

    kind: Literal["step"] = "step"
    step: int
    steps: int
    done: int
    total: int
    preview: ImageData | None = None


class ImageDone(Part):
    """A finished picture as file bytes with its infotext inside.

    `role` tells samples from extra pictures: "sample", "grid", "mask", "mask_composite", "before_hires",
    "before_color_correction", "init". `index` is the picture's place in the plan, -1 for a grid. `shown` says whether
    the picture belongs in the gallery and the API's answer, `saved` whether it is to be written to disk. `basename`
    stands in front of its file's name ("xyz_grid"); "" leaves that to the role.
    """

    kind: Literal["image"] = "image"
    role: str = "sample"
    index: int
    seed: int
    subseed: int = -1
    prompt: str = ""
    negative_prompt: str = ""
    width: int
    height: int
    image: ImageData
    infotext: str
    shown: bool = True
    saved: bool = True
    basename: str = ""


class Notice(Part):
    """Something the person should know that stops nothing: a LoRA not found, a fallback taken."""

    kind: Literal["notice"] = "notice"
    message: str


class AppliedNetwork(Part):
    """How much of a LoRA or hypernetwork a model of the job has: modules, or widths of context for a hypernetwork.

    `for_t5` of the modules are for SD 3's T5 and could not be applied, as it is not loaded.
    """

    name: str
    model: str
    applied: int
    total: int
    for_t5: int = 0


class JobDone(Part):
    """The end of a job; `infotexts` in gallery order, `extra_parameters` as A1111's `extra_generation_params`."""

    kind: Literal["done"] = "done"
    interrupted: bool = False
    infotexts: tuple[str, ...] = ()
    extra_parameters: dict[str, str] = Field(default_factory=dict)
    networks: tuple[AppliedNetwork, ...] = ()
    model_sha256: str | None = None
    elapsed_s: float = 0.0
    peak_memory_bytes: int = 0


class JobFailed(Part):
    """The job ended without (all of) its pictures. `error` is the exception's class, `message` is for people."""

    kind: Literal["failed"] = "failed"
    error: str
    message: str
    detail: str = ""  # a traceback for the log and for bug reports; never shown to other users


class SoFar(Part):
    """What a job that gave way has come to: with its plan all that any worker needs to go on as if nothing had been.

    `batches` of the plan are done. `facts` and `lora_hashes` are what the run found out for its infotexts, `infotexts`
    those of the pictures made; `samples` are these pictures without loss, for the grid (none when it makes no grid).
    `found_noise` are numbers (B, C, h, w) that img2img found in its source and starts every batch from.
    """

    batches: int
    steps_done: int = 0
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    lora_hashes: dict[str, str] = Field(default_factory=dict)
    infotexts: tuple[str, ...] = ()
    networks: tuple[AppliedNetwork, ...] = ()
    noticed: tuple[str, ...] = ()
    samples: tuple[ImageData, ...] = ()
    found_noise: JsonValue = None
    model_sha256: str | None = None
    elapsed_s: float = 0.0
    peak_memory_bytes: int = 0

    def done(self) -> JobDone:
        """The end of a job that is stopped here."""
        return JobDone(
            interrupted=True,
            infotexts=self.infotexts,
            extra_parameters=extra_parameters(self.facts),
            networks=self.networks,
            model_sha256=self.model_sha256,
            elapsed_s=self.elapsed_s,
            peak_memory_bytes=self.peak_memory_bytes,
        )


class JobPaused(Part):
    """The worker has put the job down between two batches, as it was asked to; it goes on with `so_far`."""

    kind: Literal["paused"] = "paused"
    so_far: SoFar


def extra_parameters(facts: Mapping[str, Any]) -> dict[str, str]:
    """What a run found out about its pictures, as A1111's `extra_generation_params`, which has no hashes of files."""
    return {key: str(value) for key, value in facts.items() if value is not None and key not in _OF_FILES}


_OF_FILES = ("Model hash", "VAE hash")


Event = Annotated[
    JobStarted | ModelLoading | PassStarted | StepDone | ImageDone | Notice | JobPaused | JobDone | JobFailed,
    Field(discriminator="kind"),
]
