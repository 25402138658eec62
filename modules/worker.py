"""The worker process's composition root: the model manager, the engine over it, and what it can be asked between jobs.

`python -m modules.worker` is what `modules/jobs/process.py` starts; torch is loaded here and nowhere in the front.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from modules.engine.engine import Engine
from modules.extensions.dispatch import stages
from modules.extensions.loader import Extensions
from modules.faces.restoration import FaceRestorer
from modules.generation.plan import ModelRef, VaeRef
from modules.images.data import ImageData
from modules.jobs.local import LocalWorker
from modules.jobs.worker import Worker
from modules.jobs.worker_main import main
from modules.models import new_embedding, new_hypernetwork
from modules.models.approximations import Approximations
from modules.models.caption import Captioner
from modules.models.catalog import Catalog
from modules.models.device import DevicePolicy
from modules.models.embeddings import EmbeddingStore
from modules.models.hashes import FileFacts, sha256
from modules.models.manager import ModelManager
from modules.models.memory import card_usage, is_broken_device
from modules.models.places import ModelFolders
from modules.settings.stable_diffusion import GenerationOptions
from modules.upscaling.catalog import Tiles, Upscalers

log = logging.getLogger(__name__)


class WorkerMachine:
    """A device with its models, the worker that runs plans on it, and the calls the front may make between jobs."""

    def __init__(self, setup: dict[str, Any]) -> None:
        folders = ModelFolders.from_json(setup["folders"])
        self.manager = ModelManager(
            DevicePolicy.of(setup["flags"]), approximations=Approximations(folders.approximations)
        )
        for reason in self.manager.choice.reasons:
            log.info("%s", reason)
        facts = FileFacts(setup["facts"])
        self.catalog = Catalog(folders, facts)
        extensions = Extensions(
            [Path(folder) for folder in setup["extensions"]["folders"]], disabled=setup["extensions"]["disabled"]
        )
        self.faces = FaceRestorer(lambda: self.catalog.faces, self.manager.device_for)
        self.engine = Engine(
            self.manager,
            stages_for=lambda plan: stages(extensions, plan),
            catalog=self.catalog,
            embeddings=EmbeddingStore(lambda: self.catalog.embeddings, facts),
            upscalers=Upscalers.of(self.catalog),
            faces=self.faces,
            hash_of=None if setup["flags"].get("no_hashing") else lambda path: facts.computed("sha256", path, sha256),
        )
        self.captioner: Captioner | None = None
        self.is_broken = False
        self.worker: Worker = LocalWorker(self.engine, close=self.unload, on_failure=self.note_failure)
        self.calls: dict[str, Callable[..., Any]] = {
            "load": self.load,
            "unload": self.unload,
            "memory": self.memory,
            "upscale": self.upscale,
            "restore_faces": self.restore_faces,
            "find_faces": self.find_faces,
            "describe": self.describe,
            "create_embedding": self.create_embedding,
            "create_hypernetwork": self.create_hypernetwork,
        }

    def note_failure(self, error: BaseException) -> None:
        """See `worker_main.Machine`."""
        self.is_broken = self.is_broken or is_broken_device(error)

    def report(self) -> dict[str, Any]:
        """What the front shows of this worker; quick, and safe to call while a job runs."""
        choice = self.manager.choice
        kept = self.manager.report()
        return {
            "model": kept[-1].name if kept else None,
            "models": [
                {
                    "name": one.name,
                    "bytes": one.bytes,
                    "device": one.device,
                    "in_use": one.in_use,
                    "family": one.family,
                    "vae": one.vae,
                    "networks": [
                        {"name": name, "applied": applied, "total": total} for name, applied, total in one.networks
                    ],
                }
                for one in (*self.faces.report(), *kept)
            ],
            "device": str(choice.device),
            "dtype": str(choice.unet_dtype).removeprefix("torch."),
            "text_dtype": str(choice.text_dtype).removeprefix("torch."),
            "vae_dtype": str(choice.vae_dtype).removeprefix("torch."),
            "attention": kept[-1].attention if kept else "",
            "attention_reasons": list(kept[-1].attention_reasons) if kept else [],
            "reasons": list(choice.reasons),
            "notes": [f"{kept[-1].name}: {note}" for note in (*kept[-1].notes, kept[-1].placement)] if kept else [],
            "memory": self._memory_in_short(),
        }

    def load(self, ref: dict[str, Any], vae: dict[str, Any] | None, options: dict[str, Any]) -> None:
        """Have a checkpoint ready, so that the first job need not wait for it; raises ModelError."""
        vae_ref = VaeRef.model_validate(vae) if vae else None
        with self.manager.use(ModelRef.model_validate(ref), vae_ref, GenerationOptions.model_validate(options)):
            log.info("loaded %s", ref["title"])

    def create_embedding(
        self,
        ref: dict[str, Any],
        vae: dict[str, Any] | None,
        options: dict[str, Any],
        *,
        path: str,
        text: str,
        count: int,
        overwrite: bool,
    ) -> str:
        """Write a new textual inversion for a checkpoint's text encoders; answers where. Raises InvalidRequest."""
        with self.manager.use(ModelRef.model_validate(ref), None, GenerationOptions.model_validate(options)) as model:
            made = new_embedding.create(model.towers, Path(path), text=text, count=count, overwrite=overwrite)
        return str(made)

    def create_hypernetwork(self, path: str, **options: Any) -> str:
        """Write a new hypernetwork (`new_hypernetwork.create`); answers where. Raises InvalidRequest."""
        return str(new_hypernetwork.create(Path(path), **options))

    def unload(self) -> None:
        """Let go of every model."""
        self.manager.unload()
        self.captioner = None
        self.faces.unload()
        gc.collect()

    def upscale(
        self, image: str, upscaler: str, scale: float, tile: int, overlap: int, tiles: Tiles, ldsr_steps: int = 100
    ) -> str:
        """A picture by an upscaler that is a network; pictures as base64 text."""
        device = str(self.manager.device_for("esrgan"))
        self.catalog.refresh()  # networks that came since
        upscalers = Upscalers.of(
            self.catalog,
            tile=tile,
            overlap=overlap,
            tiles=tiles,
            device=device,
            models=self.manager,
            ldsr_steps=ldsr_steps,
        )
        enlarged = upscalers.find(upscaler).upscale(ImageData.from_base64(image).open().convert("RGB"), scale)
        return ImageData.from_image(enlarged).to_base64()

    def restore_faces(self, image: str, restorer: str, weight: float, keep: bool) -> dict[str, Any]:
        """A picture with its faces restored by "GFPGAN" or "CodeFormer", and how many they were; raises ModelError."""
        self.catalog.refresh()  # networks that came since
        restored = self.faces.restore(ImageData.from_base64(image).open(), restorer, weight=weight, keep=keep)
        return {"image": ImageData.from_image(restored.image).to_base64(), "faces": restored.faces}

    def find_faces(self, image: str, keep: bool) -> list[list[float]]:
        """The boxes (left, top, right, bottom) of the faces of a picture, in its pixels; raises ModelError."""
        self.catalog.refresh()
        return [list(face.box) for face in self.faces.find(ImageData.from_base64(image).open(), keep=keep)]

    def describe(self, image: str, folder: str, beams: int, shortest: int, longest: int, keep: bool) -> str:
        """A picture (base64 text) in words, by the BLIP model in a folder; raises ModelFileBroken."""
        captioner = self.captioner
        if captioner is None or captioner.folder != Path(folder):
            captioner = Captioner(Path(folder), self.manager.device_for("interrogate"))
        self.captioner = captioner if keep else None
        picture = ImageData.from_base64(image).open()
        return captioner.describe(picture, beams=beams, shortest=shortest, longest=longest)

    def memory(self) -> dict[str, Any]:
        """A1111's `/sdapi/v1/memory`, as bytes."""
        return {"ram": ram(), "cuda": cuda(self.manager.choice.device)}

    def _memory_in_short(self) -> dict[str, Any]:
        used, total = card_usage(self.manager.choice.device) or (None, None)
        return {
            "ram_used": psutil.Process().memory_info().rss,
            "ram_total": psutil.virtual_memory().total,
            "vram_used": used,
            "vram_total": total,
        }


def ram() -> dict[str, int]:
    """This process's memory and the machine's, as A1111 counts them: total is what there would be if we were alone."""
    used = psutil.Process().memory_info().rss
    total = psutil.virtual_memory().total
    return {"free": total - used, "used": used, "total": total}


def cuda(device: torch.device) -> dict[str, Any]:
    """A1111's numbers of the CUDA allocator, or why there are none."""
    if device.type != "cuda":
        return {"error": "unavailable"}
    free, total = torch.cuda.mem_get_info(device)
    numbers = torch.cuda.memory_stats(device)

    def counter(name: str) -> dict[str, int]:
        return {"current": numbers[f"{name}.all.current"], "peak": numbers[f"{name}.all.peak"]}

    return {
        "system": {"free": free, "used": total - free, "total": total},
        "active": counter("active_bytes"),
        "allocated": counter("allocated_bytes"),
        "reserved": counter("reserved_bytes"),
        "inactive": counter("inactive_split_bytes"),
        "events": {"retries": numbers["num_alloc_retries"], "oom": numbers["num_ooms"]},
    }


def build(setup: dict[str, Any]) -> WorkerMachine:
    """The machine for the front's setup message; Hugging Face's libraries stay offline (the front saw to that)."""
    assert "gradio" not in sys.modules, "the worker must not load the page's libraries"
    torch.set_grad_enabled(False)
    return WorkerMachine(setup)


if __name__ == "__main__":
    main(build)
