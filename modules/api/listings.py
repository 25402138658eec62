"""A1111's routes that list what there is: samplers, models, styles, scripts …; and the ones that look again.

Everybody may have the folders looked at again, logins or not: it changes no setting and shows nothing that the lists
would not. It costs a walk through them, so that several who ask at once share one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from modules.api import shapes
from modules.api.waiting import Apart
from modules.errors import ModelError, UnknownName
from modules.models import sidecars
from modules.models.embedding_card import EmbeddingCard, known_cards, text_width
from modules.sampling.sampler import SAMPLERS, SamplerInfo
from modules.sampling.schedules import SCHEDULES
from modules.upscaling.latent import LATENT_MODES

if TYPE_CHECKING:
    from modules.app import App
    from modules.models.files import CheckpointFile


def routes(app: App) -> APIRouter:
    """GET routes below /sdapi/v1 and the POST refresh-* ones."""
    router = APIRouter(prefix="/sdapi/v1", tags=["listings"])

    @router.get("/samplers", response_model=list[shapes.Sampler])
    def samplers() -> list[dict[str, Any]]:
        return [sampler_item(info) for info in SAMPLERS]

    @router.get("/schedulers", response_model=list[shapes.Scheduler])
    def schedulers() -> list[dict[str, Any]]:
        return [
            {
                "name": info.name,
                "label": info.label,
                "aliases": list(info.aliases) or None,
                "default_rho": info.default_rho or -1,
                "need_inner_model": info.need_inner_model,
            }
            for info in SCHEDULES
        ]

    @router.get("/upscalers", response_model=list[shapes.Upscaler])
    def upscalers() -> list[dict[str, Any]]:
        return [
            {
                "name": upscaler.name,
                "model_name": upscaler.model_name,
                "model_path": upscaler.path,
                "model_url": None,
                "scale": upscaler.scale,
            }
            for upscaler in app.upscalers.all()
        ]

    @router.get("/latent-upscale-modes", response_model=list[shapes.LatentUpscaleMode])
    def latent_upscale_modes() -> list[dict[str, str]]:
        return [{"name": mode.name} for mode in LATENT_MODES]

    @router.get("/sd-models", response_model=list[shapes.Checkpoint])
    def sd_models() -> list[dict[str, Any]]:
        return [checkpoint_item(file) for file in app.catalog.checkpoints]

    @router.get("/sd-vae", response_model=list[shapes.Vae])
    def sd_vae() -> list[dict[str, str]]:
        return [{"model_name": name, "filename": str(file.path)} for name, file in app.catalog.vaes.items()]

    @router.get("/hypernetworks", response_model=list[shapes.Hypernetwork])
    def hypernetworks() -> list[dict[str, str]]:
        return [{"name": file.stem, "path": str(file.path)} for file in app.catalog.hypernetworks]

    @router.get("/loras", response_model=list[shapes.Lora])
    def loras() -> list[dict[str, Any]]:
        return [
            {"name": file.stem, "alias": file.alias, "path": str(file.path), "metadata": dict(file.metadata)}
            for file in app.catalog.loras
        ]

    @router.get("/embeddings", response_model=shapes.Embeddings)
    def embeddings() -> dict[str, dict[str, Any]]:
        """Those that fit the configured checkpoint as "loaded", the others as "skipped"."""
        width = _text_width(app)
        parts: dict[str, dict[str, Any]] = {"loaded": {}, "skipped": {}}
        for card in known_cards(app.catalog.embeddings, app.facts):
            fits = width is None or card.shape == width
            parts["loaded" if fits else "skipped"][card.name] = embedding_item(card)
        return parts

    @router.get("/face-restorers", response_model=list[shapes.FaceRestorer])
    def face_restorers() -> list[dict[str, Any]]:
        """Those that can run; `cmd_dir` is the folder of their file."""
        faces = app.catalog.faces
        return [{"name": name, "cmd_dir": str(faces.networks[name].parent)} for name in faces.names]

    @router.get("/realesrgan-models", response_model=list[shapes.RealEsrganModel])
    def realesrgan_models() -> list[dict[str, Any]]:
        return [
            {"name": file.stem, "path": str(file.path), "scale": 4}
            for file in app.catalog.upscalers.get("RealESRGAN", ())
        ]

    @router.get("/prompt-styles", response_model=list[shapes.PromptStyle])
    def prompt_styles() -> list[dict[str, Any]]:
        return [
            {"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative_prompt}
            for style in app.styles.styles.values()
        ]

    shared, apart = Shared(), Apart()
    for name in ("checkpoints", "vae", "loras", "embeddings"):
        router.add_api_route(
            f"/refresh-{name}",
            _refresh(app, shared, apart),
            methods=["POST"],
            response_model=None,
            name=f"refresh_{name}",
        )

    return router


def _refresh(app: App, shared: Shared, apart: Apart) -> Any:
    async def refresh() -> None:
        await apart.run(lambda: shared.run(app.catalog.refresh))

    return refresh


class Shared:
    """Work that whoever asks while it waits to begin has done together, once."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._begun = 0

    def run(self, work: Callable[[], None]) -> None:
        """Return once `work` has been done from a beginning after this call; its errors go to who ran it."""
        with self._count:
            seen = self._begun
        with self._turn:
            if self._begun > seen:  # somebody else began after we had asked, and is done by now
                return
            with self._count:
                self._begun += 1
            work()


def sampler_item(info: SamplerInfo) -> dict[str, Any]:
    """A sampler as A1111 lists it; option values are texts there."""
    options: dict[str, str] = {}
    if info.default_schedule:
        options["scheduler"] = info.default_schedule.lower().replace(" ", "_")
    if info.calls_per_step == 2:
        options["second_order"] = "True"
    if info.is_brownian:
        options["brownian_noise"] = "True"
    if info.discards_penultimate:
        options["discard_next_to_last_sigma"] = "True"
    if info.reseeds:
        options["uses_ensd"] = "True"
    return {"name": info.name, "aliases": list(info.aliases), "options": options}


def embedding_item(card: EmbeddingCard) -> dict[str, Any]:
    """An embedding as A1111 lists it."""
    return {
        "step": card.step,
        "sd_checkpoint": card.checkpoint,
        "sd_checkpoint_name": card.checkpoint_name,
        "shape": card.shape,
        "vectors": card.vectors,
    }


def configured_checkpoint(app: App) -> CheckpointFile | None:
    """What pictures are made with unless they name another: the settings' checkpoint, else the first there is."""
    first = next(iter(app.catalog.checkpoints), None)
    name = app.settings.current.sd_model_checkpoint
    try:
        return app.catalog.find_checkpoint_file(name) if name else first
    except UnknownName:
        return first  # it is gone: the planner falls back in the same way


def _text_width(app: App) -> int | None:
    """The configured checkpoint's; None when there is none, or its file does not say."""
    file = configured_checkpoint(app)
    if file is None or not file.is_header_readable:
        return None
    try:
        return text_width(app.catalog.view(file).header)
    except (ModelError, OSError):
        return None


def checkpoint_item(file: CheckpointFile) -> dict[str, Any]:
    config = Path(f"{sidecars.base_of(file.path)}.yaml")
    return {
        "title": file.title,
        "model_name": file.model_name,
        "hash": file.short_hash,
        "sha256": file.sha256,
        "filename": str(file.path),
        "config": str(config) if config.is_file() else None,
    }
