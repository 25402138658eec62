"""Hashes found beside the sampling."""

from __future__ import annotations

from collections.abc import Callable

from modules.engine.engine import Engine
from modules.engine.hashing import JobHashes
from modules.generation.plan import Plan
from modules.jobs.control import ControlBox

Planned = Callable[..., Plan]


def test_the_first_picture_names_a_checkpoint_whose_hash_nobody_knew(planned: Planned, engine: Engine) -> None:
    hashing = Engine(engine.manager, hash_of=lambda path: "0123456789abcdef" if "tiny" in path else "f" * 64)
    wanted = planned(refiner={"checkpoint": "other", "switch_at": 0.5}, sampling={"steps": 5})
    assert wanted.model.sha256 is None
    done = list(hashing.generate(wanted, ControlBox()))[-1]
    assert "Model hash: 0123456789, Model: tiny" in done.infotexts[0]
    assert "Refiner: other [ffffffffff]" in done.infotexts[0]
    assert done.model_sha256 == "0123456789abcdef"


def test_a_known_hash_is_not_read_again(planned: Planned) -> None:
    wanted = planned()
    wanted = wanted.model_copy(update={"model": wanted.model.model_copy(update={"sha256": "a" * 64})})
    asked: list[str] = []
    hashes = JobHashes(wanted, lambda path: asked.append(path) or "b" * 64)
    assert (hashes.sha256(wanted.model), hashes.facts(), asked) == ("a" * 64, {}, [])


def test_without_hashing_nothing_is_told(planned: Planned, engine: Engine) -> None:
    done = list(engine.generate(planned(), ControlBox()))[-1]
    assert "Model hash" not in done.infotexts[0]
