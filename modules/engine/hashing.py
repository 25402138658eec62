"""Hashes of the files a job uses, found beside the sampling: infotext names models by them, pictures do not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from modules.generation.plan import ModelRef, Plan, VaeRef

HashOf = Callable[[str], str]
"""The sha256 of a file, remembered or read."""


class JobHashes:
    """The sha256 of every model file of a plan; those that the plan does not know are read in a thread of their own.

    Without `hash_of` (hashing switched off) only what the plan knows is told.
    """

    def __init__(self, plan: Plan, hash_of: HashOf | None) -> None:
        self._plan = plan
        unknown = sorted({ref.path for ref in _files(plan) if ref.sha256 is None}) if hash_of is not None else []
        self._reading: dict[str, Future[str]] = {path: Future() for path in unknown}
        if hash_of is not None and unknown:
            # a daemon: a large file must not keep a closing worker waiting
            threading.Thread(target=_read, args=(hash_of, self._reading), name="hash", daemon=True).start()

    def sha256(self, ref: ModelRef | VaeRef) -> str | None:
        """The hash of a file, waited for if it is still being read."""
        if ref.sha256 is not None or ref.path not in self._reading:
            return ref.sha256
        return self._reading[ref.path].result()

    def short_title(self, ref: ModelRef) -> str:
        """A checkpoint as infotext names it beside the main one: `stem [hash]`."""
        digits = self.sha256(ref)
        return f"{ref.name} [{digits[:10]}]" if digits else ref.name

    def facts(self) -> dict[str, Any]:
        """Infotext entries of the main checkpoint and the VAE that the plan could not know."""
        plan, found = self._plan, {}
        saving = plan.saving.options
        if plan.model.sha256 is None and saving.get("add_model_hash_to_info", True):
            found["Model hash"] = _first_ten(self.sha256(plan.model))
        if plan.vae is not None and plan.vae.sha256 is None and saving.get("add_vae_hash_to_info", True):
            found["VAE hash"] = _first_ten(self.sha256(plan.vae))
        return {key: value for key, value in found.items() if value is not None}


def _read(hash_of: HashOf, reading: dict[str, Future[str]]) -> None:
    for path, future in reading.items():
        try:
            future.set_result(hash_of(path))
        except OSError as error:
            future.set_exception(error)


def _files(plan: Plan) -> Iterable[ModelRef | VaeRef]:
    yield plan.model
    if plan.vae is not None:
        yield plan.vae
    if plan.refiner is not None:
        yield plan.refiner.model
    if plan.hires is not None and plan.hires.model is not None:
        yield plan.hires.model


def _first_ten(sha256: str | None) -> str | None:
    return sha256[:10] if sha256 else None
