"""Makes training state from a checkpoint file, so that training goes on from the shipped file alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tools.starter.checkpoint import Checkpoint
from tools.starter.concepts import Concept
from tools.starter.tokens import CompactVocabulary


def resume_from_file(path: Path, folder: Path, concepts: Sequence[Concept]) -> None:
    """Writes `autoencoder.pt`, `text.pt` and `unet.pt` in `folder` from the checkpoint at `path`.

    They hold the file's weights (fp16 rounded) and nothing else: optimizers, clocks and learning rates start anew. The
    token table shrinks to the rows of `concepts`, which must be those the file was made for or more; rows of new
    words begin as the unknown word. The file's own whitening stays in its autoencoder, so scenes are encoded again.

    Raises FileExistsError if `folder` has one of the three: what was trained is never overwritten.
    """
    targets = {name: folder / f"{name}.pt" for name in ("autoencoder", "text", "unet")}
    present = [target for target in targets.values() if target.exists()]
    if present:
        raise FileExistsError(f"{present[0]} exists; training goes on from it. Choose another --state to start over")
    checkpoint = Checkpoint.read(path)
    text = checkpoint.text.state_dict()
    table = next(key for key in text if key.endswith("token_embedding.weight"))
    text[table] = CompactVocabulary.of(concepts).compact(text[table])
    unet = _under("unet.", checkpoint.unet.state_dict()) | _under("text.", text)
    folder.mkdir(parents=True, exist_ok=True)
    for name, weights in (
        ("autoencoder", checkpoint.autoencoder.state_dict()),
        ("text", _under("encoder.", text)),
        ("unet", unet),
    ):
        torch.save({"averaged": weights}, targets[name])


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in weights.items()}
