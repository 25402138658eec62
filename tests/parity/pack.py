"""Makes `data/`, the part of the corpus that every clone has: `python -m tests.parity.pack`.

It holds the cases of one checkpoint. The checkpoint is small enough once the rows of its token embedding that no prompt
of these cases uses are zeroed (they cannot change a pixel) and the file is compressed.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
import struct
from typing import Any

import numpy as np

from modules.prompts import emphasis
from modules.prompts.schedule import schedule
from modules.prompts.tokenizer import open_clip_tokenizer
from tests.parity.corpus import OWN_DATA, corpus_folder

CHECKPOINT = "tiny-sd21-v"
MOST_CALLS = 40
"""More model calls than any of the cases makes: prompt schedules are unrolled over so many."""


def main() -> None:
    source, target = corpus_folder(), OWN_DATA
    shutil.rmtree(target, ignore_errors=True)
    lines = (source / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [case for case in map(json.loads, lines) if _checkpoint(case) == CHECKPOINT]
    copied = [
        f"checkpoints/Stable-diffusion/{CHECKPOINT}.yaml",
        "checkpoints/text-encoder/tiny-openclip.json",
        "styles.csv",
    ]
    copied += [output["file"] for case in cases for output in case["outputs"]]
    for name in copied:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    kept = [{key: value for key, value in case.items() if key not in ("latent", "seconds")} for case in cases]
    (target / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in kept), encoding="utf-8")
    whole = (source / "checkpoints" / "Stable-diffusion" / f"{CHECKPOINT}.safetensors").read_bytes()
    (target / "recorded-hash.txt").write_text(hashlib.sha256(whole).hexdigest()[:10] + "\n")
    packed = lzma.compress(_without_unused_tokens(whole, _tokens(cases)), preset=9 | lzma.PRESET_EXTREME)
    (target / "checkpoints" / "Stable-diffusion" / f"{CHECKPOINT}.safetensors.xz").write_bytes(packed)
    print(f"{len(cases)} cases, checkpoint {len(whole)} → {len(packed)} bytes")


def _checkpoint(case: dict[str, Any]) -> str:
    return case["payload"]["override_settings"]["sd_model_checkpoint"]


def _tokens(cases: list[dict[str, Any]]) -> set[int]:
    """Every token that a text of these cases can mean, with start, end and padding."""
    tokenizer = open_clip_tokenizer()
    prompts = {case["payload"][key] for case in cases for key in ("prompt", "negative_prompt")} | {""}
    texts = {segment.text for prompt in prompts for segment in schedule(prompt, MOST_CALLS)}
    pieces = {piece.text for text in texts for piece in emphasis.parse(text)}
    return {0, 49406, 49407}.union(*(tokenizer.encode(piece) for piece in pieces))


def _without_unused_tokens(file: bytes, used: set[int]) -> bytes:
    """A safetensors file with the token embedding's other rows zeroed."""
    start = 8 + struct.unpack("<Q", file[:8])[0]
    header = json.loads(file[8:start])
    key = next(key for key in header if key.endswith("token_embedding.weight"))
    begin, end = (start + offset for offset in header[key]["data_offsets"])
    table = np.frombuffer(file[begin:end], dtype=np.float16).reshape(header[key]["shape"]).copy()
    table[[row for row in range(len(table)) if row not in used]] = 0
    return file[:begin] + table.tobytes() + file[end:]


if __name__ == "__main__":
    main()
