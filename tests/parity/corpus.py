"""The recorded cases: what was asked of A1111 and what it answered. How they were made is in README.md."""

from __future__ import annotations

import base64
import json
import lzma
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OWN_DATA = HERE / "data"
CORPUS_VARIABLE = "PARITY_CORPUS"

FAST = (
    "sampler-dpmpp-2m", "sampler20-euler-a", "sampler-dpmpp-sde", "sampler-ddim", "sampler-unipc", "sched-beta-euler",
    "emph-weight", "break-1", "and-2", "edit-frac", "long-commas", "emb-both", "clipskip-2-lora", "batch-euler-a",
    "hires-latent", "i2i-denoise-0.6", "inp-original-masked", "b-inp-fill", "soft-masked", "refiner-0.8",
)  # fmt: skip
"""Twenty cases for every day, one of nearly every kind."""


@dataclass(frozen=True)
class Case:
    """One recorded call. `spread` is A1111's own largest difference, in levels, between two attention kernels."""

    id: str
    feature: str
    endpoint: str
    body: dict[str, Any]
    options: dict[str, Any]
    outputs: tuple[dict[str, Any], ...]
    spread: int
    root: Path

    @property
    def allowed_level(self) -> int:
        """How far off the worst pixel may be."""
        return max(4, 2 * self.spread)

    def expected_file(self, index: int) -> Path:
        return self.root / self.outputs[index]["file"]


def corpus_folder() -> Path:
    """Where the whole corpus lies: the variable PARITY_CORPUS, else `shared/parity` beside this repository."""
    named = os.environ.get(CORPUS_VARIABLE)
    return Path(named) if named else HERE.parents[2] / "shared" / "parity"


def read_cases(root: Path) -> Iterator[Case]:
    """The cases of a folder with `cases.jsonl`, pictures and masks already in their bodies."""
    for line in (root / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        body = dict(entry["payload"])
        if entry.get("init_images"):
            body["init_images"] = [_base64(root / name) for name in entry["init_images"]]
        if entry.get("mask"):
            body["mask"] = _base64(root / entry["mask"])
        yield Case(
            id=entry["id"],
            feature=entry["feature"],
            endpoint=entry["endpoint"],
            body=body,
            options=entry.get("options", {}),
            outputs=tuple(entry.get("outputs", ())),
            spread=entry.get("spread_sdp", {}).get("max_level", 0),
            root=root,
        )


def unpack_checkpoints(root: Path, target: Path) -> Path:
    """The folder of checkpoints of a corpus; compressed ones (`.xz`) are unpacked into `target` first."""
    source = root / "checkpoints"
    packed = list(source.rglob("*.xz"))
    if not packed:
        return source
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            if path.suffix == ".xz":
                place, content = place.with_suffix(""), lzma.decompress(content)
            place.write_bytes(content)
    return target


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
