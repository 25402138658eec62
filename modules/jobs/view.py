"""Jobs and pictures as JSON for watchers (`modules/api/jobs.py` lists the fields), and A1111's `info` object."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from modules.generation.events import JobDone
from modules.generation.plan import Plan
from modules.jobs.record import Job, JobState, Result

_MASK_WEIGHT = "Conditional mask weight"  # told of jobs whose network takes the masked picture beside the latents
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/avif": "avif"}


def image_view(result: Result, prefix: str = "") -> dict[str, Any]:
    """A picture as watchers see it; `prefix` stands before its addresses (`--subpath`)."""
    url = f"{prefix}/files/{result.id}"
    return {
        "id": result.id,
        "url": url,
        "thumb": f"{url}?thumb=1",
        "role": result.role,
        "index": result.index,
        "seed": result.seed,
        "subseed": result.subseed,
        "width": result.width,
        "height": result.height,
        "infotext": result.infotext,
        "shown": result.shown,
        "saved": result.path,
        "saving_error": result.saving_error or None,
        "name": file_name(result),
    }


def file_name(result: Result) -> str:
    """A name to download a picture under: that of the saved file, or one made from its seed and prompt."""
    if result.path is not None:
        return result.path.replace("\\", "/").rsplit("/", 1)[-1]
    words = re.sub(r"[^\w\s-]", "", result.prompt).split()
    stem = "-".join([str(result.seed), *words[:8]])[:80]
    return f"{stem}.{_SUFFIXES[result.media_type]}"


def job_view(
    job: Job,
    results: Sequence[Result],
    *,
    progress: dict[str, Any],
    position: int | None,
    asked: dict[str, Any] | None = None,
    prefix: str = "",
) -> dict[str, Any]:
    """A job as watchers see it. `progress` is what its feed noted, `position` its place among the waiting, from 1,
    `asked` what `asked_for` says of it."""
    running = job.state is JobState.RUNNING
    now = progress if running else {}
    return {
        "id": job.id,
        "state": job.state.value,
        "kind": job.kind,
        "title": job.title,
        "asked": asked,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "position": position,
        "held": job.held,
        "retry_of": job.retry_of,
        "progress": now.get("progress", 0.0) if not job.state.is_end else 1.0,
        "eta_s": now.get("eta_s"),
        "step": now.get("step", 0),
        "steps": now.get("steps", 0),
        "batch": now.get("batch", 0),
        "batches": now.get("batches", 0),
        "text": now.get("text", ""),
        "preview": now.get("preview"),
        "images": [image_view(result, prefix) for result in gallery(results)],
        "notices": list(job.notices),
        "error": {"kind": job.error_kind, "message": job.error_message} if job.error_kind else None,
        "networks": job.summary.get("networks", []),
        "info": job.summary.get("info"),
    }


def asked_for(kind: str, payload: str) -> dict[str, Any] | None:
    """What tells a job from others in a list, read from its payload: where it was asked for, size, number, sampler,
    steps, model, and the script that makes it; None for jobs of other kinds, such as the Extras tab's."""
    content = json.loads(payload)
    if kind == "batch":
        request = content["request"]
        return {**_asked(request), "pictures": len(content["items"]), "script": None}
    if kind == "script":
        selected = content.get("scripts") or {}
        batch = content["batch"]
        return {**_asked(content), "pictures": batch["size"] * batch["count"], "script": next(iter(selected), None)}
    if kind != "generate":
        return None
    return {**_asked(content), "pictures": len(content["images"]), "model": content["model"]["name"], "script": None}


def _asked(content: dict[str, Any]) -> dict[str, Any]:
    source, size, sampling = content.get("source"), content["size"], content["sampling"]
    return {
        "tab": "txt2img" if source is None else "inpaint" if source.get("inpaint") else "img2img",
        "width": size["width"],
        "height": size["height"],
        "hires": content.get("hires") is not None,
        "sampler": sampling["sampler"],
        "steps": sampling["steps"],
        "model": None,
    }


def timestamp(started: float | None) -> str:
    """When a job started, as A1111 writes it: local time without separators; "0" when it has not."""
    return f"{datetime.fromtimestamp(started):%Y%m%d%H%M%S}" if started else "0"


def gallery(results: Sequence[Result]) -> list[Result]:
    """The pictures that are shown, in A1111's order: grids, the samples, then masks and other extras."""
    ranks = {"grid": 0, "sample": 1}
    shown = [result for result in results if result.shown]
    return sorted(shown, key=lambda result: (ranks.get(result.role, 2), result.index))


def info_object(plan: Plan, results: Sequence[Result], done: JobDone, *, started: float | None) -> dict[str, Any]:
    """A1111's `info` of a finished generation (reference section 9.3), for its API and for sending pictures on."""
    shown = gallery(results)
    first = plan.images[0]
    resize = plan.noise.resize_from
    denoising = plan.source.denoising_strength if plan.source else plan.hires.denoising_strength if plan.hires else None
    model_sha256 = done.model_sha256 or plan.model.sha256
    return {
        "prompt": plan.main_prompt or first.prompt,
        "all_prompts": [image.prompt for image in plan.images],
        "negative_prompt": plan.main_negative_prompt or first.negative_prompt,
        "all_negative_prompts": [image.negative_prompt for image in plan.images],
        "seed": first.seed,
        "all_seeds": [image.seed for image in plan.images],
        "subseed": first.subseed,
        "all_subseeds": [image.subseed for image in plan.images],
        "subseed_strength": plan.noise.variation_strength,
        "width": plan.size.width,
        "height": plan.size.height,
        "sampler_name": plan.sampling.sampler,
        "cfg_scale": plan.sampling.cfg_scale,
        "steps": plan.sampling.steps,
        "batch_size": plan.batch_size,
        "restore_faces": plan.restore_faces,
        "face_restoration_model": plan.saving.options.get("face_restoration_model") if plan.restore_faces else None,
        "sd_model_name": plan.model.name,
        "sd_model_hash": model_sha256[:10] if model_sha256 else None,
        "sd_vae_name": plan.vae.name if plan.vae else None,
        "sd_vae_hash": plan.vae.sha256[:10] if plan.vae and plan.vae.sha256 else None,
        "seed_resize_from_w": resize.width if resize else -1,
        "seed_resize_from_h": resize.height if resize else -1,
        "denoising_strength": denoising,
        "extra_generation_params": dict(done.extra_parameters),
        "index_of_first_image": sum(result.role == "grid" for result in shown),
        "infotexts": [result.infotext for result in shown],
        "styles": list(plan.styles),
        "job_timestamp": timestamp(started),
        "clip_skip": plan.clip_skip,
        "is_using_inpainting_conditioning": _MASK_WEIGHT in done.extra_parameters,
        "version": plan.version,
    }
