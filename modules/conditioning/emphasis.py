"""How the weights of a prompt act on what the encoder answered."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def apply(hidden: Tensor, weights: Tensor, mode: str, repeats: Sequence[int]) -> Tensor:
    """Hidden states of one chunk (B, 77, C) under `weights` (B, 77), by the setting `emphasis`.

    "Original" multiplies and then restores the mean over *all* elements, batch axis included, where row b counts
    `repeats[b]` times: so every text of a prompt's schedule takes part, as often as it stands in it. "No norm" only
    multiplies; "Ignore" and "None" change nothing.
    Any other mode is "Original", as in A1111. Neutral weights change nothing in any mode.
    """
    if mode in ("Ignore", "None") or bool((weights == 1).all()):
        return hidden
    weighted = hidden * weights[..., None].to(hidden)
    if mode == "No norm":
        return weighted
    share = torch.tensor(repeats, dtype=torch.float32, device=hidden.device) / sum(repeats)
    return weighted * (_mean(hidden, share) / _mean(weighted, share)).to(hidden)


def _mean(tensor: Tensor, share: Tensor) -> Tensor:
    return (tensor.mean(dim=(1, 2)).float() * share).sum()
