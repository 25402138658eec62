"""From a plan to events: the flow of one job, batch by batch, as A1111's section 4.1 orders it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from modules.conditioning.cache import ConditioningCache
from modules.engine.hashing import HashOf
from modules.engine.job import Job
from modules.engine.stages import Stage
from modules.faces.restoration import FaceRestorer
from modules.generation.events import Event, SoFar
from modules.generation.plan import Plan
from modules.jobs.worker import ControlSource
from modules.models.catalog import Catalog
from modules.models.embedding import Embedding
from modules.models.faces import FaceFiles
from modules.models.manager import ModelManager
from modules.upscaling.catalog import Upscalers, tiles_of


class EmbeddingSource(Protocol):
    """Where textual inversions come from."""

    def all(self) -> Iterable[Embedding]: ...


class Engine:
    """Makes the pictures of plans, one plan at a time. It reads no settings and knows no files but through its parts.

    `catalog` finds LoRAs by name, `embeddings` gives textual inversions, `stages_for` the stages of the scripts that a
    plan names; `hash_of` reads the hashes that infotext shows, `faces` restores faces.
    """

    def __init__(
        self,
        manager: ModelManager,
        *,
        catalog: Catalog | None = None,
        embeddings: EmbeddingSource | None = None,
        upscalers: Upscalers | None = None,
        faces: FaceRestorer | None = None,
        hash_of: HashOf | None = None,
        stages_for: Callable[[Plan], Iterable[Stage]] | None = None,
    ) -> None:
        self.manager = manager
        self.hash_of = hash_of
        self.catalog = catalog
        self.embeddings = embeddings
        self.upscalers = upscalers or Upscalers()
        self.faces = faces or FaceRestorer(FaceFiles, manager.device_for)
        self.stages_for = stages_for or (lambda plan: ())
        self.conditionings = ConditioningCache()

    def upscalers_for(self, plan: Plan) -> Upscalers:
        """The upscalers there are now, with tiles as the plan's settings say."""
        if self.catalog is None:
            return self.upscalers
        settings = plan.saving.options
        tile, overlap = settings.get("ESRGAN_tile", 192), settings.get("ESRGAN_tile_overlap", 8)
        device = str(self.manager.device_for("esrgan"))
        return Upscalers.of(
            self.catalog,
            tile=int(tile),
            overlap=int(overlap),
            tiles=tiles_of(settings),
            device=device,
            models=self.manager,
            ldsr_steps=int(settings.get("ldsr_steps", 100)),
        )

    def generate(self, plan: Plan, control: ControlSource, so_far: SoFar | None = None) -> Iterator[Event]:
        """Make a plan's pictures; yields events from JobStarted to JobDone.

        Asked to give way, a job ends with JobPaused after the batch in hand; `so_far` from there goes on with it.
        Raises a WebuiError (or torch's own error) for a job that fails; the worker turns it into JobFailed.
        """
        return Job(self, plan, control, so_far).run()
