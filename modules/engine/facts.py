"""What only the run can tell about a picture, for its infotext: collected under A1111's keys as the job goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modules.conditioning.batch import BatchConditioning
from modules.engine.hashing import JobHashes
from modules.generation.events import AppliedNetwork
from modules.generation.plan import Plan
from modules.infotext.write import applied
from modules.models.adapters.patch import AdapterReport


class JobFacts:
    """Infotext entries of one job. A key with None is one that the plan alone would write and the run found untrue."""

    def __init__(self, plan: Plan, hashes: JobHashes) -> None:
        self.plan, self.hashes = plan, hashes
        self.entries: dict[str, Any] = {}
        self.lora_hashes: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self._networks: dict[tuple[str, str], AppliedNetwork] = {}
        if plan.refiner is not None:  # until it has really taken over
            self.entries |= dict.fromkeys(("Hires refiner", "Refiner", "Refiner switch at"))

    def kept(self) -> dict[str, Any]:
        """The entries as JSON values; infotext prints both alike."""
        simple = (str, int, float, bool, type(None))
        return {key: value if isinstance(value, simple) else str(value) for key, value in self.entries.items()}

    def resume(
        self, entries: dict[str, Any], lora_hashes: dict[str, str], networks: Iterable[AppliedNetwork] = ()
    ) -> None:
        """Take up what the job had found out when it was put down."""
        self.entries.clear()  # others hold this very dict
        self.entries.update(entries)
        self.lora_hashes = dict(lora_hashes)
        self._networks = {(one.model, one.name): one for one in networks}

    @property
    def networks(self) -> tuple[AppliedNetwork, ...]:
        """What was applied of the networks that the prompts name, for each model of the job."""
        return tuple(self._networks.values())

    def note_networks(self, hashes: dict[str, str], *, hires: bool) -> None:
        """The LoRAs of a pass; those of the hires pass join the first pass's."""
        if not self.plan.options.lora_add_hashes_to_infotext:
            return
        self.lora_hashes = {**self.lora_hashes, **hashes} if hires else dict(hashes)
        if self.lora_hashes:
            self.entries["Lora hashes"] = ", ".join(f"{name}: {digits}" for name, digits in self.lora_hashes.items())

    def note_reports(self, model: str, reports: Iterable[AdapterReport]) -> None:
        """What came of the networks that the prompt names on a model.

        Those that changed nothing, being made for other models, are for the infotext too (no key of A1111's).
        """
        for report in reports:
            self._networks[model, report.name] = AppliedNetwork(
                name=report.name, model=model, applied=report.applied, total=report.total, for_t5=report.for_t5
            )
            if report.total and not report.applied:
                is_for_t5 = report.for_t5 == report.total
                why = "made for T5 which is not loaded" if is_for_t5 else "made for another kind of model"
                self.left_out[_plain(report.name)] = why
        if self.left_out:
            self.entries["Networks not applied"] = ", ".join(f"{name}: {why}" for name, why in self.left_out.items())

    def note_conditioning(self, conditioning: BatchConditioning, *, hires: bool) -> None:
        """What the texts of a pass told about themselves; of the hires pass only its timelines are written (A1111)."""
        if conditioning.old_timelines_differ:
            self.entries |= applied(self.plan, "Old prompt editing timelines")
        if hires:
            return
        # A1111: an embedding that came in a LoRA has the LoRA's name in its hash's place
        tells_bundled = self.plan.options.lora_bundled_ti_to_infotext
        hashes = {
            one.name: one.sha256_short or (one.bundled_in if tells_bundled else "") for one in conditioning.embeddings
        }
        named = [f"{_plain(name)}: {_plain(digits)}" for name, digits in hashes.items() if digits]
        if named and self.plan.saving.options.get("textual_inversion_add_hashes_to_infotext", True):
            self.entries["TI hashes"] = ", ".join(named)
        if conditioning.emphasis_seen:
            self.entries |= applied(self.plan, "Emphasis")

    def note_files(self) -> None:
        """The checkpoints and the VAE by their hashes, waited for where the plan did not know them."""
        hires, refiner = self.plan.hires, self.plan.refiner
        self.entries.update(self.hashes.facts())
        if hires is not None and hires.model is not None:
            self.entries["Hires checkpoint"] = self.hashes.short_title(hires.model)
        if refiner is not None and self.entries.get("Refiner") is not None:
            self.entries["Refiner"] = self.hashes.short_title(refiner.model)


def _plain(name: str) -> str:
    """A name that cannot be mistaken for the end of an infotext entry."""
    return name.replace(":", "").replace(",", "")
