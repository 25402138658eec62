"""Text encoders that are files of their own, for checkpoints that come without: which are needed, where they lie.

ComfyUI keeps them in `models/clip` or `models/text_encoders`, A1111 in `models/CLIP`, Forge in `models/text_encoder`:
each is looked for beside the checkpoint and beside the folders above it. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from modules.models.header import Header

SD3 = "model.diffusion_model.joint_blocks."
COMPANIONS = {
    "text_encoders.clip_l.transformer.": ("clip_l*",),
    "text_encoders.clip_g.transformer.": ("clip_g*",),
    "text_encoders.t5xxl.transformer.": ("t5xxl*", "t5_xxl*", "t5-v1_1-xxl*"),
}
"""SD 3's encoders: the prefix that they have in a whole file → patterns of their own files' stems."""

FOLDERS = ("clip", "text_encoder", "text_encoders")
SUFFIXES = (".safetensors", ".pt", ".bin")
LEVELS = 4
"""How many folders above a checkpoint are looked into."""


def has_companions(header: Header) -> bool:
    """Whether a checkpoint's text encoders may be files of their own."""
    return any(key.startswith(SD3) for key in header)


def missing(header: Header) -> Iterator[tuple[str, Path]]:
    """(prefix, file) for each encoder that a checkpoint lacks and that is found; what is not found is left out."""
    if not has_companions(header):
        return
    for prefix, patterns in COMPANIONS.items():
        if not any(key.startswith(prefix) for key in header) and (path := find(header.path, patterns)) is not None:
            yield prefix, path


def find(checkpoint: Path, patterns: Sequence[str]) -> Path | None:
    """The first file whose stem matches: by patterns' order, then the nearest folder, then the first name."""
    folders = list(_folders(checkpoint))
    for pattern in patterns:
        for folder in folders:
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in SUFFIXES and Path(path.stem.lower()).match(pattern) and path.is_file():
                    return path
    return None


def _folders(checkpoint: Path) -> Iterator[Path]:
    """Where companions may lie: the checkpoint's own folder, and folders of the known names beside those above it."""
    above = list(checkpoint.absolute().parents)[:LEVELS]
    yield above[0]
    for folder in above:
        yield from sorted(one for one in folder.iterdir() if one.name.lower() in FOLDERS and one.is_dir())
