"""Whether an answer is the recorded one: pixels within a tolerance, infotext word for word."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.parity.corpus import Case

MEAN_ALLOWED = 0.5
"""Levels of 255, averaged over all values of a picture."""


@dataclass(frozen=True)
class Verdict:
    """What came of a case; `problems` is empty when it passed."""

    worst: int
    mean: float
    problems: tuple[str, ...]


def judge(case: Case, images: list[str], *, renamed: dict[str, str] | None = None) -> Verdict:
    """Compare an answer's base64 pictures with the recorded ones, in their order.

    `renamed` are texts to replace in the recorded infotexts first: the hash of a checkpoint that had to be repacked.
    """
    if len(images) != len(case.outputs):
        return Verdict(255, 255.0, (f"{len(images)} pictures, recorded are {len(case.outputs)}",))
    worst, mean, problems = 0, 0.0, []
    for index, (text, output) in enumerate(zip(images, case.outputs, strict=True)):
        got = Image.open(io.BytesIO(base64.b64decode(text)))
        expected = Image.open(case.expected_file(index))
        if (got.mode, got.size) != (expected.mode, expected.size):
            problems.append(f"picture {index} is {got.mode} {got.size}, recorded is {expected.mode} {expected.size}")
            worst, mean = 255, 255.0
            continue
        difference = np.abs(np.asarray(got).astype(int) - np.asarray(expected).astype(int))
        worst, mean = max(worst, int(difference.max())), max(mean, float(difference.mean()))
        if difference.mean() > MEAN_ALLOWED or difference.max() > case.allowed_level:
            problems.append(
                f"picture {index} is off by {difference.mean():.3f} levels on average and {difference.max()} at most; "
                f"{MEAN_ALLOWED} and {case.allowed_level} are allowed"
            )
        problems += _infotext_problems(index, got.info.get("parameters"), output["infotext"], renamed or {})
    return Verdict(worst, mean, tuple(problems))


def _infotext_problems(index: int, got: str | None, expected: str | None, renamed: dict[str, str]) -> list[str]:
    for old, new in renamed.items():
        expected = expected and expected.replace(old, new)
    if _without_version(got) == _without_version(expected):
        return []
    return [f"picture {index} has the infotext\n    {got!r}\n  recorded is\n    {expected!r}"]


def _without_version(text: str | None) -> str | None:
    return text and re.sub(r"Version: [^,\n]+", "Version: *", text)
